"""Functions of the user's own: what they get, and when two of them are the same."""

import pytest
import torch

from dg_explorer.data.batch import Batch
from dg_explorer.errors import SettingError
from dg_explorer.tasks import BinaryTask, ClassificationTask, CustomTask
from dg_explorer.tasks.identity import code_digest


def test_functions_get_the_batch_as_their_own_pipeline_made_it():
    raw = {"image": torch.zeros(2, 3), "target": torch.tensor([0, 1])}
    batch = Batch((raw["image"],), {}, raw["target"], torch.arange(2).numpy(), raw)
    task = CustomTask(
        output=lambda p, b: p[:, 0] * b["target"],
        loss=lambda p, b: p.sum(1) + b["target"],
        predict=lambda model, b: model(b["image"]) + 1,
    )
    prediction = task.predict(torch.nn.Identity(), batch)
    assert task.output(prediction, batch).tolist() == [0, 1]
    assert task.loss(prediction, batch).tolist() == [3, 4]


class Encoder(torch.nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def encode(self, x):
        return self.factor * x


def test_a_method_of_the_model_is_asked_of_the_model_at_hand():
    batch = Batch((torch.ones(2, 3),), {}, torch.tensor([0, 1]), torch.arange(2).numpy(), None)
    task = CustomTask(output=lambda p, b: p[:, 0], predict=Encoder(2).encode)
    assert task.predict(Encoder(5), batch)[0].tolist() == [5, 5, 5]
    with pytest.raises(SettingError, match="method of Encoder, and the model is Linear"):
        task.predict(torch.nn.Linear(3, 3), batch)


def test_the_empirical_fisher_is_the_default_curvature():
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    task = CustomTask(output=lambda p, b: p[:, 0], loss=lambda p, b: p.square().sum(1))
    (row,) = task.curvature_rows(x, None, rows=4).T
    (gradient,) = torch.autograd.grad(row.sum(), x)
    torch.testing.assert_close(gradient, 2 * x.detach())
    given = CustomTask(output=lambda p, b: p[:, 0], curvature=lambda p, b: p * 2)
    torch.testing.assert_close(given.curvature_rows(x, None, rows=1), 2 * x)


def make(factor):
    return lambda p, b: p[:, 0] * factor


def outer(p, b):
    return inner(p) + 1


def inner(p):
    return p[:, 0]


def test_functions_of_one_text_have_one_digest_and_others_another():
    def first(p, b):
        """Says something."""
        return p[:, 0] * 2

    def second(p, b):
        """Says something else."""
        return p[:, 0] * 2

    def third(p, b):
        return p[:, 0] * 3

    assert code_digest(first) == code_digest(second)
    assert code_digest(first) != code_digest(third)


def test_what_a_function_closes_over_counts():
    assert code_digest(make(2.0)) == code_digest(make(2.0))
    assert code_digest(make(2.0)) != code_digest(make(3.0))
    weight = torch.tensor([1.0, 2.0])
    assert code_digest(make(weight)) == code_digest(make(weight.clone()))
    assert code_digest(make(weight)) != code_digest(make(weight * 2))


def test_what_a_function_calls_of_its_own_module_counts(monkeypatch):
    before = code_digest(outer)

    def inner(p):
        return p[:, 1]

    monkeypatch.setitem(globals(), "inner", inner)
    assert code_digest(outer) != before


def test_a_tasks_digest_tells_settings_apart():
    assert ClassificationTask().digest() == ClassificationTask().digest()
    assert ClassificationTask().digest() != ClassificationTask(unlabelled=7).digest()
    assert ClassificationTask().digest() != BinaryTask().digest()
    tasks = [CustomTask(output=make(f)) for f in (1.0, 1.0, 2.0)]
    assert tasks[0].digest() == tasks[1].digest() != tasks[2].digest()
