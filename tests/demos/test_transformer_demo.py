"""The transformer that adds: its sums, its twins, and the quicker way to the same answers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.transformer_twins import answers
from dg_explorer.demos import transformer

SMALL = replace(transformer.RECIPE, p=7, width=16, heads=2, n_test=15, steps=3)


@pytest.fixture(scope="module")
def demo():
    return transformer.make(recipe=SMALL, progress=False)


def test_a_test_pair_has_a_twin_where_the_other_order_was_trained_on(demo):
    trained = {tuple(divmod(int(i), 7)) for i in demo.train.ids}
    table = demo.run["test_examples"].load()
    for a, b, twin, label in zip(table.a, table.b, table.twin, table.label):
        a, b = int(a), int(b)
        there = (b, a) in trained and a != b
        assert twin == ("twin in training" if there else "no twin there")
        assert label == (a + b) % 7
    assert {"twin in training", "no twin there"} == set(table.twin.values)


def test_the_record_begins_at_the_model_that_is_handed_back(demo):
    recorded = demo.run["dynamics/test"].loss.sel(epoch=0).values
    inputs, labels = demo.test.dataset.tensors
    first = torch.nn.functional.cross_entropy(demo.model()(inputs), labels, reduction="none")
    np.testing.assert_allclose(recorded, first.detach().numpy(), rtol=1e-5)


def test_answers_from_tokens_are_those_of_the_model(demo):
    tokens = torch.cat([data.dataset.tensors[0] for data in (demo.train, demo.test)])
    net = demo.retrain()
    torch.testing.assert_close(answers(net, tokens), net(tokens), rtol=1e-4, atol=1e-5)
