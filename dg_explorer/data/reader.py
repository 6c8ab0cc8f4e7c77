"""One set of examples made ready: their ids, and how its batches are taken apart."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

import numpy as np

from ..arguments import Brief
from ..errors import DataError, ShuffledLoaderError
from .batch import Batch
from .forward import Prediction, label_of_forward
from .kinds import Given
from .leaves import is_array
from .probe import (
    axes_of_collate,
    check_company,
    check_length,
    check_none_left_out,
    check_order,
    differs,
)
from .record_labels import RecordLabels
from .roles import Roles, roles_of, signature_of
from .rows import ID_KEYS, DatasetRows, ManyRows, Part, TensorRows, is_default, without
from .streams import ReadyBatches, Stream

_FEW, _MANY = 3, 64  # rows looked at: always, and where the record has to decide


class AugmentedDataWarning(UserWarning):
    """The same example is not the same each time it is read."""


@dataclass(repr=False)
class ExampleReader(Brief):
    """Batches of one set of examples.

    Attributes
    ----------
    source : what is read, by place
    ids : int64 array
        Of every place.
    places : int64 array
        Which are served, each id once.
    size : int
    roles : Roles
    own_id : key or place, or None
        The entry in which rows carry an id of their own.
    axes : as `Batch.axes`
    ragged : bool
        Examples lie end to end, without an axis of their own.
    augmented : bool
        Two readings of the same examples differ.
    """

    source: TensorRows | DatasetRows | Stream | ReadyBatches
    ids: np.ndarray
    places: np.ndarray
    size: int
    roles: Roles
    own_id: object = None
    axes: Mapping | None = None
    ragged: bool = False
    augmented: bool = False

    def __iter__(self) -> Iterator[Batch]:
        wanted = None
        if isinstance(self.source, ReadyBatches) and len(self.places) < len(self.source):
            wanted = np.sort(self.places)
        for part in self.source.walk(self.places, self.size):
            batch = self.batch(part)
            if wanted is not None:
                batch = batch.take(np.isin(part.places, wanted))
            yield batch

    def batch(self, part: Part) -> Batch:
        """A part of the source as a batch."""
        raw = part.raw if self.own_id is None else without(part.raw, self.own_id)
        if not self.ragged:
            check_length(raw, self.axes, len(part.places))
        inputs, keywords, labels = self.roles.split(raw)
        source, remake = self.source, None
        if part.items is not None and isinstance(source, DatasetRows):
            remake = lambda at: self.batch(source.remake(part, at))  # noqa: E731
        ids = self.ids[part.places]
        return Batch(inputs, keywords, labels, ids, raw, self.roles.forward, self.axes, remake)

    def samples(self, n: int) -> list[Batch]:
        """A batch of n examples from all over the set, or a few of the batches that are ready."""
        if isinstance(self.source, ReadyBatches):
            return list(islice(iter(self), _FEW))
        chosen = _spread(self.places, n)
        return list(dataclasses.replace(self, places=chosen, size=n))

    def at(self, places: np.ndarray) -> ExampleReader:
        """The same examples, only those at some places."""
        return dataclasses.replace(self, places=places)


def ready(
    one: Given,
    record: RecordLabels | None,
    model,
    *,
    label=None,
    forward=None,
    by_task: bool = False,
    by_position: bool = False,
) -> ExampleReader:
    """Find the ids of the examples, and what the entries of their batches mean.

    Raises
    ------
    ShuffledLoaderError
        A shuffled loader gives rows without ids.
    DataError
        There is no example; or nothing says what the entries mean.
    """
    if len(one.places) == 0:
        raise DataError("This data set is empty: there are no examples in it to evaluate.")
    source = one.source
    if isinstance(source, DatasetRows) and source.carried is not None:
        _find_carried_ids(source, one.places)
    few = _sample(source, one.places, _FEW)
    many = few
    if (record is not None and not one.certain) or _leaves_a_choice(few.raw, label):
        many = _sample(source, one.places, _MANY)
    how = {"label": label, "forward": forward, "free": by_task or callable(forward)}
    reading = _decide(one, many, record, signature_of(model), how, by_position)
    reader = ExampleReader(source, *reading[0], one.size, *reading[1])
    whole = isinstance(source, (TensorRows, ReadyBatches, ManyRows))
    if not whole and not is_default(source.collate):
        _try_collate(reader)
    reader.augmented = not isinstance(source, TensorRows) and _read_twice(reader)
    batch = reader.batch(_sample(source, reader.places, _FEW))
    if callable(forward) and label is None:
        _listen(reader, forward, model, batch)
    return reader


def _listen(reader: ExampleReader, forward, model, batch: Batch) -> None:
    """Labels that the user's forward returns beside its prediction are the labels."""
    found = None if model is None else label_of_forward(forward, model, batch)
    roles = dataclasses.replace(reader.roles, forward=Prediction(forward))
    reader.roles = roles if found is None else dataclasses.replace(roles, label=found)


def _find_carried_ids(source: DatasetRows, places: np.ndarray) -> None:
    """Where a collate function leaves the ids that rows end with; the same in two batches."""
    keys = []
    for chosen in (_spread(places, _FEW), _spread(places, 5)[::-1]):
        with source.draws():
            raw = source.collated(source.fetch(chosen))
        keys.append(source.find_ids(raw, source.carried[chosen]))
        if keys[-1] is None:
            check_none_left_out(raw, len(chosen))
    source.id_key = keys[0] if keys[0] == keys[1] else None


