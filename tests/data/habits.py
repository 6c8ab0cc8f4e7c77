"""How people serve their examples: each habit with what the model should get to see, by id."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    random_split,
)

import dg_explorer as dg

N = 12
_G = torch.Generator().manual_seed(3)
X = torch.randn(N, 4, generator=_G)
Y = torch.randint(0, 3, (N,), generator=_G)
GROUP = torch.arange(N) % 2
PAIRS = TensorDataset(X, Y)
LENGTHS = torch.randint(2, 7, (N,), generator=_G).tolist()
SEQUENCES = [torch.randint(1, 9, (n,), generator=_G) for n in LENGTHS]
# of one length, which is not the number of examples in any batch
TOKENS = torch.randint(1, 9, (N, 5), generator=_G)


class Head(nn.Module):
    """Takes one tensor of features."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(4, 3)

    def forward(self, x):
        return self.body(x)


class Reader(nn.Module):
    """Takes tokens by name, and a mask that it can do without."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(9, 4, padding_idx=0)
        self.head = nn.Linear(4, 3)

    def forward(self, input_ids, attention_mask=None):
        mask = (input_ids != 0) if attention_mask is None else attention_mask
        weight = mask[..., None].to(self.head.weight.dtype)
        return self.head((self.embedding(input_ids) * weight).sum(1) / weight.sum(1))


class Bag(nn.Module):
    """Takes tokens that lie end to end, and where each example begins."""

    def __init__(self):
        super().__init__()
        self.bag = nn.EmbeddingBag(9, 3)

    def forward(self, tokens, offsets):
        return self.bag(tokens, offsets)


class PositionFirst(nn.Module):
    """Takes (position, example, unit)."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return torch.tanh(self.head(x)).mean(0)


class Two(nn.Module):
    """Takes two inputs."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, a, b):
        return self.a(a) * self.b(b)


class Nested(nn.Module):
    """Takes one mapping of inputs."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, parts):
        return self.head(parts["image"] + parts["more"][0])


@dataclass
class Pair:
    """A batch of some code's own."""

    x: torch.Tensor
    label: torch.Tensor


def as_pair(rows):
    return Pair(*torch.utils.data.default_collate(rows))


@dataclass
class Habit:
    """One way to serve examples.

    Attributes
    ----------
    data : what is given
    truth : function (id) -> (positional inputs, keyword inputs, label) of one example in a batch
    """

    data: object
    truth: Callable
    ids: list[int] = field(default_factory=lambda: list(range(N)))
    model: type = Head
    how: dict = field(default_factory=dict)
    labels: object = None  # the record's, where there is a record
    record_ids: object = None


def row(i, x=X, y=Y):
    return (x[i : i + 1],), {}, y[i : i + 1]


def scaled(items):
    x, *rest = zip(*items)
    return ((torch.stack(x) - 3) / 2, *(torch.tensor(r) for r in rest))


def scaled_row(i):
    return ((X[i : i + 1] - 3) / 2,), {}, Y[i : i + 1]


def pad(items):
    x, *rest = zip(*items)
    return (nn.utils.rnn.pad_sequence(x, batch_first=True), *(torch.tensor(r) for r in rest))


def longest_first(items):
    return pad(sorted(items, key=lambda item: -len(item[0])))


def position_first(items):
    x, y = zip(*items)
    return torch.stack(x, 1), torch.tensor(y)


def end_to_end(items):
    x, y = zip(*items)
    offsets = torch.tensor([0, *np.cumsum([len(t) for t in x])[:-1].tolist()])
    return {"tokens": torch.cat(x), "offsets": offsets}, torch.tensor(y)


def named_ids(items):
    """A collate that hands ids on under a name, and shortens nothing."""
    x, y, ids = zip(*items)
    return {"ids": torch.tensor(ids), "x": torch.stack(x), "labels": torch.tensor(y)}


