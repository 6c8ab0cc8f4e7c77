"""The model is served what the user's own pipeline gives, whatever the habit."""

import random

import numpy as np
import pytest
import torch
from habits import GROUP, HABITS, PAIRS, SEQUENCES, Head, N, Passing, Rows, X, Y, longest_first
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
)

import dg_explorer as dg
from dg_explorer.data.reader import AugmentedDataWarning
from dg_explorer.data.served import Served
from dg_explorer.errors import DataError, ShuffledLoaderError, UnknownExampleError


def served(habit, **more):
    torch.manual_seed(0)
    model = habit.model().double()
    run = None
    if habit.labels is not None:
        ids = np.arange(len(habit.labels)) if habit.record_ids is None else habit.record_ids
        table = {"train": ids, "label": np.asarray(habit.labels)}
        run = dg.Run.create(name="habits", train_examples=table)
    data = Served(habit.data, model=model, run=run, batch_size=5, **habit.how, **more)
    return data, model


def check(batches, model, habit, ids):
    """Each example of some batches, against a model that sees it alone in float64."""
    seen = []
    ids = list(ids)
    for batch in batches:
        batch = batch.to("cpu", torch.float64)
        with torch.no_grad():
            outputs = batch.predict(model)
        for i, example in enumerate(batch.ids.tolist()):
            inputs, keywords, label = habit.truth(example)
            inputs = [_wide(value) for value in inputs]
            keywords = {name: _wide(value) for name, value in keywords.items()}
            with torch.no_grad():
                right = model(*inputs, **keywords)
                alone = batch.take([i]).predict(model)
            torch.testing.assert_close(outputs[i : i + 1], right, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(alone, right, rtol=1e-12, atol=1e-12)
            if label is None:
                assert batch.labels is None
            else:
                assert torch.equal(batch.labels[i : i + 1], label)
        # a collate function may sort the examples of a batch: they come in its order
        place = len(seen)
        seen += sorted(batch.ids.tolist(), key=ids.index)
        assert seen[place:] == ids[place : len(seen)]
    assert seen == ids


def _wide(value):
    if isinstance(value, dict):
        return {name: _wide(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_wide(part) for part in value]
    return value.double() if value.is_floating_point() else value


@pytest.mark.parametrize("name", HABITS)
def test_each_example_is_served_once_as_the_pipeline_gives_it(name):
    habit = HABITS[name]
    data, model = served(habit)
    assert data.ids.tolist() == habit.ids
    check(data, model, habit, habit.ids)


@pytest.mark.parametrize("name", HABITS)
def test_a_part_of_the_examples_is_those_examples(name):
    habit = HABITS[name]
    data, model = served(habit)
    some = data.subset([habit.ids[2], habit.ids[0]])
    assert sorted(some.ids.tolist()) == sorted([habit.ids[2], habit.ids[0]])
    check(some, model, habit, some.ids.tolist())


@pytest.mark.parametrize("name", HABITS)
def test_reading_draws_no_number_that_the_training_would_have_drawn(name):
    def draw():
        return torch.rand(1).item(), np.random.random(), random.random()  # noqa: NPY002

    torch.manual_seed(5), np.random.seed(5), random.seed(5)  # noqa: NPY002
    expected = [draw() for _ in range(2)]
    habit = HABITS[name]
    data, model = served(habit)
    torch.manual_seed(5), np.random.seed(5), random.seed(5)  # noqa: NPY002
    drawn = [draw()]
    list(Served(habit.data, model=model, batch_size=5, **habit.how, **_record(habit)))
    list(data)
    assert [*drawn, draw()] == expected


def _record(habit):
    if habit.labels is None:
        return {}
    ids = np.arange(len(habit.labels)) if habit.record_ids is None else habit.record_ids
    table = {"train": ids, "label": np.asarray(habit.labels)}
    return {"run": dg.Run.create(name="habits", train_examples=table)}


class Noisy(Dataset):
    """Adds noise: an augmentation."""

    def __init__(self, draw):
        self.draw = draw

    def __len__(self):
        return N

    def __getitem__(self, index):
        return X[index] + self.draw(), Y[index]


def inputs(data):
    return torch.cat([batch.inputs[0] for batch in data])


def test_examples_that_differ_each_time_are_said_to():
    with pytest.warns(AugmentedDataWarning, match="augment='fixed'"):
        data = Served(Noisy(lambda: torch.randn(4)), model=Head())
    assert data.augmented
    assert not torch.equal(inputs(data), inputs(data))


@pytest.mark.parametrize(
    "draw",
    [
        lambda: torch.randn(4),
        lambda: torch.tensor(np.random.rand(4), dtype=torch.float32),  # noqa: NPY002
        lambda: random.random(),
    ],
    ids=["torch", "numpy", "python"],
)
def test_fixed_augmentation_belongs_to_the_example(draw):
    noisy = Noisy(draw)
    first = Served(noisy, model=Head(), augment="fixed", batch_size=5)
    second = Served(noisy, model=Head(), augment="fixed", batch_size=12).subset([7, 2])
    assert not first.augmented
    assert torch.equal(inputs(first)[[7, 2]], inputs(second))
    assert not torch.equal(inputs(first), X)


class KeepsGenerators(Dataset):
    """Draws from generators of its own, its transform's, a closure's and its module's."""

    def __init__(self):
        self.torch = torch.Generator().manual_seed(1)
        self.parts = {"numpy": [np.random.default_rng(1)], "old": np.random.RandomState(1)}
        hidden = random.Random(1)
        self.transform = lambda x: x + hidden.random() + GLOBAL.random()

    def __len__(self):
        return N

    def __getitem__(self, index):
        noise = torch.rand(4, generator=self.torch) + self.parts["numpy"][0].random()
        return self.transform(X[index] + noise + self.parts["old"].rand()), Y[index]


GLOBAL = np.random.default_rng(1)


@pytest.mark.filterwarnings("ignore::dg_explorer.data.reader.AugmentedDataWarning")
def test_generators_that_a_data_set_keeps_are_left_as_they_were():
    GLOBAL.bit_generator.state = np.random.default_rng(1).bit_generator.state
    untouched = KeepsGenerators()
    untouched = [untouched[i][0] for i in (0, 1)]
    GLOBAL.bit_generator.state = np.random.default_rng(1).bit_generator.state
    dataset = KeepsGenerators()
    first = dataset[0][0]
    list(Served(dataset, model=Head(), batch_size=5))
    assert torch.equal(torch.stack([first, dataset[1][0]]), torch.stack(untouched))


def test_the_users_loader_is_never_iterated():
    class Counting(DataLoader):
        started = 0

        def __getattribute__(self, name):
            if name == "_iterator" or name == "_get_iterator":
                type(self).started += 1
            return super().__getattribute__(name)

    generator = torch.Generator().manual_seed(4)
    before = generator.get_state()
    loader = Counting(dg.with_ids(Rows(list(PAIRS))), 5, shuffle=True, generator=generator)
    list(Served(loader, model=Head()))
    assert torch.equal(generator.get_state(), before)
    assert Counting.started == 0


def test_a_model_that_changes_its_input_in_place_keeps_off_the_data():
    x = X.clone()
    for batch in Served(TensorDataset(x, Y), batch_size=5):
        batch.inputs[0].mul_(0)
    assert torch.equal(x, X)


REFUSED = {
    "an id that is not served": (
        lambda: Served(Subset(PAIRS, [1, 2])).subset([3]),
        UnknownExampleError,
        "3 is not served",
    ),
    "a shuffled loader without ids": (
        lambda: Served(DataLoader(PAIRS, shuffle=True)),
        ShuffledLoaderError,
        r"with_ids\(dataset",
    ),
    "no examples": (lambda: Served(TensorDataset(X[:0], Y[:0])), DataError, "no examples"),
    "rows that hold two labels": (
        lambda: Served(TensorDataset(X, Y, GROUP), model=Head()),
        DataError,
        "label=1",
    ),
    "a mapping that holds two labels": (
        lambda: Served(Rows([{"x": X[i], "a": i, "b": i} for i in range(N)]), model=Head()),
        DataError,
        "label=",
    ),
    "a label that is not there": (
        lambda: Served(PAIRS, label="y", model=Head()),
        DataError,
        "no such entry",
    ),
    "batches or examples": (
        lambda: Served([(X[:6], Y[:6]), (X[6:], Y[6:])]),
        DataError,
        "batch_size=None",
    ),
    "a generator": (lambda: Served(pair for pair in PAIRS), DataError, "only once"),
    "rows of different length": (
        lambda: Served(Rows([(X[0, : 1 + i % 3], 0) for i in range(N)])),
        DataError,
        "collate_fn",
    ),
    "a collate that loses examples": (
        lambda: list(
            Served(DataLoader(dg.with_ids(Rows(list(PAIRS))), 5, collate_fn=without_the_7))
        ),
        DataError,
        "left out example 7",
    ),
    "a collate that sorts and drops the ids": (
        lambda: Served(
            DataLoader(
                HABITS["a collate that sorts by length"].data.dataset,
                5,
                collate_fn=sorted_without_ids,
            )
        ),
        DataError,
        "another order",
    ),
    "a collate that scales by its batch": (
        lambda: Served(DataLoader(dg.with_ids(PAIRS), 5, collate_fn=scaled_by_the_batch)),
        DataError,
        "beside other examples",
    ),
    "parts that share ids": (
        lambda: Served(ConcatDataset([dg.with_ids(PAIRS), dg.with_ids(PAIRS)])),
        DataError,
        "Id 0",
    ),
    "a stream that shuffles": (
        lambda: Served(Shuffling(), model=Head()),
        DataError,
        "another order",
    ),
    "a loader that changes batches": (
        lambda: Served(Changing(PAIRS)),
        DataError,
        "__iter__ of its own",
    ),
    "an object that changes a loader's batches": (
        lambda: Served(Around(DataLoader(PAIRS, 4)), model=Head()),
        DataError,
        "loader in its 'loader'.*collate_fn=",
    ),
    "an object that looks like the loader whose batches it changes": (
        lambda: Served(Delegating(DataLoader(PAIRS, 4)), model=Head()),
        DataError,
        "__iter__ of its own.*collate_fn",
    ),
    "an object around a loader, as ready batches": (
        lambda: Served(DataLoader(Around(DataLoader(PAIRS, 4)), batch_size=None), model=Head()),
        DataError,
        "loader in its 'loader'",
    ),
    "items of an object that may be batches": (
        lambda: Served(Passing(4), model=Head()),
        DataError,
        "3 batches of 12 examples.*batch_size=None",
    ),
    "batches in another order each time": (
        lambda: Served(DataLoader(Shuffling(4), batch_size=None), model=Head()),
        DataError,
        "another order",
    ),
    "a collate that leaves out rows of three things": (
        lambda: Served(
            DataLoader(TensorDataset(X, Y, GROUP), 5, collate_fn=without_cold), model=Head()
        ),
        DataError,
        r"was given 12 examples.*leaves some out.*Subset\(dataset, kept\)",
    ),
    "a collate that leaves out rows with ids": (
        lambda: Served(DataLoader(dg.with_ids(PAIRS), 5, collate_fn=without_cold), model=Head()),
        DataError,
        "leaves some out|left out example",
    ),
    "a collate that leaves out rows that are None": (
        lambda: Served(
            DataLoader(dg.with_ids([None, *PAIRS]), 5, collate_fn=without_none), model=Head()
        ),
        DataError,
        "leaves some out|left out example",
    ),
}


class Around:
    """Passes on the batches of a loader, halved."""

    def __init__(self, loader):
        self.loader = loader

    def __len__(self):
        return len(self.loader)

    def __iter__(self):
        return ((x / 2, *rest) for x, *rest in self.loader)


class Delegating(Around):
    def __getattr__(self, name):
        return getattr(self.__dict__["loader"], name)


def without_cold(items):
    return torch.utils.data.default_collate([item for item in items if item[0][0] > 0])


def without_none(items):
    return torch.utils.data.default_collate([item for item in items if item is not None])


def without_the_7(items):
    return torch.utils.data.default_collate([item for item in items if item[-1] != 7])


def scaled_by_the_batch(items):
    inputs, *rest = torch.utils.data.default_collate(items)
    return (inputs.float() - inputs.float().mean(0), *rest)


def sorted_without_ids(items):
    return longest_first([item[:2] for item in items])


class Shuffling(IterableDataset):
    def __init__(self, size=None):
        self.size = size

    def __iter__(self):
        order = torch.randperm(N)
        yield from (PAIRS[i] for i in (order.split(self.size) if self.size else order.tolist()))


class Changing(DataLoader):
    def __iter__(self):
        for x, y in super().__iter__():
            yield x / 2, y


@pytest.mark.parametrize(("ask", "error", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_known_is_refused_in_words(ask, error, words):
    with pytest.raises(error, match=words):
        ask()


def run_of(labels, ids=None):
    table = {"train": np.arange(N) if ids is None else ids, "label": np.asarray(labels)}
    return dg.Run.create(name="labels", train_examples=table)


def test_labels_that_contradict_the_record_are_shown():
    data = Served(dg.with_ids(PAIRS, np.arange(N)[::-1]), run=run_of(Y), model=Head())
    with pytest.raises(DataError, match=r"label.*example \d+ has label \d there and \d here"):
        list(data)


def test_ids_that_the_record_lacks_are_named():
    with pytest.raises(UnknownExampleError, match="id 12"):
        Served(dg.with_ids(PAIRS, np.arange(N) + 12), run=run_of(Y), model=Head())


def test_labels_that_the_record_does_not_have_contradict_nothing():
    table = np.where(np.arange(N) < 4, -1, Y.numpy())
    assert len(list(Served(PAIRS, run=run_of(table), model=Head(), batch_size=5))) == 3


def test_labels_come_in_the_order_of_the_ids():
    data = Served(dg.with_ids(PAIRS), batch_size=5)
    assert data.labels().tolist() == Y.tolist()
    assert data.subset([4, 1]).labels().tolist() == Y[[4, 1]].tolist()
    assert Served(TensorDataset(X)).labels() is None


def test_whole_tensors_are_sliced_and_equal_what_rows_give():
    fast = Served(Subset(dg.with_ids(PAIRS), [4, 9, 2, 3, 0, 1]), batch_size=4)
    slow = Served(Rows([PAIRS[i] for i in [4, 9, 2, 3, 0, 1]]), batch_size=4)
    assert fast.whole_tensors
    assert not slow.whole_tensors
    for a, b in zip(fast, slow, strict=True):
        assert type(a.raw) is type(b.raw)
        assert all(torch.equal(one, two) for one, two in zip(a.raw, b.raw, strict=True))


def test_what_is_served_already_is_held_against_the_run_it_is_given_to():
    data = Served(TensorDataset(X, Y, GROUP), label=1, forward=0, model=Head())
    assert Served.of(data, run=run_of(Y)).ids.tolist() == data.ids.tolist()
    with pytest.raises(DataError, match="another label"):
        list(Served.of(data, run=run_of(Y.roll(1))))


def test_packed_sequences_are_packed_anew_for_a_part_of_them():
    def packed(items):
        return pack_sequence([x for x, _ in items], enforce_sorted=False), torch.tensor(
            [y for _, y in items]
        )

    rows = Rows(list(zip(SEQUENCES, Y.tolist())))
    batch = next(iter(Served(DataLoader(rows, 4, collate_fn=packed))))
    part = batch.take([3, 1])
    tokens, lengths = pad_packed_sequence(part.inputs[0], batch_first=True)
    assert [row[:n].tolist() for row, n in zip(tokens, lengths)] == [
        SEQUENCES[3].tolist(),
        SEQUENCES[1].tolist(),
    ]
    assert part.labels.tolist() == Y[[3, 1]].tolist()
