"""`Batch`: some examples as the model is served them, and their ids."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ..arguments import Brief
from ..errors import DataError, DGExplorerError
from ..memory import ran_out
from .leaves import Path, is_array, leaves, map_leaves, shapes


@dataclass(frozen=True, eq=False, repr=False)
class Batch(Brief):
    """Inputs, labels and ids of some examples; what `Served` yields and a `Task` reads.

    Attributes
    ----------
    inputs : tuple
        What the model is called with by position.
    keywords : dict
        What it is called with by name.
    labels : tensor, nested tensors or None
        None where the rows have no label.
    ids : int64 array, shape (example,)
    raw : what the user's collate gave, with example ids taken off
        The `batch` that functions of a `CustomTask` and `forward=` get.
    forward : callable, optional
        `forward(model, raw)` gives the prediction, where the user says how.
    axes : mapping of path in `raw` -> axis, optional
        Which axis of a leaf counts examples; None for a leaf that all examples share. Without
        it the axis is read off the shapes, and a batch that leaves a doubt cannot be taken apart.
    remake : callable, optional
        `remake(positions)` collates these examples again: how a batch is taken apart in which
        examples lie end to end without an axis of their own (bags with offsets, packed or nested
        sequences).
    """

    inputs: tuple
    keywords: dict
    labels: Any
    ids: np.ndarray
    raw: Any
    forward: Callable | None = None
    axes: Mapping[Path, int | None] | None = field(default=None, repr=False)
    remake: Callable | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    def predict(self, model: Callable):
        """What the model returns for this batch, whatever that is: by `forward` where given."""
        if self.forward is not None:
            return self.forward(model, self.raw)
        return model(*self.inputs, **self.keywords)

    def take(self, index) -> Batch:
        """Only the examples at `index`, in its order.

        Parameters
        ----------
        index : slice, int or bool array or tensor, list of int

        Raises
        ------
        DataError
            It cannot be known which axis of a leaf counts the examples.
        """
        at = positions(index, len(self))
        if self.remake is not None:
            return self.remake(at)
        cut = {key: _cut(leaf, axis, at) for key, (leaf, axis) in self._cuttable().items()}
        return self.changed(lambda leaf: cut.get(id(leaf), leaf), self.ids[at])

    def to(self, device, dtype: torch.dtype | None = None) -> Batch:
        """The batch on a device; floating point tensors in `dtype` where it is one.

        Integers keep their type, complex tensors theirs.
        """
        if dtype is not None and not dtype.is_floating_point:
            dtype = None
        moved: dict[int, object] = {}

        def move(leaf):
            if id(leaf) not in moved:
                moved[id(leaf)] = _move(leaf, device, dtype)
            return moved[id(leaf)]

        remake = self.remake
        again = None if remake is None else lambda at: remake(at).to(device, dtype)
        return dataclasses.replace(self.changed(move, self.ids), remake=again)

    def tensors(self) -> tuple[list[torch.Tensor], list[int | None], Callable]:
        """The tensors of the batch, the axis of each that counts examples, and the way back.

        Returns
        -------
        tensors : list, each once
        axes : list of int or None (shared by all examples)
        rebuild : function (tensors, ids=None) -> Batch
            A batch with these in place of them: under `vmap`, or with one example's slices.
        """
        found = {
            key: (leaf, axis)
            for key, (leaf, axis) in self._cuttable().items()
            if torch.is_tensor(leaf)
        }
        keys = list(found)

        def rebuild(tensors, ids=None) -> Batch:
            instead = dict(zip(keys, tensors, strict=True))
            ids = self.ids if ids is None else ids
            return self.changed(lambda leaf: instead.get(id(leaf), leaf), ids)

        return [leaf for leaf, _ in found.values()], [axis for _, axis in found.values()], rebuild

    # ---------------------------------------------------------------- inside

    def changed(self, change: Callable, ids: np.ndarray) -> Batch:
        """The same batch with `change(leaf)` for each leaf."""

        def each(_, leaf):
            return change(leaf)

        return dataclasses.replace(
            self,
            inputs=tuple(map_leaves(each, part) for part in self.inputs),
            keywords={name: map_leaves(each, part) for name, part in self.keywords.items()},
            labels=None if self.labels is None else map_leaves(each, self.labels),
            raw=map_leaves(each, self.raw),
            ids=ids,
        )

    def _cuttable(self) -> dict[int, tuple[object, int | None]]:
        """(leaf, example axis) by the leaf's identity: the same tensor counts once."""
        n = len(self)
        axes = example_axes(self.raw, n) if self.axes is None else self.axes
        found = {id(leaf): (leaf, axes.get(path)) for path, leaf in leaves(self.raw)}
        # what label= or a task made of the batch is not in it
        made = (self.inputs, self.keywords, () if self.labels is None else self.labels)
        for part in made:
            for path, leaf in leaves(part):
                if id(leaf) not in found:
                    found[id(leaf)] = (leaf, _axis(path, leaf, n, part))
        return found