class Rows(Dataset):
    """Rows of any kind."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]


class Normalising(TensorDataset):
    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return (x - 3) / 2, y


class Doubling(Subset):
    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return (x - 3) / 2, y

    def __getitems__(self, indices):
        return [self[i] for i in indices]


class Streamed(IterableDataset):
    def __iter__(self):
        yield from zip(X, Y)


class StreamedBatches(IterableDataset):
    def __iter__(self):
        for start in range(0, N, 5):
            yield X[start : start + 5], Y[start : start + 5]


class Passing:
    """Any object with an `__iter__` that gives batches."""

    def __init__(self, size):
        self.size = size

    def __iter__(self):
        for start in range(0, N, self.size):
            yield X[start : start + self.size], Y[start : start + self.size]


class Together(Dataset):
    """A data set that is asked for many rows at once."""

    def __len__(self):
        return N

    def __getitems__(self, indices):
        return [(X[i], Y[i]) for i in indices]

    def __getitem__(self, index):
        raise AssertionError("asked one by one")


class ByList(Dataset):
    """A data set that gives a batch for a list of places."""

    def __len__(self):
        return N

    def __getitem__(self, indices):
        return X[indices], Y[indices]


def tokens_row(i, mask=False):
    named = {"input_ids": TOKENS[i : i + 1]}
    if mask:
        named["attention_mask"] = torch.ones(1, 5, dtype=torch.long)
    return (), named, Y[i : i + 1]


def token_rows(**more):
    return [
        {"input_ids": TOKENS[i], "labels": Y[i], **{name: one(i) for name, one in more.items()}}
        for i in range(N)
    ]


def sequence_row(i):
    return (SEQUENCES[i][None],), {}, Y[i : i + 1]


def bag_row(i):
    return (SEQUENCES[i], torch.tensor([0])), {}, Y[i : i + 1]


def _halves():
    generator = torch.Generator().manual_seed(0)
    return random_split(TensorDataset(torch.cat([X, X + 1]), torch.cat([Y, Y])), [N, N], generator)


FIRST, SECOND = _halves()
PAD = DataLoader(dg.with_ids(Rows(list(zip(SEQUENCES, Y.tolist())))), 5, collate_fn=pad)
SIGNED = 2 * (Y > 0).long() - 1
UNLABELLED = torch.where(Y == 1, -100, Y)
REVERSED = np.arange(N)[::-1] * 10


def _given_ids(i):
    return row(N - 1 - i // 10)


def _of_second(i):
    x, y = SECOND[i]
    return (x[None],), {}, y[None]


def _of_parent(i):
    return row(i, torch.cat([X, X + 1]), torch.cat([Y, Y]))


HABITS: dict[str, Habit] = {
    "tensors in a data set": Habit(PAIRS, row),
    "two tensors": Habit((X, Y), row),
    "two arrays": Habit((X.numpy(), Y.numpy()), row),
    "a mapping of columns": Habit({"input_ids": TOKENS, "labels": Y}, tokens_row, model=Reader),
    "ids of one's own": Habit(dg.with_ids(PAIRS, REVERSED), _given_ids, ids=REVERSED.tolist()),
    "a shuffled loader with ids": Habit(DataLoader(dg.with_ids(PAIRS), 5, shuffle=True), row),
    "a loader's own collate": Habit(
        DataLoader(dg.with_ids(PAIRS), 5, shuffle=True, collate_fn=scaled), scaled_row
    ),
    "a collate that names the ids": Habit(
        DataLoader(dg.with_ids(PAIRS), 5, shuffle=True, collate_fn=named_ids),
        lambda i: ((), {"x": X[i : i + 1]}, Y[i : i + 1]),
    ),
    "a data set's own getitem": Habit(Normalising(X, Y), scaled_row),
    "a subset's own getitem": Habit(Doubling(PAIRS, list(range(N))), scaled_row),
    "rows padded by the collate": Habit(PAD, sequence_row, model=Reader),
    "a collate that sorts by length": Habit(
        DataLoader(PAD.dataset, 5, collate_fn=longest_first), sequence_row, model=Reader
    ),
    "positions first": Habit(
        DataLoader(
            Rows(list(zip(X[:, None] + torch.arange(5.0)[:, None], Y.tolist()))),
            5,
            collate_fn=position_first,
        ),
        lambda i: ((X[i, None, None] + torch.arange(5.0)[:, None, None],), {}, Y[i : i + 1]),
        model=PositionFirst,
    ),
    "bags end to end with offsets": Habit(
        DataLoader(Rows(list(zip(SEQUENCES, Y.tolist()))), 5, collate_fn=end_to_end),
        bag_row,
        model=Bag,
    ),
    "drop_last": Habit(DataLoader(dg.with_ids(PAIRS), 5, shuffle=True, drop_last=True), row),
    "a weighted sampler": Habit(
        DataLoader(dg.with_ids(PAIRS), 5, sampler=WeightedRandomSampler([1.0] * N, 2 * N)), row
    ),
    "a sampler of some places": Habit(
        DataLoader(dg.with_ids(PAIRS), 5, sampler=SubsetRandomSampler([7, 2, 5])),
        row,
        ids=[2, 5, 7],
    ),
    "batches of a sampler": Habit(
        DataLoader(PAIRS, batch_sampler=BatchSampler(SequentialSampler(PAIRS), 5, False)), row
    ),
    "batches asked for by list": Habit(
        DataLoader(
            ByList(), batch_size=None, sampler=BatchSampler(SequentialSampler(PAIRS), 5, False)
        ),
        row,
    ),
    "many rows at once": Habit(Together(), row),
    "workers": Habit(DataLoader(dg.with_ids(Rows(list(PAIRS))), 5, num_workers=2), row),
    "a subset": Habit(Subset(PAIRS, [3, 8, 0]), row, ids=[3, 8, 0]),
    "a subset with repeats, by the table's ids": Habit(
        Subset(PAIRS, [3, 8, 3, 0, 8]), row, ids=[3, 8, 0], labels=Y
    ),
    "a subset with repeats, by place": Habit(
        Subset(PAIRS, [3, 8, 3, 0, 8]), lambda i: row([3, 8, 3, 0, 8][i]), ids=list(range(5))
    ),
    "parts with ids end to end": Habit(
        ConcatDataset(
            [
                dg.with_ids(Subset(PAIRS, range(7))),
                dg.with_ids(Subset(PAIRS, range(7, N)), np.arange(7, N)),
            ]
        ),
        row,
    ),
    "parts without ids end to end": Habit(
        ConcatDataset([Subset(PAIRS, range(7)), Subset(PAIRS, range(7, N))]), row
    ),
    "half of a random split, by place": Habit(
        SECOND, _of_second, labels=[int(y) for _, y in SECOND]
    ),
    "half of a random split, by the table's ids": Habit(
        FIRST,
        _of_parent,
        ids=list(FIRST.indices),
        labels=torch.cat([Y, Y]),
        record_ids=np.arange(2 * N),
    ),
    "a list of examples": Habit([(X[i], int(Y[i])) for i in range(N)], row),
    "a list of batches": Habit([(X[:5], Y[:5]), (X[5:], Y[5:])], row, labels=Y),
    "a collate that makes a dataclass": Habit(
        DataLoader(PAIRS, 5, collate_fn=as_pair), lambda i: ((), {"x": X[i : i + 1]}, Y[i : i + 1])
    ),
    "a list that begins with a batch of one": Habit([(X[:1], Y[:1]), (X[1:], Y[1:])], row),
    "a loader of batches": Habit(
        DataLoader([(X[:5], Y[:5]), (X[5:], Y[5:])], batch_size=None), row
    ),
    "a stream": Habit(Streamed(), row),
    "a stream through a loader": Habit(DataLoader(Streamed(), 5, collate_fn=scaled), scaled_row),
    "a stream of batches": Habit(DataLoader(StreamedBatches(), batch_size=None), row),
    "an object that gives batches": Habit(Passing(5), row),
    "an object that gives as many batches as examples in each": Habit(Passing(4), row, labels=Y),
    "several sets by name": Habit(
        {"clean": Subset(PAIRS, range(7)), "noisy": DataLoader(Subset(PAIRS, range(7, N)), 2)}, row
    ),
    "a list of mappings of tensors": Habit(token_rows(), tokens_row, model=Reader),
    "rows of mappings": Habit(
        Rows(token_rows(attention_mask=lambda i: torch.ones(5, dtype=torch.long))),
        lambda i: tokens_row(i, mask=True),
        model=Reader,
    ),
    "rows of lists with texts beside": Habit(
        Rows(
            [
                {"input_ids": TOKENS[i].tolist(), "label": int(Y[i]), "text": f"row {i}"}
                for i in range(N)
            ]
        ),
        tokens_row,
        model=Reader,
    ),
    "another name for the label": Habit(
        Rows([{"image": X[i], "target": int(Y[i])} for i in range(N)]), row
    ),
    "another name for the label, beside others": Habit(
        Rows([{"image": X[i], "kind": int(GROUP[i]), "species": int(Y[i])} for i in range(N)]),
        row,
        labels=Y,
        how={"forward": "image"},
    ),
    "a label that is said by key": Habit(
        Rows([{"x": X[i], "a": int(GROUP[i]), "b": int(Y[i])} for i in range(N)]),
        row,
        how={"label": "b"},
    ),
    "a label that is said by function": Habit(
        TensorDataset(X, 10 * Y, GROUP),
        row,
        how={"label": lambda batch: batch[1] // 10, "forward": 0},
    ),
    "input, label, group and a record": Habit(TensorDataset(X, Y, GROUP), row, labels=Y),
    "input, group, label and a record": Habit(TensorDataset(X, GROUP, Y), row, labels=Y),
    "a label that is said by place": Habit(TensorDataset(X, Y, GROUP), row, how={"label": 1}),
    "two inputs and a label": Habit(
        TensorDataset(X, X + 1, Y),
        lambda i: ((X[i : i + 1], X[i : i + 1] + 1), {}, Y[i : i + 1]),
        model=Two,
    ),
    "two inputs in one": Habit(
        Rows([((X[i], X[i] + 1), Y[i]) for i in range(N)]),
        lambda i: ((X[i : i + 1], X[i : i + 1] + 1), {}, Y[i : i + 1]),
        model=Two,
    ),
    "tokens, mask and label": Habit(
        TensorDataset(TOKENS, torch.ones_like(TOKENS), Y),
        lambda i: ((TOKENS[i : i + 1], torch.ones(1, 5, dtype=torch.long)), {}, Y[i : i + 1]),
        model=Reader,
    ),
    "nested inputs": Habit(
        Rows([({"image": X[i], "more": [X[i] * 2]}, Y[i]) for i in range(N)]),
        lambda i: (({"image": X[i : i + 1], "more": [X[i : i + 1] * 2]},), {}, Y[i : i + 1]),
        model=Nested,
    ),
    "rows with their own id": Habit(
        Rows([(X[i], Y[i], 10 * i) for i in range(N)]),
        lambda i: row(i // 10),
        ids=[10 * i for i in range(N)],
        labels=Y,
        record_ids=np.arange(N) * 10,
    ),
    "shuffled rows with their own id": Habit(
        DataLoader(Rows([(X[i], Y[i], i) for i in range(N)]), 5, shuffle=True), row, labels=Y
    ),
    "labels of plus and minus one": Habit((X, SIGNED), lambda i: row(i, X, SIGNED), labels=SIGNED),
    "rows without a label among others": Habit(
        (X, UNLABELLED), lambda i: row(i, X, UNLABELLED), labels=UNLABELLED
    ),
    "no labels at all": Habit(TensorDataset(X), lambda i: ((X[i : i + 1],), {}, None)),
    "a function that calls the model": Habit(
        PAIRS,
        lambda i: ((X[i : i + 1] * 2,), {}, Y[i : i + 1]),
        how={"forward": lambda model, batch: model(2 * batch[0])},
    ),
    "a function that gives the labels too": Habit(
        TensorDataset(X, GROUP, Y),
        row,
        how={"forward": lambda model, batch: (model(batch[0]), batch[2])},
    ),
}
