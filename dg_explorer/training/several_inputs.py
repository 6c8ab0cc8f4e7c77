"""Models of several inputs as models of one tensor, which is all that a replay has to know."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ..data.batch import Batch
from ..errors import DataError

# whole numbers that a floating dtype holds exactly lie below these
_EXACT = {torch.float64: 2**53, torch.float32: 2**24, torch.float16: 2**11, torch.bfloat16: 2**8}


@dataclass(frozen=True)
class Layout:
    """Where each input of an example lies in one row of numbers.

    Attributes
    ----------
    names : the keyword of each input; None for one that is given by position
    shapes : of an example, without the axis of examples
    dtypes : of each input; of real ones, those of the row are used
    """

    names: tuple[str | None, ...]
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[torch.dtype, ...]

    @classmethod
    def of(cls, batch: Batch) -> Layout:
        named = [(None, value) for value in batch.inputs] + list(batch.keywords.items())
        for name, value in named:
            if not torch.is_tensor(value) or not value.ndim or len(value) != len(batch):
                raise DataError(
                    f"Input {name or 'by position'!r} is no tensor with a row for each example."
                )
        return cls(
            tuple(name for name, _ in named),
            tuple(tuple(value.shape[1:]) for _, value in named),
            tuple(value.dtype for _, value in named),
        )

    @property
    def plain(self) -> bool:
        """Whether the model takes one tensor by position anyhow."""
        return self.names == (None,)

    def packed(self, batches: Sequence[Batch]) -> torch.Tensor:
        """All inputs side by side, shape (example, number).

        Raises
        ------
        DataError
            Whole numbers beside real ones are too large for the dtype of the real ones.
        """
        real = [dtype for dtype in self.dtypes if dtype.is_floating_point]
        dtype = max(real, key=lambda d: torch.finfo(d).bits) if real else torch.long
        rows = []
        for batch in batches:
            parts = [*batch.inputs, *batch.keywords.values()]
            for part in parts:
                whole = not part.is_floating_point() and part.numel()
                if (
                    real
                    and whole
                    and int(part.abs().max() if part.dtype != torch.bool else 1) > (_EXACT[dtype])
                ):
                    raise DataError(f"An input holds whole numbers that {dtype} cannot hold.")
            rows.append(torch.cat([part.reshape(len(batch), -1).to(dtype) for part in parts], 1))
        return torch.cat(rows)

    def unpacked(self, row: torch.Tensor) -> tuple[list, dict]:
        """The inputs by position and by name."""
        inputs, keywords, start = [], {}, 0
        for name, shape, dtype in zip(self.names, self.shapes, self.dtypes, strict=True):
            size = int(torch.Size(shape).numel())
            value = row[:, start : start + size].reshape(len(row), *shape)
            start += size
            value = value if dtype.is_floating_point else value.to(dtype)
            if name is None:
                inputs.append(value)
            else:
                keywords[name] = value
        return inputs, keywords


def without_wrapper(model: nn.Module) -> nn.Module:
    """The model with its own `forward`, where a trainer has put its autocast round that.

    Which autocast was in force at each pass stands in the record.
    """
    held = vars(model)
    original = held.pop("_original_forward", None)
    if original is None:
        return model
    held.pop("forward", None)
    if getattr(original, "__func__", None) is not type(model).forward:
        held["forward"] = original
    return model


def taking_one_tensor(model: nn.Module, layout: Layout) -> nn.Module:
    """A copy of a model that takes its inputs as `Layout.packed` lays them side by side.

    Its class is derived from the model's own, so that its modules, parameters and their names stay
    what they are.
    """
    one = without_wrapper(copy.deepcopy(model))
    if layout.plain:
        return one
    kind = type(model)

    def forward(self, row):
        inputs, keywords = layout.unpacked(row)
        return kind.forward(self, *inputs, **keywords)

    own = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "forward": forward}
    one.__class__ = type(kind.__name__, (kind,), own)
    return one
