"""`OptimizerStep`: the step of any torch optimizer, run on stand-ins and differentiated.

The optimizer's own `step` is the rule: it runs on copies of its tensors in a mode that lets
derivatives through (`Through`). Backwards this gives what each step passes on to the weights, the
memory and the gradient before it; forwards how they move together. Both leave the loss to a
`BatchLoss`, so that its products are taken for all directions at once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ...arguments import Brief
from .by_hand import State, UnsupportedOptimizerError
from .kept import Kept, as_written_out, counting, groups_of, own_way
from .linear import jvp, vjp
from .through import Through

GradientChange = Callable[[dict, dict, dict], dict]
ThetaChange = Callable[[dict, dict], dict]


class BatchLoss(Protocol):
    """The loss of a step's batch, as far as the derivative of the step needs it."""

    def gradient(self, theta: Tensor) -> Tensor:
        """Shape (parameter,)."""
        ...

    def product(self, theta: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Hessian times each direction, and each direction's slope by example weight."""
        ...

    def tangent(self, theta: Tensor, directions: Tensor, weights: Tensor) -> Tensor:
        """How the gradient changes along directions of the parameters and of the weights."""
        ...


class OptimizerStep(Brief):
    """One step of any torch optimizers, differentiable by weights, memory and gradient.

    Parameters
    ----------
    optimizers : one or several torch optimizers that have not stepped yet
        Made for this; their state is replaced at each call. Several share out the parameters.
    named_parameters : list of (name, parameter)
        In the order in which the parameters are flattened; those of no optimizer stand still.
    lr : callable ``(step, n_steps) -> rate of each group``, optional
        A number is for all groups. Default: the rates that the groups hold.
    change_gradient : callable ``(gradients, theta, memory) -> gradients``, optional
        What was done between backward and step: clipping, a filter. The first two are dicts by
        parameter name, `memory` is an empty dict at first and kept from step to step; its
        entries are tensors, or lists or dicts of them.
    change_theta : callable ``(theta, memory) -> theta``, optional
        What was done to the weights after the step: a kept norm, an average.
    turns : bool array, shape (step, optimizer), optional
        Which of several optimizers step at each update; the others stand still, with what they
        remember. Default: all, always.

    Raises
    ------
    UnsupportedOptimizerError
        The optimizer's code cannot be run on stand-ins, or keeps what no derivative goes through.
    """

    eps = None
    #: gradients are asked for where the optimizer wants them
    generic = True

    def __init__(
        self,
        optimizers: torch.optim.Optimizer | Sequence[torch.optim.Optimizer],
        named_parameters: Sequence[tuple[str, Tensor]],
        *,
        lr: Callable[[int, int], float | Sequence[float]] | None = None,
        change_gradient: GradientChange | None = None,
        change_theta: ThetaChange | None = None,
        turns: np.ndarray | None = None,
    ):
        one = isinstance(optimizers, torch.optim.Optimizer)
        self.optimizers = [optimizers] if one else list(optimizers)
        self.lr, self.change_gradient, self.change_theta = lr, change_gradient, change_theta
        self.turns: np.ndarray | None = None  # all step while the memory is measured
        self.names = [name for name, _ in named_parameters]
        self._shapes = [p.shape for _, p in named_parameters]
        self._sizes = [p.numel() for _, p in named_parameters]
        at = {id(p): i for i, (_, p) in enumerate(named_parameters)}
        self._kept = Kept(self.optimizers, at)
        self._groups = self._kept.groups
        self._fixed = {0: self._kept.at_first()}
        self.memory_size = self._try([p for _, p in named_parameters])
        self.turns = turns

    @property
    def kind(self) -> str:
        """The optimizers' names."""
        return self._kept.kind

    @property
    def n_moments(self) -> int:
        """Vectors as long as the parameters that hold what is remembered; for memory plans."""
        return -(-self.memory_size // max(sum(self._sizes), 1))

    def lr_at(self, step: int, n_steps: int) -> tuple[float, ...] | None:
        """The rate of each group at update ``step`` (0-based); None for those they hold."""
        if self.lr is None:
            return None
        rates: Any = self.lr(step, n_steps)
        if hasattr(rates, "__len__") and getattr(rates, "ndim", 1):
            return tuple(map(float, rates))
        return (float(rates),) * len(self._groups)

    def description(self) -> str:
        """All that determines the rule but its rates."""
        changes = [
            getattr(f, "__qualname__", None) for f in (self.change_gradient, self.change_theta)
        ]
        turns = () if self.turns is None else (self.turns.tolist(),)
        return repr((self.kind, self._fixed[0].groups, changes, *turns))

    def of_each(self) -> list[Tensor]:
        """The places in the vector of parameters of those that each optimizer steps."""
        ends = np.cumsum([0, *self._sizes])
        members, found = iter(self._kept.members), []
        for optimizer in self.optimizers:
            mine = sorted(i for _ in optimizer.param_groups for i in next(members))
            places = [torch.arange(ends[i], ends[i + 1]) for i in mine]
            found.append(torch.cat([torch.empty(0, dtype=torch.int64), *places]))
        return found

    def turn(self, step: int) -> Sequence[bool]:
        """Which optimizers step at an update."""
        return [True] * len(self.optimizers) if self.turns is None else self.turns[step].tolist()

    @property
    def remembers(self) -> bool:
        """Whether something is kept from step to step that no optimizer's state holds."""
        changes = [f for f in (self.change_gradient, self.change_theta) if f is not None]
        return not all(getattr(f, "stateless", False) for f in changes)

    def forget_shared(self) -> None:
        """Go on from what is known of each step, without telling a copied rule of what follows."""
        self._fixed = dict(self._fixed)

    def initial_state(self, theta: Tensor) -> State:
        """Parameters and an empty memory, as before the first update."""
        return (theta, theta.new_zeros(*theta.shape[:-1], 0))

    def step(self, state: State, gradient, step: int, lr, *, through: bool = False) -> State:
        """The state after update ``step``, whose gradient is given or a function of the weights.

        Parameters
        ----------
        state : State, of shape (parameter,) and (remembered,)
            May have a leading axis of models, and the gradient with it.
        gradient : Tensor, or callable ``theta -> gradient``; for several models a list of them
        through : bool
            Take it as it is differentiated, which must give the same: a proof compares.
        """
        theta, memory = state
        if theta.dim() == 2:
            rows = gradient if isinstance(gradient, list) else gradient.unbind(0)
            each = [
                self.step((t, m), g, step, lr, through=through)
                for t, m, g in zip(theta, memory, rows, strict=True)
            ]
            return tuple(torch.stack(part) for part in zip(*each, strict=True))
        at = gradient if callable(gradient) else lambda _: gradient
        new, fixed = self._take(
            theta.detach(),
            memory.detach(),
            step,
            lr,
            lambda t: at(t.detach()),
            rounding=through or None,
        )
        self._fixed[step + 1] = fixed
        return tuple(part.detach() for part in new)

    def backwards(
        self, before: State, after: State, adjoint: State, step: int, lr, loss: BatchLoss
    ) -> tuple[State, Tensor]:
        """Carry derivatives by the state after an update to before it, and to example weights.

        Parameters
        ----------
        before, after : State
        adjoint : State, each of shape (query, ...)
            Derivative of each query's output by the state after the update.

        Returns
        -------
        adjoint : State
            By the state before.
        by_weight : Tensor, shape (query, example of the batch)
        """
        inputs, places, new = self._linearise(before, step, lr, loss)
        dtype, own = adjoint[0].dtype, before[0].dtype
        by = vjp(new, inputs, [part.to(own) for part in adjoint])
        slopes = torch.zeros(())
        for k in reversed(range(len(places))):
            product, slope = loss.product(places[k].detach().to(dtype), by[2 + k].to(dtype))
            slopes = slope + slopes.to(slope)
            if k == 0:  # the first gradient is taken where the step begins
                by[0] = by[0] + product.to(own)
            else:
                more = vjp([places[k]], inputs, [product.to(own)])
                by = [a + b for a, b in zip(by, more, strict=True)]
        return (by[0].to(dtype), by[1].to(dtype)), slopes

    def forwards(
        self, before: State, tangents: State, step: int, lr, loss: BatchLoss, weights: Tensor
    ) -> State:
        """Carry directions of the state before an update, and of the weights, to after it.

        Parameters
        ----------
        tangents : State, each of shape (direction, ...)
        weights : Tensor, shape (direction, example of the batch)
        """
        inputs, places, new = self._linearise(before, step, lr, loss)
        dtype, own = tangents[0].dtype, before[0].dtype
        known = [part.to(own) for part in tangents]
        for k, place in enumerate(places):
            moved = known[0] if k == 0 else jvp([place], inputs[: 2 + k], known)[0]
            change = loss.tangent(place.detach().to(dtype), moved.to(dtype), weights)
            known.append(change.to(own))
        return tuple(part.detach().to(dtype) for part in jvp(new, inputs, known))

    def read(self, optimizers, parameters: Sequence[Tensor], step: int, remembered=None) -> State:
        """The state that optimizers of the same kind hold before a step, and remember the rest."""
        remembered = remembered or {}
        groups, _ = groups_of(optimizers, {id(p): i for i, p in enumerate(parameters)})
        memory, fixed = self._kept.collect(optimizers, groups, parameters, remembered)
        self._fixed[step] = replace(fixed, groups=as_written_out(fixed.groups))
        theta = torch.cat([p.detach().reshape(-1) for p in parameters])
        return (theta, memory.detach())

    def write(self, optimizers, parameters: Sequence[Tensor], step: int, state: State) -> dict:
        """Set optimizers and parameters to a state at a step; what was remembered beside."""
        theta, memory = state
        with torch.no_grad():
            for p, part in zip(parameters, theta.split(self._sizes), strict=True):
                p.copy_(part.view_as(p))
        groups, _ = groups_of(optimizers, {id(p): i for i, p in enumerate(parameters)})
        own = own_way(groups)
        remembered = self._kept.place(optimizers, groups, parameters, self._fixed[step], memory)
        for group, settings in zip(groups, own, strict=True):
            group.update(settings)
        return remembered

    def _linearise(self, before, step, lr, loss):
        """The update as a graph: its inputs, where each gradient was taken, and what it gives."""
        inputs = [part.detach().requires_grad_() for part in before]
        places: list[Tensor] = []

        def gradient_at(theta):
            places.append(theta)
            wanted = getattr(loss, "dtype", None) or theta.dtype
            gradient = loss.gradient(theta.detach().to(wanted)).to(theta.dtype).detach()
            inputs.append(gradient.requires_grad_())
            return gradient

        new, _ = self._take(inputs[0], inputs[1], step, lr, gradient_at, rounding=False)
        return inputs, places, new

    def _take(self, theta, memory, step, lr, gradient_at, *, rounding):
        fixed = self._fixed[step]
        parts = theta.split(self._sizes)
        stand_ins = [t.view(s).clone() for t, s in zip(parts, self._shapes, strict=True)]
        originals = [dict(group) for group in self._groups]
        named = dict(zip(self.names, stand_ins, strict=True))
        with warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore", UserWarning)  # `.grad` of what is no leaf
            remembered = self._kept.place(self.optimizers, self._groups, stand_ins, fixed, memory)
            for group, rate in zip(self._groups, lr or (), strict=bool(lr)):
                group["lr"] = rate

            def closure() -> Any:  # a tensor, as torch takes it
                here = torch.cat([p.reshape(-1) for p in stand_ins])
                with torch._C.DisableTorchFunction():  # the model is not the optimizer's code
                    flat = gradient_at(here)
                pieces = zip(self.names, flat.split(self._sizes), self._shapes, strict=True)
                gradients = {name: g.view(shape).clone() for name, g, shape in pieces}
                if self.change_gradient:
                    gradients = self.change_gradient(gradients, named, remembered)
                for name, p in named.items():
                    p.grad = gradients[name]
                return torch.zeros(())

            try:
                plain = rounding is None  # nothing is differentiated
                mode = (
                    torch.no_grad()
                    if plain
                    else Through(counting(self.optimizers), rounding=rounding)
                )
                with mode:
                    closure()
                    for optimizer, steps in zip(self.optimizers, self.turn(step), strict=True):
                        if not steps:
                            continue
                        needs = hasattr(optimizer, "first_step")  # sharpness-aware: a second one
                        optimizer.step(closure) if needs else optimizer.step()
                if self.change_theta:
                    named = self.change_theta(dict(named), remembered)
                after, fixed = self._kept.collect(
                    self.optimizers, self._groups, stand_ins, remembered, memory
                )
            finally:
                for group, original in zip(self._groups, originals, strict=True):
                    group.clear()
                    group.update(original)
                for optimizer in self.optimizers:
                    optimizer.state.clear()
        return (torch.cat([named[n].reshape(-1) for n in self.names]), after), fixed

    def _try(self, parameters) -> int:
        """Take two steps to learn what is remembered; its size."""
        start = torch.cat([p.detach().reshape(-1) for p in parameters])
        generator = torch.Generator().manual_seed(0)
        gradient = torch.randn(start.shape, generator=generator).to(start)
        state = self.initial_state(start)
        inputs = [gradient.requires_grad_()]
        try:
            for step in range(2):
                state = [part.detach().requires_grad_() for part in state]
                state, fixed = self._take(*state, step, None, lambda _: inputs[0], rounding=False)
                self._fixed[step + 1] = fixed
        except UnsupportedOptimizerError:
            raise
        except Exception as error:  # whatever the optimizer's code says to stand-ins
            raise UnsupportedOptimizerError(
                f"{self.kind} cannot be run on stand-ins for its tensors "
                f"({type(error).__name__}: {error}), so no exact derivative goes through its "
                "steps. TRAK and influence functions work from checkpoints of any optimizer."
            ) from error
        self._fixed = {0: self._fixed[0]}
        return len(state[1])
