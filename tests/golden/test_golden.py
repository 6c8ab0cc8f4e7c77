"""Scores stay what they were, method by method: `make.py` writes the stored ones anew."""

import json

import numpy as np
import pytest
import torch
from fixed_training import TEST, TRAIN, network
from golden_scores import CASES, FLOAT32, scores_of
from make import STORED, summary

from dg_explorer import attribution

GOLDEN = json.loads(STORED.read_text())


@pytest.mark.parametrize("name", CASES)
def test_scores_are_those_that_are_stored(name):
    found, stored = summary(scores_of(name)), GOLDEN[name]
    assert found["shape"] == stored["shape"]
    # relative to the largest score: processors differ by 3e-15 of it in float64, 3e-6 in float32
    tolerance = (1e-4 if FLOAT32 in name else 1e-6) * stored["largest"]
    np.testing.assert_allclose(found["first"], stored["first"], rtol=0, atol=tolerance)
    np.testing.assert_allclose(found["last"], stored["last"], rtol=0, atol=tolerance)
    assert found["norm"] == pytest.approx(stored["norm"], rel=10 * tolerance / stored["largest"])


def test_nothing_is_stored_that_is_not_computed():
    assert list(GOLDEN) == list(CASES)


def test_every_method_has_golden_scores():
    assert {f"attribute, {name}" for name in attribution.METHODS} <= set(GOLDEN)


def test_scores_of_two_methods_are_never_the_same_numbers():
    # solvers of one system agree; everything else must tell one case from another
    agreeing = [f"influence, {solver}" for solver in ("cg", "lissa", "arnoldi")]
    rest = {name: tuple(case["first"]) for name, case in GOLDEN.items() if name not in agreeing}
    assert len(set(rest.values())) == len(rest)


def test_solvers_of_one_system_agree():
    for solver in ("cg", "lissa", "arnoldi"):
        ours, exact = (GOLDEN[f"influence, {s}"]["first"] for s in (solver, "exact"))
        np.testing.assert_allclose(ours, exact, rtol=1e-5)


def test_the_exact_derivative_is_what_small_changes_of_a_weight_do():
    inputs, labels = TRAIN.tensors
    queries, wanted = TEST.tensors

    def margin_after(weights):
        model = network()
        for _ in range(7):
            losses = torch.nn.functional.cross_entropy(model(inputs), labels, reduction="none")
            loss = (weights * losses).mean() + 0.005 * sum(
                p.square().sum() for p in model.parameters()
            )
            for p, slope in zip(
                model.parameters(), torch.autograd.grad(loss, list(model.parameters()))
            ):
                p.data -= 0.3 * slope
        chance = model(queries).softmax(1)[0, wanted[0]]
        return float(chance.logit().detach())

    slopes = []
    for example in range(6):
        step = torch.zeros(len(labels), dtype=torch.float64)
        step[example] = 1e-5
        slopes.append((margin_after(1 + step) - margin_after(1 - step)) / 2e-5)
    np.testing.assert_allclose(GOLDEN["unrolled, sgd"]["first"], slopes, rtol=1e-6, atol=1e-9)
