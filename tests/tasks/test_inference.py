"""The task that a model, its answers and its labels speak for; and when they do not."""

import pickle
from collections import namedtuple

import pytest
import torch
from torch import nn

from dg_explorer.errors import DataError
from dg_explorer.tasks import InferredTask, TaskUnclearError, as_task, infer_task
from dg_explorer.tasks.answers import logits_of

G = torch.Generator().manual_seed(0)


def randn(*shape):
    return torch.randn(*shape, generator=G)


def integers(high, *shape):
    return torch.randint(0, high, shape, generator=G)


@pytest.mark.parametrize(
    ("name", "prediction", "labels"),
    [
        ("classification", randn(6, 3), integers(3, 6)),
        ("classification", randn(6, 2), integers(2, 6, 1)),
        ("binary", randn(6, 1), integers(2, 6)),
        ("binary", randn(6), integers(2, 6)),
        ("binary", randn(6, 1), 2 * integers(2, 6) - 1),
        ("binary", randn(6, 1), torch.zeros(6, dtype=torch.long)),
        ("multilabel", randn(6, 3), torch.tensor([[1, 0, 1]] * 6)),
        ("regression", randn(6, 1), randn(6)),
        ("regression", randn(6), randn(6, 1)),
        ("regression", randn(6, 1), torch.arange(6)),
        ("regression", randn(6, 3), randn(6, 3)),
        ("segmentation", randn(6, 3, 4, 5), integers(3, 6, 4, 5)),
        ("segmentation", randn(6, 3, 4, 5), integers(3, 6, 1, 4, 5)),
    ],
)
def test_shapes_and_types_that_fit_one_task_only(name, prediction, labels):
    assert infer_task(nn.Identity(), prediction, (prediction, labels)).name == name


BY_BCE = ("BinaryTask(sigmoid=True)", "BCELoss", "'regression'")
MANY_BY_BCE = ("MultilabelTask(sigmoid=True)", "BCELoss", "'regression'")


@pytest.mark.parametrize(
    ("prediction", "labels", "candidates"),
    [
        (randn(6, 1), integers(2, 6).float(), ("'binary'", "'regression'")),
        (randn(6, 3), torch.eye(3).repeat(2, 1), ("'multilabel'", "'regression'", "argmax")),
        (randn(6, 3), torch.eye(3).long().repeat(2, 1), ("'multilabel'", "'regression'")),
        (randn(6, 3), randn(6, 3).softmax(1), ("'regression'", "soft labels")),
        (randn(6, 3), torch.tensor([[1.0, 0, 1]] * 6), ("'multilabel'", "'regression'")),
        (
            randn(6, 5, 9),
            integers(9, 6, 5),
            ("'language_modeling'", "'token_classification'", "'sequence_to_sequence'"),
        ),
        (randn(6, 1).requires_grad_().sigmoid(), integers(2, 6).float(), BY_BCE),
        (randn(6, 1).requires_grad_().sigmoid()[:, 0], integers(2, 6), BY_BCE),
        (randn(6, 3).requires_grad_().sigmoid(), torch.tensor([[1.0, 0, 1]] * 6), MANY_BY_BCE),
        (randn(6, 3).requires_grad_().sigmoid(), torch.tensor([[1, 0, 1]] * 6), MANY_BY_BCE),
        (randn(6, 3), None, ("label=", "CustomTask")),
        (randn(6, 5, 9), integers(9, 6), ("'classification'", "'segmentation'")),
    ],
)
def test_what_could_be_several_tasks_is_asked_for_with_the_candidates(
    prediction, labels, candidates
):
    batch = (prediction,) if labels is None else (prediction, labels)
    with pytest.raises(TaskUnclearError) as error:
        infer_task(nn.Identity(), prediction, batch)
    assert all(candidate in str(error.value) for candidate in candidates)


def test_tokens_that_are_their_own_labels_or_those_before_them_tell_of_next_token_prediction():
    ids = integers(9, 6, 5)
    following = torch.cat([ids[:, 1:], torch.full((6, 1), -100)], 1)
    assert not infer_task(None, randn(6, 5, 9), (ids, ids)).shifted
    assert infer_task(None, randn(6, 5, 9), (ids, following)).shifted


class Answers(nn.Module):
    """Returns what it is told to, made from the same logits."""

    def __init__(self, form):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.form = nn.Linear(4, 3), form

    def forward(self, x):
        return self.form(self.layer(x))


Named = namedtuple("Named", "aux logits")


@pytest.mark.parametrize(
    "form",
    [
        lambda z: z,
        lambda z: (z, z.exp(), None),
        lambda z: [z],
        lambda z: {"logits": z, "hidden": z.exp()},
        lambda z: {"scores": z, "name": "x"},
        lambda z: Named(z.exp(), z),
        lambda z: z.bfloat16().float(),
    ],
)
def test_the_answer_is_found_in_what_models_return(form):
    x, y = randn(5, 4), integers(3, 5)
    task = InferredTask()
    found = task.predict(Answers(form), (x, y))
    torch.testing.assert_close(found, Answers(lambda z: z).layer(x), rtol=1e-2, atol=1e-2)
    assert task.name == "classification"


def test_half_precision_is_widened_before_anything_is_taken_of_it():
    model = Answers(lambda z: z).bfloat16()
    found = as_task("classification").predict(model, (randn(5, 4).bfloat16(), integers(3, 5)))
    assert found.dtype == torch.float32


def test_answers_that_could_be_several_things_are_refused():
    model = Answers(lambda z: {"first": z, "second": z})
    with pytest.raises(DataError, match="first, second"):
        as_task("classification").predict(model, (randn(5, 4), integers(3, 5)))
    with pytest.raises(DataError, match="complex"):
        as_task("classification").predict(
            Answers(lambda z: z.to(torch.complex64)), (randn(5, 4), integers(3, 5))
        )


def test_an_inferred_task_is_settled_once_and_travels():
    task = InferredTask()
    assert task.name == "inferred"
    task.predict(Answers(lambda z: z), (randn(5, 4), integers(3, 5)))
    travelled = pickle.loads(pickle.dumps(task))
    assert travelled.name == task.name == "classification"
    assert travelled.digest() == as_task("classification").digest()
    z, y = randn(5, 3), integers(3, 5)
    assert torch.equal(travelled.output(z, (z, y)), as_task("classification").output(z, (z, y)))


@pytest.mark.parametrize("shape", [(5,), (1,)])
def test_answers_that_the_model_squeezes_are_read_also_of_one_example(shape):
    answers = torch.arange(5.0)[: shape[0]].squeeze()
    assert logits_of(answers).shape == shape
