"""Loss, confidence, margin and prediction, against float64 arithmetic and torch's own."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dg_explorer.errors import DataError
from dg_explorer.recording.measures import measure


def test_measures_agree_with_probabilities_worked_out_in_float64():
    torch.manual_seed(0)
    logits, labels = torch.randn(200, 7) * 4, torch.randint(0, 7, (200,))
    found = measure(logits, labels)
    p = torch.softmax(logits.double(), 1)[torch.arange(200), labels]
    assert torch.allclose(found.confidence.double(), p, atol=1e-6)
    assert torch.allclose(found.margin.double(), (p / (1 - p)).log(), atol=1e-4)
    assert torch.allclose(found.loss, F.cross_entropy(logits, labels, reduction="none"), atol=1e-5)
    assert torch.equal(found.prediction, logits.argmax(1))
    assert torch.equal(found.correct, logits.argmax(1) == labels)


@pytest.mark.parametrize("gap", [30.0, 90.0, 1e4])
def test_the_margin_of_a_certain_answer_is_finite_and_exact(gap):
    found = measure(torch.tensor([[gap, 0.0], [0.0, gap]]), torch.tensor([0, 0]))
    assert found.margin.tolist() == [gap, -gap]
    assert found.loss[1] == gap
    assert found.loss[0] == pytest.approx(np.exp(-gap), rel=1e-5, abs=1e-40)


def test_one_logit_is_the_log_odds_of_label_one():
    found = measure(torch.tensor([[2.0], [2.0]]), torch.tensor([1, 0]))
    two = measure(torch.tensor([[0.0, 2.0], [0.0, 2.0]]), torch.tensor([1, 0]))
    for a, b in zip(found, two):
        assert torch.allclose(a.float(), b.float())


def test_ties_go_to_the_first_class_as_in_argmax():
    found = measure(torch.zeros(3, 4), torch.tensor([0, 1, 3]))
    assert found.prediction.tolist() == [0, 0, 0]
    assert found.correct.tolist() == [True, False, False]


def test_nan_logits_are_marked_and_never_right():
    logits = torch.tensor([[torch.nan, 0.0], [5.0, 0.0]])
    found = measure(logits, torch.tensor([0, 0]))
    assert found.loss.isnan().tolist() == [True, False]
    assert found.correct.tolist() == [False, True]


@pytest.mark.parametrize(("label", "message"), [(3, "Label 3 is out of range"), (-2, "Label -2")])
def test_a_label_that_is_no_class_is_named(label, message):
    with pytest.raises(DataError, match=message):
        measure(torch.zeros(2, 3), torch.tensor([0, label]))


def test_logits_of_sequences_are_refused_with_what_to_do():
    with pytest.raises(DataError, match=r"\(2, 5, 3\).*logits\[:, -1\]"):
        measure(torch.zeros(2, 5, 3), torch.zeros(2, dtype=torch.int64))
