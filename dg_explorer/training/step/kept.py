"""`Kept`: what optimizers hold before a step, as one vector that derivatives go through."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_leaves, tree_unflatten

from .by_hand import UnsupportedOptimizerError

# As the single step is written out in Python: the others are one kernel for all.
_SETTINGS = {"foreach": False, "fused": False}
_PLAIN = {bool, int, float, str, type(None)}


@dataclass(frozen=True)
class Fixed:
    """What an optimizer holds before a step beside what derivatives go through."""

    groups: list[dict]
    counters: dict
    layout: tuple  # (key, shape, dtype) of each part of the memory
    spec: TreeSpec  # of what `change_gradient` and `change_theta` remember


class Kept:
    """Puts what optimizers hold where they look for it, and takes it out again.

    Parameters
    ----------
    optimizers : list of torch optimizers
    at : dict of id of a parameter -> its place
    """

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer], at: dict[int, int]):
        self.kind = " and ".join(type(optimizer).__name__ for optimizer in optimizers)
        self.groups, self.members = groups_of(optimizers, at)
        self._carried: set[tuple[int, str]] = set()

    def at_first(self) -> Fixed:
        """As the optimizers are before their first step."""
        return Fixed(as_written_out(_settings(self.groups)), {}, (), tree_flatten({})[1])

    def place(self, optimizers, groups, parameters, fixed: Fixed, memory: Tensor) -> dict:
        """Put settings, counters and memory where the optimizers look for them.

        Returns
        -------
        What `change_gradient` and `change_theta` remember.
        """
        for group, members, settings in zip(groups, self.members, fixed.groups, strict=True):
            group.clear()  # a counter that came into a group at the first step goes again
            settings = {k: _copied(v) for k, v in settings.items()}
            group.update(settings, params=[parameters[i] for i in members])
        for optimizer in optimizers:
            optimizer.state.clear()
        for (o, i, name), value in fixed.counters.items():
            optimizers[o].state[parameters[i]][name] = _copied(value)
        remembered = []
        sizes = [shape.numel() for _, shape, _ in fixed.layout]
        widest = max((dtype.itemsize for *_, dtype in fixed.layout), default=0)
        widened = memory.dtype.itemsize > widest  # a check in double precision
        for (key, shape, dtype), part in zip(fixed.layout, memory.split(sizes), strict=True):
            value = part.view(shape).to(memory.dtype if widened else dtype).clone()
            if key[0] == "remembered":
                remembered.append(value)
            else:
                o, i, name = key
                optimizers[o].state[parameters[i]][name] = value
        return tree_unflatten(remembered, fixed.spec)

    def collect(
        self, optimizers, groups, parameters, remembered: dict, like: Tensor | None = None
    ) -> tuple[Tensor, Fixed]:
        """What derivatives go through as one vector, and the rest."""
        parts, layout, counters = [], [], {}
        for o, optimizer in enumerate(optimizers):
            for i, p in enumerate(parameters):
                for name, value in optimizer.state.get(p, {}).items():
                    value = getattr(value, "tensor", value)
                    real = torch.is_tensor(value) and value.is_floating_point()
                    if real and (value.dim() or value.requires_grad or (o, name) in self._carried):
                        self._carried.add((o, name))
                        parts.append(value)
                        layout.append(((o, i, name), value.shape, value.dtype))
                    else:
                        counters[o, i, name] = self._without_derivative(value, name)
        leaves, spec = tree_flatten(remembered)
        parts += leaves
        layout += [(("remembered", j), t.shape, t.dtype) for j, t in enumerate(leaves)]
        if parts:
            wide = max((t.dtype for t in parts), key=lambda dtype: dtype.itemsize)
            memory = torch.cat([t.reshape(-1).to(wide) for t in parts])
        else:
            memory = parameters[0].new_zeros(0) if like is None else like.new_zeros(0)
        settings = [
            {k: self._without_derivative(v, k) for k, v in group.items()}
            for group in _settings(groups, copied=False)
        ]
        return memory, Fixed(settings, counters, tuple(layout), spec)

    def _without_derivative(self, value, name: str):
        """A copy of something that no derivative may go through."""
        if type(value) in _PLAIN or (
            type(value) is tuple and all(type(v) in _PLAIN for v in value)
        ):
            return value
        tensors = [getattr(leaf, "tensor", leaf) for leaf in tree_leaves(value)]
        if any(torch.is_tensor(t) and t.requires_grad for t in tensors):
            raise UnsupportedOptimizerError(
                f"{self.kind} keeps {name!r}, which depends on the weights, where no derivative "
                "can follow it. TRAK and influence functions work from checkpoints of any "
                "optimizer."
            )
        return float(value) if isinstance(value, float) else _copied(value)


def as_written_out(groups: Sequence[dict]) -> list[dict]:
    """Settings by which a step is written out in Python, where an optimizer has that choice."""
    return [g | {k: v for k, v in _SETTINGS.items() if k in g} for g in groups]


def own_way(groups: Sequence[dict]) -> list[dict]:
    """What `as_written_out` would change of settings."""
    return [{k: group[k] for k in _SETTINGS if k in group} for group in groups]


def groups_of(optimizers, at: dict[int, int]) -> tuple[list[dict], list[list[int]]]:
    """The groups of some optimizers, and the places of the parameters of each.

    Raises
    ------
    UnsupportedOptimizerError
        One of them steps something that has no place.
    """
    groups, members = [], []
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            unknown = [p for p in group["params"] if id(p) not in at]
            if unknown:
                raise UnsupportedOptimizerError(
                    f"{type(optimizer).__name__} steps a parameter of shape "
                    f"{tuple(unknown[0].shape)} that the model does not have."
                )
            groups.append(group)
            members.append([at[id(p)] for p in group["params"]])
    return groups, members


def counting(optimizers) -> list[Tensor]:
    """Tensors with one number in the optimizers' state, which count."""
    held = []
    for optimizer in optimizers:
        for state in optimizer.state.values():
            for value in state.values():
                if torch.is_tensor(value) and not value.dim() and not value.requires_grad:
                    held.append(value)
    return held


def _settings(groups, *, copied: bool = True) -> list[dict]:
    plain = [{k: v for k, v in group.items() if k != "params"} for group in groups]
    return copy.deepcopy(plain) if copied else plain


def _copied(value):
    """As it was, whatever is done to it; of a tensor without the long way of `deepcopy`."""
    if type(value) in _PLAIN:
        return value
    return value.detach().clone() if type(value) is Tensor else copy.deepcopy(value)