def joined(parts: Sequence[Batch]) -> Batch | None:
    """Batches of equal shape as one; None where they cannot be put side by side."""
    first = parts[0]
    tensors, axes, rebuild = first.tensors()
    others = [part.tensors()[0] for part in parts]
    texts = any(isinstance(leaf, (list, tuple)) for _, leaf in leaves(first.raw))
    if texts or any(part.remake is not None for part in parts):
        return None
    if len({tuple(tuple(t.shape) for t in each) for each in others}) > 1:
        return None
    whole = [
        tensors[k] if axis is None else torch.cat([each[k] for each in others], axis)
        for k, axis in enumerate(axes)
    ]
    return rebuild(whole, np.concatenate([part.ids for part in parts]))


def positions(index, n: int) -> np.ndarray:
    """Places 0 to n - 1 that an index (slice, mask, list, tensor) means, int64."""
    if torch.is_tensor(index):
        index = index.cpu().numpy()
    if not isinstance(index, slice):
        index = np.atleast_1d(np.asarray(index))
        index = index.astype(np.int64) if index.size == 0 else index
    return np.arange(n, dtype=np.int64)[index]


@contextmanager
def calling(batch, argument: str = "") -> Iterator[None]:
    """Say what a model was given where it cannot take it: seldom is it clear from its own words.

    Parameters
    ----------
    argument : in which the batch was given, such as "test"

    Raises
    ------
    DataError
        In place of what the model raised, which is its cause.
    """
    try:
        yield
    except (TypeError, RuntimeError, ValueError, LookupError, AttributeError) as error:
        mine = isinstance(batch, Batch) and batch.forward is None
        if isinstance(error, DGExplorerError) or ran_out(error) or not mine:
            raise
        given = shapes((*batch.inputs, *batch.keywords.values())) or "nothing"
        raise DataError(
            f"{f'{argument}= does not fit the model. It' if argument else 'The model'} cannot be "
            f"called with {given} ({type(error).__name__}: "
            f"{str(error).splitlines()[0][:160] if str(error) else ''}). The batch holds "
            f"{shapes(batch.raw)}. Give examples of the shape and type that it was trained on; or "
            f"say which entries are its inputs with forward=, a place or key, a list of them, or a "
            f"function (model, batch), and where the labels are with label=."
        ) from error


def batch_length(raw) -> int:
    """How many examples a batch holds, where nothing but its leaves can say: axis 0 of them all.

    Raises
    ------
    DataError
        There is no tensor, or the first axes disagree: which is the example is not known.
    """
    sizes = {
        leaf.shape[0] if is_array(leaf) else len(leaf)
        for _, leaf in leaves(raw)
        if (is_array(leaf) and leaf.ndim) or isinstance(leaf, (list, tuple))
    }
    if len(sizes) == 1:
        return sizes.pop()
    what = "no tensor with an axis" if not sizes else "tensors with first axes that disagree"
    raise DataError(
        f"How many examples are in this batch? It holds {what}: {shapes(raw)}. Give a dataset, or "
        f"a DataLoader with your collate_fn, so that examples can be served one by one."
    )


def example_axes(raw, n: int) -> dict[Path, int | None]:
    """The axis of each leaf that counts n examples, by shape alone: axis 0, or the only one of n.

    Raises
    ------
    DataError
        A leaf has no such axis, or several that are not the first.
    """
    return {path: _axis(path, leaf, n, raw) for path, leaf in leaves(raw)}


def _axis(path: Path, leaf, n: int, raw) -> int | None:
    whole = hasattr(leaf, "to") and not is_array(leaf)  # a packed sequence (a tuple, too), a graph
    if not whole and isinstance(leaf, (list, tuple)):
        if len(leaf) == n:
            return 0
    elif not is_array(leaf):
        if not whole:  # numbers, texts, None
            return None
    elif leaf.ndim == 0:
        return None
    elif leaf.shape[0] == n:
        return 0
    elif list(leaf.shape).count(n) == 1:
        return list(leaf.shape).index(n)
    place = "".join(f"[{key!r}]" for key in path)
    raise DataError(
        f"Which axis of batch{place} counts its {n} examples? The batch holds {shapes(raw)}. Give "
        f"a dataset, or a DataLoader with your collate_fn, so that examples can be collated anew."
    )


def _cut(leaf, axis: int | None, at: np.ndarray):
    if axis is None:
        return leaf
    if torch.is_tensor(leaf):
        if len(at) and np.array_equal(at, np.arange(at[0], at[0] + len(at))):
            return leaf.narrow(axis, int(at[0]), len(at))  # a view, nothing is copied
        return leaf.index_select(axis, torch.from_numpy(at).to(leaf.device))
    if isinstance(leaf, np.ndarray):
        return np.take(leaf, at, axis)
    return type(leaf)(leaf[i] for i in at)


def _move(leaf, device, dtype):
    if torch.is_tensor(leaf):
        cast = dtype is not None and leaf.is_floating_point()
        return leaf.to(device=device, dtype=dtype) if cast else leaf.to(device)
    return leaf.to(device) if hasattr(leaf, "to") and not isinstance(leaf, type) else leaf


def on_device_of(model, batch: Batch) -> Batch:
    """A batch where the model is, floating point inputs in the model's own precision."""
    parameter = next(iter(model.parameters()), None)
    return batch if parameter is None else batch.to(parameter.device, parameter.dtype)
