"""Screening in bfloat16 finds what float64 finds."""

import torch

from dg_explorer.attribution.top import best as best_module
from dg_explorer.attribution.top import screening
from dg_explorer.attribution.top.best import Best, best_of_row
from dg_explorer.attribution.top.screening import screened
from dg_explorer.attribution.top.top_scores import streamed


def data(n=3000, m=20, dim=64, spread=0.0):
    generator = torch.Generator().manual_seed(0)
    train = torch.randn(n, dim, generator=generator)
    # a common part makes all scores alike, so that rounding hides their order
    train = train * (1 - spread) + spread * 100
    return train, torch.randn(m, dim, generator=generator)


def in_float64(train, query, weight, k):
    products = query.double() @ train.double().T
    if weight is not None:
        products *= weight
    return products.topk(k, 1)


def test_the_best_are_those_of_float64_without_asking_again(monkeypatch):
    monkeypatch.setattr(screening, "STEP", 700)
    train, query = data(n=20_000, dim=512)
    weight = torch.linspace(0.5, 1, len(train))
    asked = []

    def otherwise(train, query, *arguments):
        asked.append(len(query))
        return streamed(train, query, *arguments)

    which, best = screened(train, query, weight, 10, otherwise)
    value, place = in_float64(train, query, weight, 10)
    assert torch.equal(which, place)
    torch.testing.assert_close(best.double(), value, rtol=1e-5, atol=1e-4)
    assert sum(asked) < len(query)  # screening alone settled some


def test_where_rounding_could_hide_one_of_the_best_the_query_is_scored_in_float32():
    train, query = data(spread=0.9)
    which, best = screened(train, query, None, 10, streamed)
    again = streamed(train, query, None, 10)
    rough = (query.bfloat16() @ train.bfloat16().T).float().topk(10, 1).indices
    assert torch.equal(which, again[0])
    assert torch.equal(best, again[1])
    assert not torch.equal(rough, which)  # bfloat16 alone would have been wrong


def test_the_best_of_blocks_are_the_best_of_the_whole():
    values = torch.randn(7, 100, generator=torch.Generator().manual_seed(0))
    best = Best(7, 12, values)
    for start in (0, 5, 40):
        best.add(values[:, start : {0: 5, 5: 40, 40: 100}[start]], start)
    expected = values.topk(12, 1)
    assert torch.equal(best.value, expected.values)
    assert torch.equal(best.which, expected.indices)


def test_the_best_of_a_long_row_are_those_of_sorting_it(monkeypatch):
    monkeypatch.setattr(best_module, "WORTHWHILE", 2)
    generator = torch.Generator().manual_seed(0)
    for n in (5, 79, 80, 1000, 1001, 5003):
        row = torch.randn(n, generator=generator)
        value, place = best_of_row(row, 5)
        expected = row.sort(descending=True)
        assert torch.equal(value, expected.values[:5])
        assert torch.equal(place, expected.indices[:5])
    ties = torch.zeros(1000)
    assert best_of_row(ties, 5)[0].tolist() == [0.0] * 5
