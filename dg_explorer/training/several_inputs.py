"""Models of several inputs as models of one tensor, which is all that a replay has to know."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import nn

from ..checkpoints.loading import copied
from ..data.batch import Batch
from ..errors import DataError
from ..tasks.positions import IGNORED
from .passes import answers_in
from .precision import attended

# whole numbers that a floating dtype holds exactly lie below these
_EXACT = {torch.float64: 2**53, torch.float32: 2**24, torch.float16: 2**11, torch.bfloat16: 2**8}


@contextmanager
def cutting(model: nn.Module, cut: bool):
    """Have a model of `taking_one_tensor` leave out what no example of a batch attends to."""
    if cut:
        vars(model)["cuts_padding"] = True
    try:
        yield
    finally:
        vars(model).pop("cuts_padding", None)


def as_wide(batches: Sequence[Batch], width: int) -> list[Batch]:
    """Token inputs and labels padded behind to one width, which a mask says.

    Only inputs by name, beside an `attention_mask` of their shape, are widened.
    """
    found = []
    for batch in batches:
        mask = batch.keywords.get("attention_mask")
        if mask is None or mask.ndim != 2 or mask.shape[1] >= width:
            found.append(batch)
            continue
        shape, more = mask.shape, (0, width - mask.shape[1])
        keywords = {
            name: nn.functional.pad(value, more)
            if torch.is_tensor(value) and value.shape == shape
            else value
            for name, value in batch.keywords.items()
        }
        labels = batch.labels
        if torch.is_tensor(labels) and labels.shape == shape:
            labels = nn.functional.pad(labels, more, value=IGNORED)
        found.append(replace(batch, keywords=keywords, labels=labels))
    return found


def widest(batches: Sequence[Batch]) -> int:
    """The width of the widest mask; 0 where there is none."""
    masks = [batch.keywords.get("attention_mask") for batch in batches]
    return max((m.shape[1] for m in masks if torch.is_tensor(m) and m.ndim == 2), default=0)


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
    one = without_wrapper(copied(model))
    if layout.plain:
        return one
    kind = type(model)
    if "forward" in vars(one):  # what a library put in its place
        vars(one)["forward_in_place"] = vars(one).pop("forward")

    def forward(self, row, **more):
        inputs, keywords = layout.unpacked(row)
        own = vars(self).get("forward_in_place") or partial(kind.forward, self)
        mask = keywords.get("attention_mask")
        if not vars(self).get("cuts_padding") or mask is None:
            return own(*inputs, **keywords, **more)
        width, (begin, end) = mask.shape[1], attended(mask)

        def narrow(value):
            same = torch.is_tensor(value) and value.shape == mask.shape
            return value[:, begin:end].contiguous() if same else value

        cut = {name: narrow(value) for name, value in (keywords | more).items()}
        returned = own(*map(narrow, inputs), **cut)
        answers = answers_in(returned)
        if answers is None or answers.ndim != 3:
            return returned
        wide = nn.functional.pad(answers, (0, 0, begin, width - end))
        return {"logits": wide, "columns": (begin, end)}

    own = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "forward": forward}
    one.__class__ = type(kind.__name__, (kind,), own)
    return one
