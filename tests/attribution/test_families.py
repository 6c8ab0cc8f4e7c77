"""Per-example gradients of many model families, against a float64 loop over examples."""

import copy
import warnings

import pytest
import sequence_families  # noqa: F401 (registers its families)
import torch
import torch.nn.functional as F
from model_families import FAMILIES, rows
from torch.utils.data import TensorDataset

from dg_explorer.attribution import GradientDotAttributor

SAMPLE = ["perceptron", "UsedTwice", "convolutional", "SequenceFirst", "TokenExperts", "Grokking"]
SINGLE = {"Spectral"}  # a complex weight has no double of its own here: its loop is in float32
N_TRAIN, N_TEST = 13, 5

marked = [
    name if name in SAMPLE else pytest.param(name, marks=pytest.mark.second_ring)
    for name in FAMILIES
]


def loop(model, inputs, labels, value):
    """Gradients of one example at a time by plain autograd, in float64."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    each = []
    for x, y in zip(inputs, labels):
        found = torch.autograd.grad(value(model(x[None]), y[None]), parameters, allow_unused=True)
        flat = [torch.zeros_like(p) if g is None else g for g, p in zip(found, parameters)]
        flat = [torch.view_as_real(g) if g.is_complex() else g.to_dense() for g in flat]
        each.append(torch.cat([g.flatten().double() for g in flat]))
    return torch.stack(each)


def margin(logits, y):
    right = logits.gather(1, y[:, None])[:, 0]
    return (right - logits.masked_fill(F.one_hot(y, 3).bool(), -torch.inf).logsumexp(1)).sum()


def truth(name, model, train, test):
    model = copy.deepcopy(getattr(model, "_orig_mod", model)).eval()
    model.recompute = False  # plain autograd cannot ask a layer that is computed again
    if name not in SINGLE:
        model = model.double()
        train, test = ([x.double() if x.is_floating_point() else x, y] for x, y in (train, test))
    outputs = loop(model, *test, margin)
    return -outputs @ loop(model, *train, lambda z, y: F.cross_entropy(z, y)).T


@pytest.mark.parametrize("name", marked)
def test_scores_are_those_of_a_loop_whatever_the_batches_and_whichever_set_comes_first(name):
    kind, build = FAMILIES[name]
    torch.manual_seed(0)
    model = build()
    train, test = rows(kind, N_TRAIN, 1), rows(kind, N_TEST, 2)
    right = truth(name, model, train, test)
    sets = TensorDataset(*train), TensorDataset(*test)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is no rule")
        for size in (1, 7, N_TRAIN):
            for test_first in (False, True):
                attributor = GradientDotAttributor(model, batch_size=size)
                if test_first:
                    queries = attributor.compute_test_features(sets[1])
                    found = attributor.compute_attributions(
                        attributor.compute_train_features(sets[0]), queries
                    )
                else:
                    found = attributor.attribute(*sets)
                off = float((found - right).norm() / right.norm())
                assert off < 1e-4, f"{off:.1e} in batches of {size}, test first: {test_first}"
