"""`FlatModel`: a module as a pure function of one vector that holds its parameters."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import nn
from torch.func import functional_call

from ..errors import DGExplorerError
from .passes import answers_of


class NotDeterministicError(DGExplorerError, ValueError):
    """Training again would not give the same model, so no derivative through it exists."""


class FlatModel:
    """A module as a pure function of one vector holding its parameters.

    Parameters
    ----------
    carried : names of parameters, optional
        Those in the vector; the others are constants. Default: all.
    drops : bool
        Whether dropout may be active, since its random numbers are known.

    Raises
    ------
    NotDeterministicError
        If dropout is active or a layer keeps running statistics: both make the trained model
        depend on more than the examples and their order.
    """

    def __init__(
        self, module: nn.Module, carried: Collection[str] | None = None, *, drops: bool = False
    ):
        for name, part in module.named_modules():
            if drops:
                pass  # as it did while it trained
            elif isinstance(part, nn.modules.dropout._DropoutNd) and part.training and part.p > 0:
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
        there = dict(module.named_parameters())
        moved = {n: p for n, p in there.items() if carried is None or n in carried}
        self.names = list(moved)
        self.shapes = [p.shape for p in moved.values()]
        self.sizes = [p.numel() for p in moved.values()]
        still = {n: p.detach() for n, p in there.items() if n not in moved}
        self.buffers = dict(module.named_buffers()) | still
        self.theta = torch.cat([p.detach().reshape(-1) for p in moved.values()])

    def unflatten(self, theta: torch.Tensor) -> dict[str, torch.Tensor]:
        """The parameters of the vector by name."""
        parts = theta.split(self.sizes)
        return {
            n: part.view(shape)
            for n, part, shape in zip(self.names, parts, self.shapes, strict=True)
        }

    def __call__(self, theta: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        """Logits of a batch; models that return an object are read at its ``.logits``."""
        out = functional_call(self.module, (self.unflatten(theta), self.buffers), (inputs,))
        return answers_of(out)