def _decide(one, part, record, signature, how: dict, by_position: bool):
    """((ids, places), (roles, own id)): the first reading that the record does not contradict."""
    found, first_error = [], None
    for ids, own in _hypotheses(one, part, record, by_position):
        if record is not None and not record.knows(ids[part.places]):
            continue
        here = ids[part.places]
        raw = part.raw if own is None else without(part.raw, own)

        witness = None
        if record is not None and record.labels is not None:
            witness = functools.partial(record.agrees, here)
        try:
            roles = roles_of(raw, signature, agrees=witness, **how)
        except DataError as error:
            first_error = first_error or error
            continue
        wrong = 0 if record is None else len(record.wrong(here, roles.labels(raw)))
        found.append((wrong, ids, roles, own))
    if not found:
        if first_error is not None:
            if isinstance(one.source, DatasetRows):
                check_none_left_out(part.raw, len(part.places))
            raise first_error
        if record is not None and not one.shuffled:
            record.check_ids(one.candidates[0][one.places])
        raise ShuffledLoaderError(
            "This loader shuffles, so position says nothing about which example is which. "
            "Wrap its dataset: DataLoader(with_ids(dataset), shuffle=True, ...)."
        )
    consistent = [reading for reading in found if reading[0] == 0] or found[:1]
    _, ids, roles, own = consistent[0]
    _, first = np.unique(ids[one.places], return_index=True)
    return (ids, one.places[np.sort(first)]), (roles, own)


def _hypotheses(one: Given, part: Part, record, by_position: bool):
    """(ids by place, entry that is an id or None), the likeliest first."""
    positions_mean_something = not one.shuffled or by_position
    candidates = one.candidates if positions_mean_something else []
    if record is not None:
        # what covers the record whole comes before what is only part of it
        candidates = sorted(candidates, key=lambda ids: len(np.setxor1d(ids, record.ids)) > 0)
    for ids in candidates:
        yield ids, None
    if one.certain or (positions_mean_something and record is None):
        return
    key = _own_id(part, record)
    if key is not None:
        ids = np.full(len(one.source), -1, dtype=np.int64)
        for whole in one.source.walk(one.places, one.size):
            ids[whole.places] = np.asarray(whole.raw[key], dtype=np.int64)
        yield ids, key


def _own_id(part: Part, record):
    """The entry that can be an id of the rows' own: whole numbers, each once, known to the run."""
    raw = part.raw
    if isinstance(raw, Mapping):
        places = [key for key in raw if str(key).lower() in ID_KEYS]
    else:
        places = [len(raw) - 1] if isinstance(raw, (tuple, list)) and len(raw) >= 3 else []
    for place in places:
        if not is_array(raw[place]):
            continue
        ids = np.asarray(raw[place])
        whole = ids.dtype.kind in "iu" and ids.ndim == 1 and len(np.unique(ids)) == len(ids)
        if whole and (record is None or record.knows(ids)):
            return place
    return None


def _leaves_a_choice(raw, label) -> bool:
    if label is not None:
        return False
    if isinstance(raw, Mapping):
        return "labels" not in raw and "label" not in raw
    return isinstance(raw, (tuple, list)) and len(raw) > 2


def _try_collate(reader: ExampleReader) -> None:
    """See what the user's collate function does to axes and order."""
    source, places = reader.source, _spread(reader.places, _FEW + 1)

    def bare(raw):
        if isinstance(source, DatasetRows) and source.id_key is not None:
            raw = without(raw, source.id_key)
        return raw if reader.own_id is None else without(raw, reader.own_id)

    reader.axes, reader.ragged = axes_of_collate(source, places, bare)
    if reader.ragged and isinstance(source, DatasetRows):
        source.keeps_items = True
    if getattr(source, "id_key", None) is None and reader.own_id is None:
        check_order(source, places, reader.axes)
    check_company(source, places, reader.axes, bare)


def _read_twice(reader: ExampleReader) -> bool:
    """Whether the same examples read twice differ, which is said once."""
    source = reader.source
    chosen = _spread(reader.places, _FEW)
    first, second = (reader.batch(_sample(source, chosen, _FEW)) for _ in range(2))
    if not differs(first.raw, second.raw):
        return False
    in_turn = isinstance(source, (Stream, ReadyBatches))
    if in_turn and first.labels is not None and differs(_labels(reader), _labels(reader)):
        what = source.dataset if isinstance(source, Stream) else source.batches
        raise DataError(
            f"{type(what).__name__} gives other examples, or another order, each "
            f"time it is read, so it cannot be told which is which. Give a map-style data set, "
            f"or one with a fixed order."
        )
    warnings.warn(
        "Examples of this data set differ from one reading to the next (random augmentation?), so "
        "results differ from call to call too. augment='fixed' draws each example's random "
        "numbers from a generator seeded by its id.",
        AugmentedDataWarning,
        stacklevel=2,
    )
    return True


def _labels(reader: ExampleReader) -> list:
    """The labels of many examples: of three, another order may have the same."""
    part = reader.at(reader.places[:_MANY])
    return [batch.labels for batch in part]


def _sample(source, places: np.ndarray, n: int) -> Part:
    """A few rows spread over the data, as one batch."""
    if isinstance(source, ReadyBatches):
        return next(iter(source.walk(places, n)))
    chosen = _spread(places, n)
    return next(iter(source.walk(chosen, len(chosen))))


def _spread(places: np.ndarray, n: int) -> np.ndarray:
    if len(places) <= n:
        return places
    return places[np.linspace(0, len(places) - 1, n).round().astype(np.int64)]
