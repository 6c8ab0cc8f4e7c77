"""What a collate function does, found by trying it on a few rows: axes, order, chance."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NoReturn

import numpy as np
import torch

from ..errors import DataError
from .batch import batch_length
from .leaves import Path, is_array, leaves, shapes

_ALONE = 4  # rows that are repeated to see which axis grows


def axes_of_collate(
    source, places: np.ndarray, bare: Callable
) -> tuple[dict[Path, int | None] | None, bool]:
    """Which axis of each leaf counts examples, seen by collating one row twice and three times.

    Parameters
    ----------
    bare : function
        Takes the ids off a batch.

    Returns
    -------
    axes : by path; None for a leaf that all examples share; None altogether where it cannot be seen
    ragged : bool
        Examples lie end to end in some leaf (tokens of bags, packed sequences), so a batch can only
        be taken apart by collating anew.
    """
    found: dict[Path, int | None] | None = None
    with source.draws():
        for item in source.fetch(places[:_ALONE]):
            try:
                two = bare(source.collated([item] * 2))
                three = bare(source.collated([item] * 3))
            except Exception:  # a collate function may refuse to see a row twice
                return None, False
            axes = _growing(two, three)
            if axes is None or (found is not None and axes != found):
                return None, True
            found = axes
    return found, False


def _growing(two, three) -> dict[Path, int | None] | None:
    """The axis of each leaf that has 2 entries in one batch and 3 in the other; None if ragged."""
    axes: dict[Path, int | None] = {}
    longer = dict(leaves(three))
    for path, leaf in leaves(two):
        other = longer.get(path)
        if hasattr(leaf, "to") and not is_array(leaf):
            return None  # a packed sequence (a tuple, too), a graph
        if isinstance(leaf, (list, tuple)) and isinstance(other, (list, tuple)):
            axes[path] = 0 if (len(leaf), len(other)) == (2, 3) else None
        elif is_array(leaf) and is_array(other):
            grows = [
                axis
                for axis, sizes in enumerate(zip(leaf.shape, other.shape))
                if sizes == (2, 3) and leaf.ndim == other.ndim
            ]
            if len(grows) != 1 and leaf.shape != other.shape:
                return None
            axes[path] = grows[0] if grows else None
        else:
            axes[path] = None
    return axes if longer.keys() == axes.keys() else None


def check_company(source, places: np.ndarray, axes, bare: Callable) -> None:
    """`DataError` where the numbers of an example depend on what shares its batch.

    A collate function that scales by the mean of its batch makes them so: an example has then no
    gradient of its own. Padding is not meant, nor are numbers that differ at each call.

    Parameters
    ----------
    bare : function
        Takes the ids off a batch.
    """
    with source.draws():
        items = source.fetch(places[:3])
        if len(items) < 2 or axes is None:
            return
        try:
            alone, again = (bare(source.collated([items[0]])) for _ in range(2))
            beside = [bare(source.collated([items[0], other])) for other in items[1:]]
            if differs(alone, again):
                return
        except Exception:  # a collate function may want more rows than one
            return
        singles = dict(leaves(alone))
        for path, leaf in (pair for batch in beside for pair in leaves(batch)):
            axis, single = axes.get(path), singles.get(path)
            if axis is None or single is None or not (is_array(leaf) and is_array(single)):
                continue
            (one,), rows = (np.moveaxis(_array(x), axis, 0) for x in (single, leaf))
            if one.dtype.kind != "f" or any(row.shape != one.shape for row in rows):
                continue  # a place in the batch, or padded
            room = 1e-3 * np.abs(rows[np.isfinite(rows)]).max(initial=0)
            if not any(np.allclose(row, one, 1e-3, room, equal_nan=True) for row in rows):
                raise DataError(
                    "The collate_fn gives an example other numbers beside other examples (it "
                    "scales by its batch, or mixes its rows), so an example has no inputs of its "
                    "own and every score would depend on the batches. Do in the data set what "
                    "concerns one example, with means and scales of the whole set, and give a "
                    "loader that does no more than that."
                )


def check_order(source, places: np.ndarray, axes) -> None:
    """`DataError` where a collate function puts rows in another order and their ids are lost.

    Rows are collated alone and together: what fits only in another order was moved.
    """
    with source.draws():
        items = source.fetch(places[:3])
        if len(items) < 2 or axes is None:
            return
        for rows in (items, items[::-1]):
            together = source.collated(rows)
            alone = [source.collated([row]) for row in rows]
            orders = list(itertools.permutations(range(len(rows))))
            fits = [order for order in orders if _fits(together, alone, order, axes)]
            if fits and orders[0] not in fits:
                raise DataError(
                    "The collate_fn puts the examples of a batch in another order, so it cannot "
                    "be told which is which. Wrap the data set, with_ids(dataset), and let the "
                    "collate_fn hand the ids on as the last entry, in the order of the rest."
                )


def _fits(together, alone: list, order, axes) -> bool:
    singles = [dict(leaves(batch)) for batch in alone]
    for path, leaf in leaves(together):
        axis = axes.get(path)
        if axis is None or not is_array(leaf) or leaf.shape[axis] != len(alone):
            continue
        rows = np.moveaxis(_array(leaf), axis, 0)
        for row, place in zip(rows, order):
            single = singles[place].get(path)
            if single is None:
                continue
            one = np.moveaxis(_array(single), axis, 0)[0]
            # padding makes a row longer: what both have must be equal
            common = tuple(slice(min(a, b)) for a, b in zip(row.shape, one.shape))
            if not np.array_equal(row[common], one[common]):
                return False
    return True


def differs(first, second) -> bool:
    """Whether two readings of the same examples differ."""
    one, two = dict(leaves(first)), dict(leaves(second))
    if one.keys() != two.keys():
        return True
    return any(not _equal(leaf, two[path]) for path, leaf in one.items())


def _equal(a, b) -> bool:
    if is_array(a) and is_array(b):
        a, b = _array(a), _array(b)
        numbers = a.dtype.kind in "fc"
        return a.shape == b.shape and bool(np.array_equal(a, b, equal_nan=numbers))
    if isinstance(a, torch.nn.utils.rnn.PackedSequence):
        return _equal(a.data, b.data)
    if hasattr(a, "to"):
        return True  # of a thing without a shape nothing is said
    try:
        return bool(a == b)
    except (TypeError, ValueError, RuntimeError):
        return True


def _array(leaf) -> np.ndarray:
    if torch.is_tensor(leaf):
        leaf = leaf.detach().cpu()
        leaf = leaf.to_dense() if leaf.layout != torch.strided else leaf
        return leaf.float().numpy() if leaf.dtype == torch.bfloat16 else leaf.numpy()
    return leaf


def check_length(raw, axes, n: int) -> None:
    """`DataError` where a batch does not hold the examples that were asked for."""
    for path, leaf in leaves(raw):
        axis = 0 if axes is None else axes.get(path)
        if axis is None or not is_array(leaf) or leaf.ndim <= axis:
            continue
        if leaf.shape[axis] != n and (axes is not None or n not in leaf.shape):
            _refuse_lost(raw, n)


def check_none_left_out(raw, n: int) -> None:
    """`DataError` where each leaf of a batch holds the same number of examples, and it is not n."""
    try:
        there = batch_length(raw)
    except DataError:  # of several lengths, such as where positions come first
        return
    if there != n and not any(n in leaf.shape for _, leaf in leaves(raw) if is_array(leaf)):
        _refuse_lost(raw, n)


def _refuse_lost(raw, n: int) -> NoReturn:
    raise DataError(
        f"The collate_fn was given {n} examples, and its batch holds {shapes(raw)}. Where it "
        f"leaves some out, serve only those that it keeps: Subset(dataset, kept), in the record "
        f"too. Where examples have no axis of their own, give a DataLoader over single rows."
    )
