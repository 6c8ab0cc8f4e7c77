"""The digits demos plant what they say: wrong labels, and a patch that spells the label."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dg_explorer.checkpoints.store import load_weights
from dg_explorer.demos import digits, mislabeled_digits, spurious_digits


@pytest.fixture(scope="module")
def mislabeled():
    # half of the epochs show the delay and take half of the time
    recipe = replace(mislabeled_digits.RECIPE, epochs=64)
    return mislabeled_digits.make(recipe=recipe, progress=False)


@pytest.fixture(scope="module")
def spurious():
    return spurious_digits.make(progress=False)


def test_flipped_labels_are_those_of_the_nearest_image_of_another_class(mislabeled):
    images, true, _, _ = digits.load(0)
    table = mislabeled.run["train_examples"].load()
    assert np.array_equal(table.true_label, true)
    assert np.array_equal(table.label, table.given_label)
    assert np.array_equal(table.flipped, table.given_label != table.true_label)
    flipped = np.flatnonzero(table.flipped)
    assert len(flipped) == 100
    flat = images.reshape(len(images), -1)
    for i in flipped:
        distances = np.linalg.norm(flat - flat[i], axis=1)
        distances[true == true[i]] = np.inf
        nearest = true[distances == distances.min()]
        assert int(table.label[i]) in nearest


def test_wrong_labels_are_memorized_long_after_the_digits_are_learnt(mislabeled):
    correct = mislabeled.run["dynamics/train"].correct.load()
    flipped = mislabeled.run["train_examples"].flipped.values
    wrong, right = correct.values[:, flipped].mean(1), correct.values[:, ~flipped].mean(1)
    at = {int(e): i for i, e in enumerate(correct.epoch)}
    assert wrong[at[8]] < 0.2
    assert right[at[8]] > 0.9
    assert wrong[at[64]] > 0.4


def test_the_patch_spells_its_class_in_binary_and_nothing_else_changed(spurious):
    x_train, _, x_test, _ = digits.load(0)
    for split, original in (("train", x_train), ("test", x_test)):
        table = spurious.run[f"{split}_examples"].load()
        # thumbnails are dark on light: 0 is a lit pixel of the code
        codes = (table.thumbnail.values[:, :2, :2, 0] < 128).reshape(-1, 4) @ [1, 2, 4, 8]
        assert np.array_equal(codes - 1, table.patch)
        agrees = table.group.values == spurious_digits.AGREES
        assert np.array_equal(agrees, (table.patch == table.label).values)
        rest = np.ones((8, 8), dtype=bool)
        rest[:2, :2] = False
        unstamped = digits.thumbnails(original)[..., 0]
        assert np.array_equal(table.thumbnail.values[..., 0][:, rest], unstamped[:, rest])
        share = agrees.mean()
        assert share == 0.95 if split == "train" else 0.05 < share < 0.15


def test_the_network_learns_the_shortcut_and_fails_where_it_lies(spurious):
    correct = spurious.run["dynamics/test"].correct[-1].values
    agrees = spurious.run["test_examples"]["group"].values == spurious_digits.AGREES
    assert correct[agrees].mean() > 0.98
    assert correct[~agrees].mean() < 0.9


def test_training_again_gives_the_recorded_weights_bit_for_bit(spurious):
    model = spurious.retrain(epochs=4)
    recorded = load_weights(spurious.run, 4)
    assert all(torch.equal(v, recorded[k]) for k, v in model.state_dict().items())


def test_the_recorded_order_is_the_order_of_the_batches(spurious):
    replay = spurious.run["replay"].isel(step=slice(0, 16)).train_id.values
    ids = [spurious.train.ids[b] for epoch in range(2) for b in spurious.batches(epoch)]
    assert [row[row >= 0].tolist() for row in replay] == [list(b) for b in ids]
