"""The comparison of dampings finds the one that made the truth; its settings are what they say."""

import pytest
import torch
from torch.utils.data import TensorDataset

from benchmarks.damping_choice import compare
from benchmarks.small_trainings import SETTINGS, small_training, trained_on_everything
from dg_explorer.attribution import TRAKAttributor
from dg_explorer.evaluation.retraining import random_subsets


def test_the_damping_that_made_the_outputs_is_the_best_of_the_grid():
    training = small_training("wine").with_changes(n_epochs=3, record_at=(3,))
    model = trained_on_everything(training, 5)
    train = TensorDataset(training.inputs, training.labels)
    test = TensorDataset(training.test_inputs, training.test_labels)
    scores = TRAKAttributor(model, damping=3.0).attribute(train, test).numpy()
    masks = random_subsets(24, training.train_ids, keep=0.5).values
    found = compare([model], training, masks, masks @ scores.T)["trak"]
    assert found.best == pytest.approx(1)
    assert found.best_damping == 3.0
    assert found.at_one < 1
    assert found.share == pytest.approx(found.chosen)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_shares_no_example_between_train_and_test(name):
    training = small_training(name)
    train = {x.numpy().tobytes() for x in training.inputs}
    assert len(train.intersection(x.numpy().tobytes() for x in training.test_inputs)) <= 1
    assert len(training.labels) == len(training.inputs)


def test_a_tenth_of_the_labels_is_wrong_where_it_says_so():
    wrong = small_training("digits, a tenth mislabelled").labels != small_training("digits").labels
    assert 0.07 < float(wrong.float().mean()) < 0.13


def test_training_on_everything_is_the_same_each_time_and_another_by_seed():
    training = small_training("wine").with_changes(n_epochs=1, record_at=(1,))
    first, again, other = (
        torch.cat([p.detach().flatten() for p in trained_on_everything(training, s).parameters()])
        for s in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert float((first - other).abs().max()) > 0.1
