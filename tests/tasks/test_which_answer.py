"""Which part of what a model returns is its answer, and which axis of it counts what."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from dg_explorer.data.batch import Batch
from dg_explorer.errors import DataError
from dg_explorer.tasks import InferredTask, TokenClassificationTask, as_task

G = torch.Generator().manual_seed(0)
X, Y = torch.randn(6, 5, generator=G), torch.arange(6) % 3


class Two(nn.Module):
    """Something hidden, logits, and a second head; `form` says what is returned."""

    def __init__(self, form):
        super().__init__()
        self.form = form
        torch.manual_seed(0)
        self.body, self.head, self.aux = nn.Linear(5, 3), nn.Linear(3, 3), nn.Linear(3, 3)

    def parts(self, x):
        hidden = self.body(x).relu()
        return hidden, self.head(hidden), self.aux(hidden)

    def forward(self, x):
        return self.form(*self.parts(x))


@dataclass
class Named:
    state: torch.Tensor
    scores: torch.Tensor


def batch_of(*inputs, labels=Y):
    return Batch(inputs, {}, labels, np.arange(len(labels)), (*inputs, labels))


@pytest.mark.parametrize("task", ["classification", None])
@pytest.mark.parametrize("frozen", [False, True], ids=["trained", "frozen"])
@pytest.mark.parametrize(
    "form",
    [
        lambda hidden, logits, aux: (hidden, logits),
        lambda hidden, logits, aux: (logits, hidden),
        lambda hidden, logits, aux: (hidden.detach(), logits),
        lambda hidden, logits, aux: (logits, logits.softmax(1)),
        lambda hidden, logits, aux: [logits.log_softmax(1), hidden, logits],
        lambda hidden, logits, aux: (logits.logsumexp(1).mean(), logits),
        lambda hidden, logits, aux: (logits, (hidden, aux)),
    ],
)
def test_the_answer_is_what_the_last_weights_made(form, frozen, task):
    model = Two(form).requires_grad_(not frozen)
    with torch.no_grad():
        found = as_task(task).predict(model, batch_of(X))
        assert torch.equal(found, model.parts(X)[1])
    assert all(p.requires_grad is not frozen for p in model.parameters())


@pytest.mark.parametrize("task", [as_task("classification"), InferredTask()])
@pytest.mark.parametrize(
    "form", [lambda hidden, logits, aux: (logits, aux), lambda hidden, *two: Named(*two)]
)
def test_two_heads_are_asked_about(form, task):
    with pytest.raises(DataError, match="forward=lambda model, batch: "):
        task.predict(Two(form), batch_of(X))


class Tagger(nn.Module):
    """A tag for each token: (example, token, class), or classes first, or tokens first."""

    def __init__(self, classes, turn=None, length=None):
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.head = nn.Embedding(9, 6), nn.Linear(6, classes)
        self.place = None if length is None else nn.Parameter(torch.randn(length, 6))
        self.turn = turn

    def logits(self, tokens):
        states = self.embedding(tokens)
        return self.head(states if self.place is None else states + self.place)

    def forward(self, tokens):
        logits = self.logits(tokens)
        return logits if self.turn is None else logits.transpose(*self.turn)


def tagged(n, length):
    tokens = torch.randint(0, 9, (n, length), generator=G)
    return batch_of(tokens, labels=tokens % 4)


@pytest.mark.parametrize("turn", [None, (1, 2)], ids=["classes last", "classes first"])
@pytest.mark.parametrize(("n", "length"), [(6, 4), (4, 4), (6, 7)])
def test_classes_are_told_from_tokens_of_their_number(n, length, turn):
    model, batch, task = Tagger(4, turn), tagged(n, length), TokenClassificationTask()
    prediction = task.predict(model, batch)
    task.check(prediction, batch)
    logits, labels = model.logits(batch.inputs[0]), batch.labels
    loss = nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none").sum(1)
    assert torch.allclose(task.loss(prediction, batch), loss)


def test_as_many_classes_as_tokens_that_no_shorter_example_shows_are_asked_about():
    model, batch = Tagger(4, (1, 2), length=4), tagged(6, 4)
    task, said = TokenClassificationTask(), TokenClassificationTask(class_axis=1)
    with pytest.raises(DataError, match=r"TokenClassificationTask\(class_axis=2\).*class_axis=1"):
        task.check(task.predict(model, batch), batch)
    prediction = said.predict(model, batch)
    said.check(prediction, batch)
    logits = model.logits(batch.inputs[0]).transpose(1, 2)
    loss = nn.functional.cross_entropy(logits, batch.labels, reduction="none").sum(1)
    assert torch.allclose(said.loss(prediction, batch), loss)


def test_tokens_that_come_before_examples_of_their_number_are_refused():
    with pytest.raises(DataError, match=r"first axis does not count examples.*transpose\(0, 1\)"):
        TokenClassificationTask().predict(Tagger(3, (0, 1)), tagged(5, 5))
