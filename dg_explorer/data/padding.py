"""Which positions of a batch are padding: what attention is told, or what a name says.

And whether padding on the left changes what a model answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import nn

from ..errors import DataError
from .batch import Batch
from .forward import asked_aside
from .roles import signature_of

#: parts of the names of masks that are true at padding, as torch's attention layers take them
_TRUE_AT_PADDING = ("padding_mask", "pad_mask", "is_pad")


class Told:
    """The masks that torch's attention layers are called with inside the block, in order.

    However a model names, turns or makes its mask, this is what it takes for padding: true, or a
    large negative number where the mask is added to the scores. Only attention of a sequence to
    itself counts: across two sequences, the mask is of the other one.
    """

    def __init__(self, model):
        modules = model.modules() if isinstance(model, nn.Module) else ()
        self._attention = [m for m in modules if isinstance(m, nn.MultiheadAttention)]
        self._real: list[torch.Tensor] = []
        self._before: dict[str, int] = {}

    def __enter__(self) -> Told:
        hook = {"hook": self._note, "with_kwargs": True}
        self._handles = [m.register_forward_pre_hook(**hook) for m in self._attention]
        return self

    def __exit__(self, *error) -> None:
        for handle in self._handles:
            handle.remove()

    def reached(self, layer: str) -> None:
        """A layer gave its output now: the last mask until here is its own."""
        self._before[layer] = len(self._real)

    def at(self, layer: str, shape: tuple, named: torch.Tensor | None) -> torch.Tensor | None:
        """1 at the real positions of a layer's output, or None where nothing tells.

        Parameters
        ----------
        layer : str
        shape : (example, position)
        named : what `mask_of` says; it counts where no attention layer is told anything.
        """
        earlier, later = self._real[: self._before[layer]], self._real[self._before[layer] :]
        fitting = [m for m in (*reversed(earlier), *later) if tuple(m.shape) == tuple(shape)]
        if fitting:
            return fitting[0]
        return named if named is not None and tuple(named.shape) == tuple(shape) else None

    def _note(self, module, args: tuple, kwargs: dict) -> None:
        if asked_aside():
            return
        asked = (
            dict(zip(("query", "key", "value", "key_padding_mask"), args, strict=False)) | kwargs
        )
        mask = asked.get("key_padding_mask")
        if torch.is_tensor(mask) and mask.ndim == 2 and asked.get("query") is asked.get("key"):
            self._real.append(~mask if mask.dtype == torch.bool else mask > -1000)


def mask_of(batch: Batch, model) -> torch.Tensor | None:
    """1 for real positions and 0 for padding, shape (example, position); None where it is not told.

    In this order: `attention_mask`; a mask that is true at padding by its name, such as
    `src_key_padding_mask`; another mask of two values that begins or ends each row with a run of
    one of them; tokens that are the `padding_idx` of the model's embedding.
    """
    named = _named(batch, model)
    mask = named.get("attention_mask")
    if mask is not None:
        return mask if torch.is_tensor(mask) and mask.ndim == 2 else None
    flat = {k: x for k, x in named.items() if torch.is_tensor(x) and x.ndim == 2}
    for name, x in flat.items():
        if any(part in name for part in _TRUE_AT_PADDING):
            return ~x.bool()
    for name, x in flat.items():
        beside = [y for k, y in named.items() if k != name and torch.is_tensor(y)]
        if "mask" in name and (found := _of_two_values(x, beside)) is not None:
            return found
    return _of_tokens(flat, model)


def _named(batch: Batch, model) -> dict:
    """The inputs of a batch by the names that the model has for them, or else by their places."""
    signature = signature_of(model)
    names = signature.names if signature is not None else ()
    places = {names[i] if i < len(names) else str(i): x for i, x in enumerate(batch.inputs)}
    return {str(name).lower(): x for name, x in (places | dict(batch.keywords)).items()}


def _of_two_values(x: torch.Tensor, beside: list[torch.Tensor]) -> torch.Tensor | None:
    """The real positions of a mask that does not say which of its values they are.

    Padding is where the inputs beside it hold one value only. Where none tells: every row has a
    real position, so that rows that are padded at one end are all real at the other.
    """
    if x.is_complex() or not bool(((x == 0) | (x == 1)).all()) or x.shape[1] < 2:
        return None
    one = x.bool()
    if not bool(((one[:, 1:] != one[:, :-1]).sum(1) <= 1).all()):
        return None  # no run at one end: this mask means something else
    for y in beside:
        if y.shape[:2] == x.shape:
            alike = [bool((y[k] == y[k][:1]).all()) for k in (one, ~one) if k.any()]
            if alike in ([False, True], [True, False]):
                return one if alike[1] else ~one
    for column in (0, -1):
        if bool((one[:, column] == one[0, column]).all()):
            return one if bool(one[0, column]) else ~one
    return None


def _of_tokens(flat: dict, model) -> torch.Tensor | None:
    """Tokens that are not the padding of the model's one embedding that has such a token."""
    modules = model.modules() if isinstance(model, nn.Module) else ()
    pads = {m.padding_idx for m in modules if isinstance(m, nn.Embedding)} - {None}
    whole = [x for x in flat.values() if not x.is_floating_point() and not x.is_complex()]
    if len(pads) != 1 or not whole:
        return None
    return flat.get("input_ids", whole[0]) != pads.pop()


