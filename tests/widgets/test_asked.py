"""What was asked of a finished run, as a board gives it."""

import numpy as np
import pytest
import xarray as xr

import dg_explorer as dg
from dg_explorer.errors import SettingError
from dg_explorer.testing import tiny_run


@pytest.fixture
def run():
    run = tiny_run()
    train = run["train_examples"]["train"].values
    rng = np.random.default_rng(3)
    run.add(
        "queries/held out",
        xr.Dataset(
            {
                "asked": ("query", np.array(["mean output", "a minus b"], dtype=object)),
                "unit": ("query", np.array(["mean output", "difference"], dtype=object)),
            },
            {"query": np.array(["all", "a/b"], dtype=object)},
        ),
    )
    scores = rng.normal(size=(2, 2, len(train)))
    run.add(
        "queries/held out/influence",
        xr.Dataset(
            {
                "score": (("epoch", "query", "train"), scores),
                "value": (("epoch", "query"), rng.normal(size=(2, 2))),
            },
            {"epoch": [0, 50], "query": np.array(["all", "a/b"], dtype=object), "train": train},
        ),
    )
    return run


def test_a_board_lists_what_was_asked_and_says_who_helped_and_hurt_it(run):
    board = dg.explore(run)
    assert board.queries == {"held out": ["all", "a/b"]}
    for question in ("all", "a/b"):
        frame = board.top_influencers(query=f"held out/{question}", epoch=50, k=3)
        at = run["queries/held out/influence"].sel(epoch=50, query=question)
        values, ids = at["score"].values, at["train"].values
        helped = frame[frame.side == "helped"]
        assert helped["train"].tolist() == ids[np.argsort(-values)[:3]].tolist()
        assert helped["score"].tolist() == np.sort(values)[::-1][:3].tolist()
        hurt = frame[frame.side == "hurt"]
        assert hurt["train"].tolist() == ids[np.argsort(values)[:3]].tolist()
        assert frame.attrs["value"] == float(at["value"])
        assert frame.attrs["method"] == "influence"
        assert "label" in frame


def test_without_an_epoch_it_is_the_one_asked_at_that_is_nearest_to_the_boards(run):
    board = dg.explore(run)
    board.selection.epoch = int(run.epochs()[-1])
    assert board.top_influencers(query="held out/all").attrs["epoch"] == 50


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        ({"query": "held out/none"}, r"'held out/all', 'held out/a/b'"),
        ({"query": "other"}, r"No query 'other'"),
        ({"query": "held out/all", "epoch": 7}, "but at 0, 50"),
        ({"query": "held out/all", "test": 1000}, "one of them"),
    ],
)
def test_what_was_not_asked_is_refused_with_what_was(run, ask, told):
    with pytest.raises(SettingError, match=told):
        dg.explore(run).top_influencers(**ask)


def test_a_run_that_was_asked_nothing_says_so():
    with pytest.raises(SettingError, match="has none"):
        dg.explore(tiny_run()).top_influencers(query="held out/all")
