"""The leaves of a nested batch: tensors in tuples, lists and mappings, at any depth."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeGuard

import numpy as np
import torch
from torch.nn.utils.rnn import PackedSequence

#: where a leaf is in its batch: keys of mappings and places of tuples, from the outside in
Path = tuple


def is_array(leaf: object) -> TypeGuard[torch.Tensor | np.ndarray]:
    """Whether a leaf has a shape: a plain tensor or a NumPy array."""
    if torch.is_tensor(leaf):
        return not leaf.is_nested
    return isinstance(leaf, np.ndarray)


def leaves(tree, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield (path, leaf), in the order of the batch.

    A list without a tensor in it, such as the texts that torch's collate puts side by side, is
    one leaf.
    """
    parts = _parts(tree)
    if parts is None:
        yield path, tree
    else:
        for key, part in parts:
            yield from leaves(part, (*path, key))


def map_leaves(function: Callable[[Path, Any], object], tree, path: Path = ()):
    """The same nesting with `function(path, leaf)` in place of each leaf."""
    parts = _parts(tree)
    if parts is None:
        return function(path, tree)
    changed = [(key, map_leaves(function, part, (*path, key))) for key, part in parts]
    if isinstance(tree, Mapping):
        return _mapping_like(tree, dict(changed))
    if dataclasses.is_dataclass(tree):
        made = copy.copy(tree)
        for name, value in changed:
            object.__setattr__(made, str(name), value)  # also of a frozen one
        return made
    values = [value for _, value in changed]
    if hasattr(tree, "_fields"):  # a named tuple
        return type(tree)(*values)
    return tuple(values) if isinstance(tree, tuple) else values


def shapes(tree) -> str:
    """What a batch holds, in words: `[0] float32 (8, 6), [1] int64 (8,)`."""
    found = []
    for path, leaf in leaves(tree):
        place = "".join(f"[{key!r}]" for key in path)
        if is_array(leaf):
            what = f"{str(leaf.dtype).removeprefix('torch.')} {tuple(leaf.shape)}"
        else:
            length = f" of {len(leaf)}" if isinstance(leaf, (list, tuple)) else ""
            what = f"{type(leaf).__name__}{length}"
        found.append(f"{place} {what}".strip())
    return ", ".join(found[:8]) + (f" and {len(found) - 8} more" if len(found) > 8 else "")


def _parts(tree) -> list[tuple] | None:
    """The parts of a nested thing by key; None for a leaf."""
    if isinstance(tree, Mapping):
        return list(tree.items())
    if dataclasses.is_dataclass(tree) and not isinstance(tree, (type, torch.Tensor)):
        return [(field.name, getattr(tree, field.name)) for field in dataclasses.fields(tree)]
    if isinstance(tree, (tuple, list)) and not isinstance(tree, PackedSequence):
        if tree and not any(_holds_arrays(part) for part in tree):
            return None
        return list(enumerate(tree))
    return None


def _holds_arrays(part) -> bool:
    if isinstance(part, (tuple, list)):
        return isinstance(part, PackedSequence) or any(map(_holds_arrays, part))
    plain = isinstance(part, (torch.Tensor, np.ndarray, Mapping)) or hasattr(part, "to")
    return plain or dataclasses.is_dataclass(part)


def _mapping_like(tree: Mapping, values: dict):
    if type(tree) is dict:
        return values
    try:
        made: Any = type(tree)
        return made(values)  # what a tokenizer gives has ways of its own
    except TypeError:
        return values
