"""Ids say who an example is; positions only where the order cannot lie."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset

from dg_explorer import ids_of, with_ids
from dg_explorer.errors import DataError, ShuffledLoaderError

PAIRS = TensorDataset(torch.arange(6.0)[:, None], torch.tensor([0, 1, 0, 1, 0, 1]))


def test_a_dataset_with_ids_yields_them_last():
    x, y, example = with_ids(PAIRS, [9, 8, 7, 6, 5, 4])[2]
    assert (x.item(), y.item(), example) == (2.0, 0, 7)


def test_ids_follow_their_examples_through_shuffling_and_workers():
    loader = DataLoader(with_ids(PAIRS, np.arange(6) * 10), batch_size=4, shuffle=True)
    for x, _, ids in loader:
        torch.testing.assert_close(x[:, 0] * 10, ids.to(x.dtype))


def test_a_subset_keeps_the_ids_of_its_parent():
    assert ids_of(Subset(with_ids(PAIRS, [9, 8, 7, 6, 5, 4]), [3, 0])).tolist() == [6, 9]
    assert ids_of(Subset(PAIRS, [3, 0])).tolist() == [3, 0]


def test_a_sequential_loader_is_numbered_by_its_dataset():
    assert ids_of(DataLoader(PAIRS, batch_size=4)).tolist() == list(range(6))


def test_a_shuffled_loader_without_ids_is_refused_with_the_change_to_make():
    with pytest.raises(ShuffledLoaderError, match=r"with_ids\(dataset\), shuffle=True"):
        ids_of(DataLoader(PAIRS, batch_size=2, shuffle=True))
    assert ids_of(DataLoader(with_ids(PAIRS), shuffle=True)).tolist() == list(range(6))


@pytest.mark.parametrize(
    ("ids", "words"),
    [([1, 2], "6 integer ids"), ([0, 0, 1, 2, 3, 4], "unique"), ([-1, 0, 1, 2, 3, 4], "negative")],
)
def test_ids_that_cannot_identify_are_refused(ids, words):
    with pytest.raises(DataError, match=words):
        with_ids(PAIRS, ids)


def test_a_dataset_without_length_is_refused():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(())

    with pytest.raises(DataError, match="no length"):
        ids_of(Stream())
