"""`FlatModel`: a module as a pure function of one vector that holds its parameters."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

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
        self._places = _places_of(module, self.names)
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
        with _in_place_of(self._places, self.unflatten(theta)):
            return answers_of(self.module(inputs))


@dataclass(frozen=True)
class _Places:
    """Where a module and its parts look for tensors: a table, a name there, and what is in it."""

    moved: list[tuple[dict, str, str]]  # the last is the name of the parameter
    still: list[tuple[dict, str, torch.Tensor]]
    own: list[tuple[dict, str, Any]]


def _places_of(module: nn.Module, moved: Collection[str]) -> _Places:
    names = {id(p): name for name, p in module.named_parameters()}
    places = _Places([], [], [])
    for part in module.modules():
        for table in (part._parameters, part._buffers):
            for name, tensor in table.items():
                places.own.append((table, name, tensor))
                if tensor is None or table is part._buffers:
                    continue
                of = names[id(tensor)]  # one name for a parameter that is in several places
                if of in moved:
                    places.moved.append((table, name, of))
                else:
                    places.still.append((table, name, tensor.detach()))
    return places


@contextmanager
def _in_place_of(places: _Places, parameters: dict[str, torch.Tensor]) -> Iterator[None]:
    """A module with other parameters, as `torch.func.functional_call` at a tenth of its time."""
    try:
        for table, name, of in places.moved:
            table[name] = parameters[of]
        for table, name, tensor in places.still:
            table[name] = tensor
        yield
    finally:  # also what a pass has put there
        for table, name, tensor in places.own:
            table[name] = tensor
