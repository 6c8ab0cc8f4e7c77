"""What was asked of a finished run, as a board gives it."""

import numpy as np
import pytest
import xarray as xr

import dg_explorer as dg
from dg_explorer.errors import SettingError
from dg_explorer.testing import tiny_run
from dg_explorer.widgets.answers.preview import preview
from dg_explorer.widgets.answers.serve import answer
from dg_explorer.widgets.reading.blocks import unpack
from dg_explorer.widgets.reading.selection import Selection


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


def test_a_question_can_be_selected_like_a_test_example(run):
    board = dg.explore(run, query="held out/a/b")
    attrs, _ = unpack(board._preview)
    assert [one["id"] for one in attrs["queries"]] == ["held out/all", "held out/a/b"]
    assert attrs["queries"][1]["methods"] == ["influence"]
    board.selection.query = "held out/all"
    assert board._selection["query"] == "held out/all"
    board.selection.test = 1000
    assert board._selection["query"] is None
    with pytest.raises(SettingError, match=r"no query 'other'; there are 'held out/all'"):
        board.selection.query = "other"


@pytest.mark.parametrize("number", [0, 1])
def test_the_browser_is_sent_who_helped_and_hurt_a_question_most(run, number):
    board = dg.explore(run)
    _, blocks = unpack(answer(board._sources, f"query/{number}/influence"))
    data = run["queries/held out/influence"].isel(query=number)
    assert blocks["epoch"].tolist() == [0, 50]
    for epoch in range(2):
        values, ids = data["score"].values[epoch], data["train"].values
        for side, sign in enumerate((1, -1)):
            told = blocks["train"][blocks["top"][epoch, side, :3]]
            assert told.tolist() == ids[np.argsort(-sign * values, kind="stable")[:3]].tolist()


def test_a_saved_page_holds_the_answers_to_all_questions(run, tmp_path):
    held = preview(dg.explore(run)._sources, everything=True, first=Selection())
    assert {"query/0/influence", "query/1/influence"} <= unpack(held)[1].keys()


def test_a_question_that_nobody_answers_cannot_be_selected(run):
    run.delete("queries/held out/influence")
    board = dg.explore(run)
    assert unpack(board._preview)[0]["queries"] == []
    with pytest.raises(SettingError, match="none in this run"):
        board.selection.query = "held out/all"