def has_left_padding(batch, model) -> bool:
    """Whether a row of the batch's `attention_mask` begins with padding and ends without."""
    mask = _attention_mask(batch, model)
    return mask is not None and bool(((mask[:, 0] == 0) & (mask[:, -1] != 0)).any())


def check_left_padding(model, batch: Batch, ask: Callable) -> None:
    """Serve a row with padding on the left, and the same row without: the answers must be equal.

    A model that counts positions from the start of the row, padding included, answers otherwise,
    and then the padding of an example, often the length of its neighbours, decides its scores.

    Parameters
    ----------
    ask : function (model, batch)
        How the model is asked; what it gives is compared at the real positions.

    Raises
    ------
    DataError
        Says how to give the positions.
    """
    mask = _attention_mask(batch, model)
    if mask is None:
        return
    rows = torch.nonzero((mask[:, 0] == 0) & (mask[:, -1] != 0))[:, 0]
    if not len(rows):
        return
    one = batch.take([int(rows[0])])
    length, cut = mask.shape[1], int((mask[rows[0]] != 0).long().argmax())
    with torch.no_grad():
        whole = _answer(ask(model, one))
        short = _answer(ask(model, _shortened(one, length, cut)))
    if whole is None or short is None:
        return
    if whole.shape[1:2] == (length,) and short.shape[1:2] == (length - cut,):
        whole = whole[:, cut:]
    if whole.shape != short.shape:
        return
    size = short.double().square().mean().sqrt().clamp(min=1e-12)
    off = float((whole.double() - short.double()).abs().max() / size)
    if off > (1e-3 if whole.dtype in (torch.float32, torch.float64) else 0.1):
        raise DataError(
            f"The answer to an example differs by {off:.1e} (relative) with and without its "
            f"padding on the left: {type(model).__name__} counts positions from the start of the "
            f"row, padding included. Give each row its own: position_ids = "
            f"(attention_mask.cumsum(-1) - 1).clamp(min=0) in the batches, or pad on the right, "
            f"as the training did. If it did count padding: position_ids = 0, 1, 2, ... in each "
            f"row."
        )


def _attention_mask(batch, model) -> torch.Tensor | None:
    mask = _named(batch, model).get("attention_mask") if isinstance(batch, Batch) else None
    whole = torch.is_tensor(mask) and mask.ndim == 2 and mask.shape[1] > 0
    return mask if whole else None


def shorter(batch: Batch) -> Iterator[Batch]:
    """The batch, cut to half along each axis of its tensors that counts no examples, one by one."""
    tensors, axes, rebuild = batch.tensors()
    sides = {
        (axis, size)
        for tensor, counts in zip(tensors, axes, strict=True)
        for axis, size in enumerate(tensor.shape)
        if axis != counts and size > 1
    }
    for axis, size in sorted(sides, reverse=True):
        yield rebuild(
            [
                t.narrow(axis, 0, size // 2)
                if axis != counts and t.ndim > axis and t.shape[axis] == size
                else t
                for t, counts in zip(tensors, axes, strict=True)
            ]
        )


def _shortened(one: Batch, length: int, cut: int) -> Batch:
    """A batch of one example without its first positions."""

    def cut_off(leaf):
        along = torch.is_tensor(leaf) and leaf.ndim >= 2 and leaf.shape[:2] == (1, length)
        return leaf[:, cut:] if along else leaf

    return one.changed(cut_off, one.ids)


def _answer(answer) -> torch.Tensor | None:
    """The tensor that a model answers with, where there is one of rows."""
    answer = getattr(answer, "logits", answer)
    rows = torch.is_tensor(answer) and answer.ndim >= 1 and len(answer) == 1
    return answer if rows else None
