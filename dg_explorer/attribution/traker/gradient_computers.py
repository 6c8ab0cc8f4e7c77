"""Where `TRAKer` takes per-example gradients from: hooks, `torch.func`, or your own class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch.func import grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from ...tasks import Task
from ..gradients.capture import Capture
from ..gradients.examples import length, some
from ..gradients.factors import Explicit, Factor
from ..gradients.proof import prove
from ..gradients.watching import select_parameters, undisturbed
from .model_outputs import IterativeTask


class AbstractGradientComputer(ABC):
    """The TRAK library's interface; subclass it to bring gradients of your own.

    Constructed as `cls(model=, task=, grad_dim=, dtype=, device=, grad_wrt=)`.
    """

    def __init__(self, model, task, grad_dim=None, dtype=None, device=None, grad_wrt=None):
        self.model, self.modelout_fn, self.grad_dim = model, task, grad_dim
        self.dtype, self.device, self.grad_wrt = dtype, device, grad_wrt

    @abstractmethod
    def load_model_params(self, model) -> None: ...

    @abstractmethod
    def compute_per_sample_grad(self, batch) -> Any:
        """A dict of parameter name -> (example, *parameter), or a tensor (example, entries)."""

    @abstractmethod
    def compute_loss_grad(self, batch) -> torch.Tensor:
        """Minus the derivative of each example's loss by its output."""


class FunctionalGradientComputer(AbstractGradientComputer):
    """Gradients of `get_output` by `vmap(grad)`: for outputs that are functions of weights."""

    #: gradient entries held at a time, 256 MB in float32
    entries = 1 << 26

    def load_model_params(self, model) -> None:
        self.model = model
        chosen = set(select_parameters(model, self.grad_wrt))
        own = {name: p.detach() for name, p in model.named_parameters()}
        self.func_weights = own
        self.func_buffers = dict(model.named_buffers())
        self._wanted = {name: own[name] for name in own if name in chosen}

    def compute_per_sample_grad(self, batch):
        rest = {k: v for k, v in self.func_weights.items() if k not in self._wanted}

        def output(wanted, *example):
            return self.modelout_fn.get_output(
                self.model, rest | wanted, self.func_buffers, *example
            )

        size = sum(p.numel() for p in self._wanted.values())
        chunk = max(1, self.entries // size)
        parts = []
        # the fused attention kernels have no batching rule and would run example by example
        with undisturbed(self.model), sdpa_kernel(SDPBackend.MATH):
            for start in range(0, length(batch), chunk):
                part: Any = some(tuple(batch), slice(start, start + chunk))
                each = vmap(grad(output), (None, *[0] * len(part)), randomness="different")
                parts.append(each(self._wanted, *part))
        return {name: torch.cat([part[name] for part in parts]) for name in self._wanted}

    def compute_loss_grad(self, batch):
        with undisturbed(self.model), torch.no_grad():
            return self.modelout_fn.get_out_to_loss_grad(
                self.model, self.func_weights, self.func_buffers, batch
            )


class HookGradientComputer(AbstractGradientComputer):
    """Gradients of a task by a plan, as factors; proved on the first batch of the first model."""

    _plan = None

    def load_model_params(self, model) -> None:
        self.model = model

    def compute_factors(self, batch) -> tuple[list[Factor], torch.Tensor]:
        """Factors of each layer and the weight of each example, from one pass."""
        if self._plan is None:
            self._plan = prove(self.model, self.modelout_fn, [batch], layers=self.grad_wrt)
        found = Capture(self.model, self._plan)(batch)
        return found.factors[0], found.weight

    def compute_per_sample_grad(self, batch):
        return as_gradients(self.compute_factors(batch)[0], self.model)

    def compute_loss_grad(self, batch):
        return self.compute_factors(batch)[1]


class IterativeGradientComputer(HookGradientComputer):
    """For outputs that take the model itself and a batch (`get_output(model, None, None, ...)`)."""

    def __init__(self, model, task, **settings):
        task = task if isinstance(task, Task) else IterativeTask(task)
        super().__init__(model, task, **settings)


def gradient_computer_for(model_output: Any) -> tuple[type[AbstractGradientComputer], object]:
    """The cheapest class that can differentiate a model output, and what it differentiates."""
    task: Any = model_output if isinstance(model_output, Task) else None
    own: Any = getattr(model_output, "as_task", None)
    if task is None and own is not None:
        task = own()
    if task is not None:
        return HookGradientComputer, task
    return FunctionalGradientComputer, model_output


def as_gradients(factors: list[Factor], model) -> dict[str, torch.Tensor]:
    """Explicit gradients by name, in the model's own order of parameters."""
    found = {name: g for factor in factors for name, g in factor.gradients().items()}
    return {name: found[name] for name, _ in model.named_parameters() if name in found}


def as_factors(gradients) -> list[Factor]:
    """Gradients by name, or one tensor (example, entries), as factors."""
    if torch.is_tensor(gradients):
        gradients = {"gradient": gradients}
    return [
        Explicit(g.reshape(len(g), -1), (name,), (tuple(g.shape[1:]),))
        for name, g in gradients.items()
    ]
