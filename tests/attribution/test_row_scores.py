"""One query at a time against the whole matrix of scores."""

import pytest
import torch

from dg_explorer.attribution.top.row_scores import RowScores
from dg_explorer.errors import DataError


def features():
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(n, 24, generator=generator) for n in (900, 3))


def whole(train, test, relative, weight):
    train, test = train.double(), test.double()
    ridge = relative * train.square().sum(1).mean()
    system = train.T @ train + ridge * torch.eye(24)
    return test @ torch.linalg.inv(system) @ train.T * weight


@pytest.mark.parametrize("lowest", [False, True])
def test_rows_and_their_best_are_those_of_the_whole_matrix(lowest):
    train, test = features()
    weight = torch.linspace(0.1, 1, 900)
    rows = RowScores(train, damping=0.5, weight=weight)
    expected = whole(train, test, 0.5, weight)
    for query, row in zip(test, expected):
        found = rows.row(query).double()
        assert float((found - row).norm() / row.norm()) < 5e-3  # bfloat16 has 8 bits
        value, place = row.topk(20, largest=not lowest)
        which, scores = rows.top(query, 20, lowest=lowest)
        assert torch.equal(which, place)
        torch.testing.assert_close(scores.double(), value, rtol=1e-4, atol=1e-7)


def test_no_more_than_there_are_are_returned():
    train, test = features()
    assert len(RowScores(train[:7]).top(next(iter(test)))[0]) == 7


def test_a_query_of_another_width_is_refused():
    train, test = features()
    with pytest.raises(DataError, match="24 features here"):
        RowScores(train).row(test[0, :8])
