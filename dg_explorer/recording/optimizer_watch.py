"""Who changes the weights: the optimizers that are watched, another one, or nobody that is seen."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import torch
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from ..checkpoints.several import each_of, name_of
from ..training.step.rounds import Rounds, steps_on_the_way

_version_of = attrgetter("_version")
# Steps at which it is seen what an optimizer's own step does to its settings.
_LOOKS = 2
WRITTEN = (
    "the weights were written to between two steps (pruning, averaging, a norm, a second pass as "
    "in SAM)"
)


class OptimizerWatch:
    """Sees every step of every torch optimizer that holds a weight of the model.

    Parameters
    ----------
    model : module
    optimizer : torch optimizer or Rounds
        What the recorder was given.
    replaced : callable ``(optimizer)``
        Called when another optimizer steps weights of the watched one, before it does.
    """

    def __init__(self, model, optimizer, replaced: Callable):
        self.model, self.optimizer = model, optimizer
        self._replaced = replaced
        #: what was noticed, in words, each with the step at which it was first seen
        self.noticed: dict[str, int] = {}
        self.steps = 0
        #: parameters that moved and that no watched optimizer holds
        self.moved_unheld: set[str] = set()
        self._steps_at_look = 0
        self._outermost = None
        self._depth = 0
        self._parameters = list(model.parameters())
        self._versions = self._count_writes()
        self._sums = self._sum_up()
        me = weakref.ref(self)  # a hook on all optimizers must not keep a recorder alive

        def before(optimizer, *_):
            if (alive := me()) is not None:
                alive._before(optimizer)

        def after(optimizer, *_):
            if (alive := me()) is not None:
                alive._after(optimizer)

        self._handles = [
            register_optimizer_step_pre_hook(before),
            register_optimizer_step_post_hook(after),
        ]

    def close(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()

    def settle(self) -> None:
        """Take the weights as they are: a checkpoint was loaded into the model."""
        self._versions, self._sums = self._count_writes(), self._sum_up()

    def look(self) -> bool:
        """Whether the weights have changed since the last call with no step seen in between."""
        self._outermost = None  # a step that raised never came to its end
        sums = self._sum_up()
        silent = self.steps == self._steps_at_look and not torch.equal(sums, self._sums)
        self._look_at_unheld(sums)
        writes = self._count_writes()
        if writes != self._versions and not silent:
            self._notice(WRITTEN)
        self._sums, self._steps_at_look, self._versions = sums, self.steps, writes
        if silent:
            self._notice("the weights changed, and no step of a torch optimizer was seen")
        return silent

    @property
    def sums(self) -> torch.Tensor:
        """Numbers that tell the weights at the last look from others, float64."""
        return self._sums

    @property
    def nested(self) -> bool:
        """Whether the step being taken is part of one: an own `step` that calls its parent's."""
        return self._depth > 0

    def _look_at_unheld(self, sums: torch.Tensor) -> None:
        """Name the parameters that moved since the last look, and that no watched one holds."""
        same = (sums == self._sums) | (sums.isnan() & self._sums.isnan())
        moved = (~same).view(2, -1).any(0).tolist()
        if not any(moved):
            return
        held = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        real = [(n, p) for n, p in self.model.named_parameters() if p.is_floating_point()]
        pairs = zip(real, moved, strict=True)
        self.moved_unheld |= {n for (n, p), there in pairs if there and id(p) not in held}

    def _before(self, optimizer) -> None:
        several = self.optimizer if isinstance(self.optimizer, Rounds) else None
        if several is not None and any(optimizer is one for one in several.wrappers):
            return  # what it does is seen of those that it leaves the step to
        if self._outermost is optimizer and steps_on_the_way(optimizer) > 1:
            self._depth += 1
            return
        self._depth = 0
        if self._outermost is not None and self._outermost is not optimizer:
            return  # within the step of another, which counts (SAM around its base)
        if all(optimizer is not one for one in each_of(self.optimizer)):
            mine = {id(p) for p in self._parameters}
            held = {id(p) for group in optimizer.param_groups for p in group["params"]}
            if not mine & held:
                return
            watched = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
            name = type(optimizer).__name__
            if not watched & held:
                self._outermost = optimizer
                self._notice(
                    f"a second optimizer ({name}) steps weights that the watched one does not hold"
                )
                return
            self._notice(
                f"another optimizer ({name}) stepped the weights in place of the watched "
                f"{name_of(self.optimizer)}"
            )
            self._replaced(optimizer)
            if several is None:
                self.optimizer = optimizer
        self._outermost = optimizer
        if self._count_writes() != self._versions:
            self._notice(WRITTEN)
        self.steps += several is None or several.begins(optimizer)

    def _after(self, optimizer) -> None:
        if self._depth and self._outermost is optimizer:
            self._depth -= 1
        elif self._outermost is optimizer:
            self._outermost = None
            self._versions = self._count_writes()

    def _notice(self, what: str) -> None:
        self.noticed.setdefault(what, self.steps)

    def _count_writes(self) -> int:
        # torch counts the writes into each tensor; reading the counts costs a microsecond
        return sum(map(_version_of, self._parameters))

    def _sum_up(self) -> torch.Tensor:
        """A few numbers that change when a weight does, without a copy of the weights."""
        with torch.no_grad():
            own = [p.to_local() if hasattr(p, "to_local") else p for p in self._parameters]
            real = [p.detach() for p in own if p.is_floating_point()]
            sums = [p.sum(dtype=torch.float64) for p in real]
            norms = [torch.linalg.vector_norm(p, dtype=torch.float64) for p in real]
            return torch.tensor([float(s) for s in sums + norms])


