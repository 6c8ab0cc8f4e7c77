"""Settings without sense, in every public function: one named error, and never torch's."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import dg_explorer as dg
from dg_explorer.errors import DGExplorerError

X = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
TRAIN = dg.with_ids(TensorDataset(X, X[:, :2].argmax(1)))
TEST = TensorDataset(X[:4], X[:4, :2].argmax(1))


@pytest.fixture(scope="module")
def run():
    made, model = dg.Run.create(name="nonsense"), net()
    with dg.Recorder(made, model, None, train=TRAIN, test=TEST) as recorder:
        recorder.epoch(0)
        recorder.epoch(1)
    return made


def net():
    torch.manual_seed(0)
    return nn.Linear(4, 2)


def attribute(run, model=None, **settings):
    model = net() if model is None else model
    return dg.attribute(run, model, TRAIN, TEST, method="gradient_dot", progress=False, **settings)


ASKED = {
    "a model that is none": lambda run: attribute(run, model="net"),
    "epochs in words": lambda run: attribute(run, epochs="last"),
    "half an epoch": lambda run: attribute(run, epochs=[0.5]),
    "an executor that is none": lambda run: attribute(run, executor=4),
    "a name that climbs": lambda run: attribute(run, name="../mine"),
    "a light at no epoch": lambda run: dg.validity_light(run, "late"),
    "a replay of no model": lambda run: dg.training_of_run(run, None, train=TRAIN, test=TEST),
    "a loss that is a number": lambda run: dg.training_of_run(
        run, net(), train=TRAIN, test=TEST, loss=5
    ),
    "exact scores of no training": lambda run: dg.add_unrolled_scores(run, None),
    "an LDS of texts": lambda run: dg.linear_datamodeling_score("a", "b", "c"),
    "an LDS of one row": lambda run: dg.linear_datamodeling_score(
        np.ones(3), np.ones((3, 3)), np.ones((3, 3))
    ),
    "subsets of nobody": lambda run: dg.random_subsets(3, None),
    "no subsets": lambda run: dg.random_subsets(0, np.arange(3)),
    "subsets of twice all": lambda run: dg.random_subsets(3, np.arange(3), keep=2),
    "retraining nothing": lambda run: dg.subset_retraining(None, None),
    "a suspicion in words": lambda run: dg.mislabel_auroc(["high"], [True]),
    "a share in words": lambda run: dg.find_mislabeled(run, share="most"),
    "no signal at all": lambda run: dg.find_mislabeled(run, weights={}),
    "weights in a list": lambda run: dg.find_mislabeled(run, weights=[1.0]),
    "a comparison with none": lambda run: dg.compare_runs({"one": None}),
    "fewer than no helpers": lambda run: dg.explore(run).top_influencers(k=-1),
    "a page of fewer than none": lambda run: dg.explore(run).to_html("page.html", k=-1),
    "a recorder of no model": lambda run: dg.Recorder(run, None, None, train=TRAIN),
    "an optimizer that is none": lambda run: dg.Recorder(run, net(), 0.1, train=TRAIN),
}


@pytest.mark.parametrize("asked", ASKED)
def test_a_setting_without_sense_is_a_named_error(asked, run):
    with pytest.raises(DGExplorerError):
        ASKED[asked](run)
