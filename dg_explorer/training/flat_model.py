"""`FlatModel`: a module as a function of one vector, refused where its answers need more."""

from __future__ import annotations

import torch
from torch import nn
from torch.func import functional_call

from ..errors import DGExplorerError


class NotDeterministicError(DGExplorerError, ValueError):
    """Training again would not give the same model, so no derivative through it exists."""


class FlatModel:
    """A module as a pure function of one vector holding all its parameters.

    Raises
    ------
    NotDeterministicError
        If dropout is active or a layer keeps running statistics: both make the trained model
        depend on more than the examples and their order.
    """

    def __init__(self, module: nn.Module):
        for name, part in module.named_modules():
            if isinstance(part, nn.modules.dropout._DropoutNd) and part.training and part.p > 0:
                raise NotDeterministicError(
                    f"{name or 'The model'} drops units at random (p = {part.p}). Call "
                    "`.eval()` on it or set p to 0, if it was trained so; else use TRAK."
                )
            if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.training:
                raise NotDeterministicError(
                    f"{name or 'The model'} normalises with the statistics of its batch, which "
                    "mixes examples. Use group or layer norm, or `.eval()`; else use TRAK."
                )
        self.module = module
        self.names = [name for name, _ in module.named_parameters()]
        self.shapes = [p.shape for p in module.parameters()]
        self.sizes = [p.numel() for p in module.parameters()]
        self.buffers = dict(module.named_buffers())
        self.theta = torch.cat([p.detach().reshape(-1) for p in module.parameters()])

    def unflatten(self, theta: torch.Tensor) -> dict[str, torch.Tensor]:
        """The parameters by name."""
        parts = theta.split(self.sizes)
        return {
            n: part.view(shape)
            for n, part, shape in zip(self.names, parts, self.shapes, strict=True)
        }

    def __call__(self, theta: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        """Logits of a batch; models that return an object are read at its ``.logits``."""
        out = functional_call(self.module, (self.unflatten(theta), self.buffers), (inputs,))
        return getattr(out, "logits", out)