class CounterWatch:
    """Sees in its first steps which settings an optimizer itself changes: its counters.

    Parameters
    ----------
    model : module
    optimizers : list of torch optimizers
    """

    def __init__(self, model, optimizers):
        self._model = model
        self.names: set[str] = set()
        self._handles: list = []
        for one in optimizers:
            self.look_at(one)

    def look_at(self, optimizer) -> None:
        """Compare the settings before and after the first steps of an optimizer."""
        looks: list[list[dict]] = []

        def before(optimizer, args, kwargs) -> None:
            if len(looks) < _LOOKS:
                looks.append(settings_of(self._model, optimizer))

        def after(optimizer, args, kwargs) -> None:
            now = settings_of(self._model, optimizer) if looks[-1] else []
            for old, new in zip(looks[-1], now, strict=True):
                self.names |= {k for k in old.keys() | new.keys() if old.get(k) != new.get(k)}
            if len(looks) == _LOOKS:
                looks[-1] = []  # seen enough

        self._handles += [
            optimizer.register_step_pre_hook(before),
            optimizer.register_step_post_hook(after),
        ]

    def close(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()


def settings_of(model, optimizer) -> list[dict]:
    """The settings of each parameter group and the names of its parameters; no learning rates."""
    plain = (bool, int, float, str, type(None), tuple, list)
    names = {id(p): name for name, p in model.named_parameters()}
    return [
        {
            k: list(v) if isinstance(v, tuple) else v
            for k, v in group.items()
            if k not in ("params", "lr", "initial_lr") and isinstance(v, plain)
        }
        | {
            "n_parameters": len(group["params"]),
            "names": [names.get(id(p), "") for p in group["params"]],
            "frozen": [names.get(id(p), "") for p in group["params"] if not p.requires_grad],
        }
        for group in optimizer.param_groups
    ]


# ---------------------------------------------------------------- steps with a closure


def closure_of(args: tuple, kwargs: dict) -> Callable | None:
    """The closure that an optimizer's `step` was called with, if any."""
    return args[1] if len(args) > 1 else kwargs.get("closure")


def look_after_closure(args: tuple, kwargs: dict, look: Callable[[], None]) -> tuple[tuple, dict]:
    """The arguments of a step whose closure is followed by a look at the gradients it made.

    A closure may run several times in a step; only its first gradients are looked at.
    """
    closure: Any = closure_of(args, kwargs)
    looked: list[bool] = []

    def then_look(*arguments, **settings):
        result = closure(*arguments, **settings)
        if not looked:
            looked.append(True)
            look()
        return result

    rest = {name: value for name, value in kwargs.items() if name != "closure"}
    return (args[0], then_look, *args[2:]), rest
