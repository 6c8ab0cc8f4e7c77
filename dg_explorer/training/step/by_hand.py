"""The optimizers of torch as functions of their state, with the exact derivative of a step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ...arguments import Brief
from ...errors import DGExplorerError

State = tuple[torch.Tensor, ...]

_MOMENTS = {"sgd": 0, "momentum": 1, "adam": 2, "adamw": 2}


class UnsupportedOptimizerError(DGExplorerError, ValueError):
    """The optimizer has a setting with a derivative that is not written down here."""


@dataclass(frozen=True, kw_only=True, repr=False)
class OptimizerSettings(Brief):
    """One optimizer's update rule, on parameters flattened into the last axis.

    All methods work elementwise, so that any leading axes (models, queries) may be present.

    Parameters
    ----------
    kind : "sgd", "momentum", "adam" or "adamw"
    lr : float or callable ``(step, n_steps) -> float``
        Learning rate of the update with 0-based number ``step``.
    weight_decay : float or Tensor, shape (parameter,)
        Coupled (added to the gradient) except for ``adamw``, as in torch.
    lr_scale : float or Tensor, shape (parameter,)
        Factor on the learning rate, for parameter groups that have their own.

    References
    ----------
    Kingma & Ba (2015), "Adam", ICLR; Loshchilov & Hutter (2019), "Decoupled Weight Decay
    Regularization", ICLR, algorithm 2. The backward recursion is in METHODS of the manual.
    """

    #: see `OptimizerStep`
    generic = False

    kind: str
    lr: float | Callable[[int, int], float]
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float | torch.Tensor = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    lr_scale: float | torch.Tensor = 1.0

    def __post_init__(self) -> None:
        if self.kind not in _MOMENTS:
            raise UnsupportedOptimizerError(
                f"No optimizer {self.kind!r}; there are {', '.join(_MOMENTS)}."
            )

    @property
    def n_moments(self) -> int:
        """How many vectors the optimizer remembers beside the parameters."""
        return _MOMENTS[self.kind]

    def lr_at(self, step: int, n_steps: int) -> float:
        """The learning rate of update ``step`` (0-based) out of ``n_steps``."""
        return float(self.lr(step, n_steps)) if callable(self.lr) else float(self.lr)

    def initial_state(self, theta: torch.Tensor) -> State:
        """Parameters and zero moments, as before the first update."""
        return (theta, *(torch.zeros_like(theta) for _ in range(self.n_moments)))

    def step(
        self, state: State, gradient: torch.Tensor, step: int, lr: float, *, through: bool = False
    ) -> State:
        """The state after update ``step`` (0-based) with the gradient of the loss alone.

        `through` is for other rules; what is written here is what is differentiated.
        """
        theta, *moments = state
        rate = lr * self.lr_scale
        g = gradient if self.kind == "adamw" else gradient + self.weight_decay * theta
        if self.kind == "sgd":
            return (theta - rate * g,)
        if self.kind == "momentum":
            (buffer,) = moments
            buffer = self.momentum * buffer + g
            direction = g + self.momentum * buffer if self.nesterov else buffer
            return (theta - rate * direction, buffer)
        m, v = moments
        b1, b2 = self.betas
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g * g
        c1, c2 = 1 - b1 ** (step + 1), 1 - b2 ** (step + 1)
        if self.kind == "adamw":
            theta = theta * (1 - rate * self.weight_decay)
        return (theta - (rate / c1) * m / ((v / c2).sqrt() + self.eps), m, v)

    def backwards(
        self, before: State, after: State, adjoint: State, step: int, lr: float, loss
    ) -> tuple[State, torch.Tensor]:
        """Carry derivatives by the state after an update to before it, and to example weights.

        As `OptimizerStep.backwards`; `adjoint` is overwritten.
        """
        by_gradient, carried = self.pull_back(before, after, adjoint, step, lr)
        theta = before[0].to(by_gradient.dtype)
        product, by_weight = loss.product(theta, by_gradient)
        carried[0].add_(product)
        return carried, by_weight

    def forwards(
        self,
        before: State,
        tangents: State,
        step: int,
        lr: float,
        loss,
        weights: torch.Tensor,
    ) -> State:
        """Carry directions of the state before an update, and of the weights, to after it.

        As `OptimizerStep.forwards`; `tangents` are overwritten.
        """
        d_theta = tangents[0]
        theta = before[0].to(d_theta.dtype)
        g = loss.gradient(theta)
        change = loss.tangent(theta, d_theta, weights)
        return self.push_forward(before, g, tangents, change, step, lr)

    def push_forward(
        self,
        before: State,
        gradient: torch.Tensor,
        tangents: State,
        change: torch.Tensor,
        step: int,
        lr: float,
    ) -> State:
        """How the state after an update moves with the state before it and the gradient.

        Parameters
        ----------
        gradient : Tensor, shape (parameter,)
        tangents : State, each of shape (direction, parameter)
            Overwritten.
        change : Tensor, shape (direction, parameter)
            How the gradient of the loss moves; overwritten.
        """
        d_theta, *d_moments = tangents
        dtype = d_theta.dtype

        def cast(factor):
            return factor.to(dtype) if torch.is_tensor(factor) else factor

        rate, decay = cast(lr * self.lr_scale), cast(self.weight_decay)
        if self.kind != "adamw" and not _is_zero(decay):
            change.add_(decay * d_theta)
        if self.kind == "sgd":
            return (d_theta.sub_(rate * change),)
        if self.kind == "momentum":
            buffer = d_moments[0].mul_(self.momentum).add_(change)
            direction = change.add_(self.momentum * buffer) if self.nesterov else buffer
            return (d_theta.sub_(rate * direction), buffer)
        b1, b2 = self.betas
        c1, c2 = 1 - b1 ** (step + 1), 1 - b2 ** (step + 1)
        g = gradient.to(before[0].dtype)
        if self.kind != "adamw":
            g = g + self.weight_decay * before[0]
        _, m, v = self.step(before, gradient.to(before[0].dtype), step, lr)
        root = (v / c2).sqrt()
        denominator = root + self.eps
        scale = lr * self.lr_scale / c1
        by_v = torch.where(
            root > 0, scale * m / (2 * c2 * root * denominator**2), torch.zeros_like(root)
        )
        d_m = d_moments[0].mul_(b1).add_(change, alpha=1 - b1)
        d_v = d_moments[1].mul_(b2).addcmul_(change, cast(2 * (1 - b2) * g))
        if self.kind == "adamw":
            d_theta.mul_(1 - rate * decay)
        d_theta.addcmul_(d_m, cast(-scale / denominator)).addcmul_(d_v, cast(by_v))
        return (d_theta, d_m, d_v)

    def pull_back(
        self, before: State, after: State, adjoint: State, step: int, lr: float
    ) -> tuple[torch.Tensor, State]:
        """Carry derivatives with respect to the state after an update to before it.

        Parameters
        ----------
        before, after : State, each of shape (parameter,)
            The states that the update led from and to.
        adjoint : State, each of shape (query, parameter)
            Derivative of each query's output with respect to the state after the update;
            overwritten. May be of lower precision than the states: whatever is computed from
            the states alone is computed in theirs.

        Returns
        -------
        by_gradient : Tensor, shape (query, parameter)
            Derivative with respect to the gradient of the loss.
        adjoint : State
            Derivative with respect to ``before``, but for the path through the gradient: the
            caller adds the Hessian of the loss times ``by_gradient`` to its first member.
        """
        by_theta = adjoint[0]

        def cast(factor):
            return factor.to(by_theta.dtype) if torch.is_tensor(factor) else factor

        rate, decay = cast(lr * self.lr_scale), cast(self.weight_decay)
        if self.kind == "sgd":
            by_gradient = -rate * by_theta
            return by_gradient, (by_theta + decay * by_gradient,)
        if self.kind == "momentum":
            by_direction = -rate * by_theta
            if self.nesterov:
                by_buffer = adjoint[1] + self.momentum * by_direction
                by_gradient = by_direction + by_buffer
            else:
                by_buffer = adjoint[1] + by_direction
                by_gradient = by_buffer
            kept = (by_theta + decay * by_gradient, self.momentum * by_buffer)
            return by_gradient, kept
        b1, b2 = self.betas
        c1, c2 = 1 - b1 ** (step + 1), 1 - b2 ** (step + 1)
        _, m, v = after
        g = (m - b1 * before[1]) / (1 - b1)
        root = (v / c2).sqrt()
        denominator = root + self.eps
        # A parameter that never had a gradient has root 0 and stays where it is: its second
        # moment has no effect to first order, where the formula would say 0/0.
        by_v_factor = torch.where(
            root > 0,
            (lr * self.lr_scale / c1) * m / (2 * c2 * root * denominator**2),
            torch.zeros_like(root),
        )
        # In place: these vectors are as many as queries, and fill the cache.
        by_m = adjoint[1].addcmul_(by_theta, cast(-(lr * self.lr_scale / c1) / denominator))
        by_v = adjoint[2].addcmul_(by_theta, cast(by_v_factor))
        by_gradient = ((1 - b1) * by_m).addcmul_(by_v, cast(2 * (1 - b2) * g))
        if self.kind == "adamw":
            by_theta.mul_(1 - rate * decay)
        else:
            by_theta.add_(decay * by_gradient)
        return by_gradient, (by_theta, by_m.mul_(b1), by_v.mul_(b2))


def settings_from_torch(
    optimizer: torch.optim.Optimizer,
    named_parameters: list[tuple[str, torch.Tensor]],
    lr: Callable[[int, int], float] | None = None,
) -> OptimizerSettings:
    """Read the update rule out of a torch optimizer.

    Parameters
    ----------
    named_parameters : list of (name, parameter)
        In the order in which the parameters are flattened.
    lr : callable, optional
        The schedule that was followed; the optimizer itself only knows its present rate. It is
        the rate of the first parameter group, the others keep their ratio to it.

    Raises
    ------
    UnsupportedOptimizerError
        For other classes than SGD, Adam and AdamW, and for ``amsgrad``, ``maximize`` and
        ``dampening``.
    """
    torchs = {torch.optim.SGD: "sgd", torch.optim.Adam: "adam", torch.optim.AdamW: "adamw"}
    kind = torchs.get(type(optimizer))  # another library's class of that name may step otherwise
    if kind is None:
        raise UnsupportedOptimizerError(
            f"No exact derivative for {type(optimizer).__name__}; there is one for SGD, Adam and "
            "AdamW. TRAK and influence functions work from checkpoints of any optimizer."
        )
    groups = optimizer.param_groups
    for name in ("amsgrad", "maximize", "dampening"):
        if any(group.get(name) for group in groups):
            raise UnsupportedOptimizerError(
                f"{type(optimizer).__name__} has {name}={groups[0].get(name)!r}; the derivative "
                "of that is not written here. Train without it, or use TRAK or influence functions."
            )
    shared = {"momentum", "nesterov", "betas", "eps"}
    for name in shared & set(groups[0]):
        if len({group[name] for group in groups}) > 1:
            raise UnsupportedOptimizerError(f"Parameter groups have different {name}.")
    decay = _per_parameter(groups, named_parameters, "weight_decay", 1.0)
    base_lr = float(groups[0].get("initial_lr", groups[0]["lr"])) or 1.0
    key = "initial_lr" if "initial_lr" in groups[0] else "lr"
    scale = _per_parameter(groups, named_parameters, key, base_lr)
    first = groups[0]
    decoupled = {bool(group.get("decoupled_weight_decay")) for group in groups}
    if len(decoupled) > 1:
        raise UnsupportedOptimizerError("Parameter groups have different decoupled_weight_decay.")
    if kind == "adam" and decoupled == {True}:
        kind = "adamw"
    if kind == "sgd" and first["momentum"]:
        kind = "momentum"
    return OptimizerSettings(
        kind=kind,
        lr=lr or base_lr,
        momentum=first.get("momentum", 0.0),
        nesterov=first.get("nesterov", False),
        weight_decay=decay,
        betas=tuple(first.get("betas", (0.9, 0.999))),
        eps=first.get("eps", 1e-8),
        lr_scale=scale,
    )


def _is_zero(value) -> bool:
    return not torch.is_tensor(value) and value == 0


def _per_parameter(groups, named_parameters, key, unit) -> float | torch.Tensor:
    """A setting of the groups: one number if they agree, else one for each flat coordinate."""
    of = {id(p): float(group[key]) / unit for group in groups for p in group["params"]}
    # what the optimizer does not hold, or what is frozen, stays where it is: at rate 0
    each = [of.get(id(p), 0.0) if p.requires_grad else 0.0 for _, p in named_parameters]
    if len(set(each)) == 1:
        return each[0]
    return torch.cat(
        [
            torch.full((p.numel(),), value, dtype=p.dtype)
            for (_, p), value in zip(named_parameters, each, strict=True)
        ]
    )
