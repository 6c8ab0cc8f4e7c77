"""A batch is taken apart along the axis that counts its examples, or not at all."""

import numpy as np
import pytest
import torch

from dg_explorer.data.batch import Batch, batch_length
from dg_explorer.errors import DataError

INDICES = {
    "slice": slice(1, 3),
    "integers": [3, 0, 3],
    "tensor": torch.tensor([2, 1]),
    "mask": np.array([True, False, False, True]),
    "none": [],
}


def batch_of(raw, n=4, **more):
    inputs, labels = raw[:-1], raw[-1]
    return Batch(tuple(inputs), {}, labels, np.arange(n) * 10, raw, **more)


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_taking_examples_agrees_with_indexing_each_leaf(index):
    x, mask, y = torch.randn(4, 3), np.arange(8).reshape(4, 2), torch.arange(4)
    raw = ({"x": x, "more": [mask, ["a", "b", "c", "d"]]}, y)
    part = batch_of(raw).take(index)
    at = np.arange(4)[np.array(index, dtype=int) if isinstance(index, list) else index]
    assert part.ids.tolist() == (at * 10).tolist()
    assert len(part) == len(at)
    assert torch.equal(part.inputs[0]["x"], x[at])
    assert torch.equal(part.labels, y[at])
    assert np.array_equal(part.inputs[0]["more"][0], mask[at])
    assert part.inputs[0]["more"][1] == ["abcd"[i] for i in at]
    assert part.raw[0]["x"] is part.inputs[0]["x"]
    assert part.raw[1] is part.labels


def test_the_only_axis_of_n_is_taken_where_positions_come_first():
    x, y = torch.randn(7, 4, 2), torch.arange(4)
    part = batch_of((x, y)).take([1, 2])
    assert torch.equal(part.inputs[0], x[:, 1:3])


def test_a_named_axis_wins_over_the_shape():
    x, y = torch.randn(4, 4), torch.arange(4)  # as many positions as examples
    part = batch_of((x, y), axes={(0,): 1, (1,): 0}).take([2])
    assert torch.equal(part.inputs[0], x[:, 2:3])


def test_a_leaf_that_counts_no_examples_is_refused_by_its_place():
    bag = ({"tokens": torch.arange(9), "offsets": torch.arange(4)}, torch.arange(4))
    with pytest.raises(DataError, match=r"batch\[0\]\['tokens'\]"):
        batch_of(bag).take([0])


def test_examples_without_an_axis_are_collated_again():
    def remake(at):
        return batch_of((torch.arange(9)[at], torch.as_tensor(at)), n=len(at))

    part = batch_of((torch.arange(9), torch.arange(4)), remake=remake).take(slice(2, 4))
    assert part.labels.tolist() == [2, 3]


def test_moving_changes_the_precision_of_floating_point_only():
    x, z, i = torch.randn(4), torch.randn(4, dtype=torch.complex64), torch.arange(4)
    moved = batch_of((x, z, i)).to("cpu", torch.float64)
    assert [t.dtype for t in moved.raw] == [torch.float64, torch.complex64, torch.int64]
    assert moved.raw[0] is moved.inputs[0]


def test_one_tensor_in_two_places_is_given_once_and_put_back_in_both():
    x = torch.randn(4, 2)
    tensors, axes, rebuild = batch_of((x, x)).tensors()
    assert len(tensors) == 1
    assert axes == [0]
    back = rebuild([x[:1]], np.array([0]))
    assert back.inputs[0] is back.labels
    assert len(back) == 1


def test_the_length_is_what_all_leaves_agree_on():
    assert batch_length([torch.zeros(5, 2), {"y": np.zeros(5)}, list("abcde")]) == 5
    with pytest.raises(DataError, match="disagree"):
        batch_length([torch.zeros(7, 5), torch.zeros(5)])
    with pytest.raises(DataError, match="no tensor"):
        batch_length(3.0)


def test_nothing_is_said_twice_of_how_the_model_is_called():
    x, y = torch.randn(4, 3), torch.arange(4)
    model = torch.nn.Linear(3, 2)
    assert torch.equal(batch_of((x, y)).predict(model), model(x))
    said = batch_of((x, y), forward=lambda m, raw: m(2 * raw[0])).predict(model)
    assert torch.equal(said, model(2 * x))
