"""What the scatter and the tabs are sent, checked against slow counts by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import xarray as xr

import dg_explorer as dg
from dg_explorer.analysis.transition import course
from dg_explorer.maths.extents import extents
from dg_explorer.testing import tiny_run
from dg_explorer.widgets.answers import panels
from dg_explorer.widgets.answers.bias import bias_table, group_accuracy, group_scores
from dg_explorer.widgets.answers.dynamics_map import REGIONS, dynamics_map
from dg_explorer.widgets.answers.evolution import (
    ABSENT,
    frames,
    header,
    positions,
    quantised,
    square,
)
from dg_explorer.widgets.answers.gradient_flow import FLAGS, gradient_flow, thinned
from dg_explorer.widgets.answers.serve import answer
from dg_explorer.widgets.answers.sources import Sources
from dg_explorer.widgets.answers.transition import (
    codes_of,
    course_blocks,
    gain_table,
    property_blocks,
)
from dg_explorer.widgets.answers.validity import validity
from dg_explorer.widgets.reading.faces import Faces
from dg_explorer.widgets.reading.reader import RunReader


def sources_of(run) -> Sources:
    reader = RunReader(run)
    return Sources(reader, Faces(reader))


@pytest.fixture
def run():
    return tiny_run()


@pytest.fixture
def sources(run):
    return sources_of(run)


def test_positions_come_back_within_half_a_step_of_the_square(run, sources):
    there = run["projections/hidden"]["position"].values
    low, extent = square(there.min(1), there.max(1))
    sent = positions(sources, "0/hidden")["position"]
    back = sent / (ABSENT - 1) * extent + low
    assert np.abs(back - there).max() <= 0.51 * extent / (ABSENT - 1)


def test_both_axes_keep_one_unit():
    low, extent = square(np.array([[0.0, 0.0]]), np.array([[10.0, 2.0]]))
    sent = quantised(np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 2.0]]), low, extent).astype(int)
    assert sent[1, 0] - sent[0, 0] == pytest.approx(5 * (sent[2, 1] - sent[0, 1]), abs=5)


def test_a_position_that_is_not_a_number_is_absent_and_no_other_is():
    sent = quantised(np.array([[np.nan, 0.0], [1.0, np.inf], [1.0, 1.0]]), np.zeros(2), 1.0)
    assert (sent == ABSENT).tolist() == [[True, True], [True, True], [False, False]]


def shown(spots):
    found = extents(spots)
    return frames(found["near_low"], found["near_high"], np.zeros(2), 1.0)


def test_a_frame_holds_everybody_but_the_few_far_out():
    rng = np.random.default_rng(0)
    spots = rng.uniform(0.4, 0.6, (1, 200, 2))
    middle, half = np.split(shown(spots)[0], 2)
    assert (np.abs(spots[0] - middle) <= half + 1e-6).all()
    spots[0, 0] = 0.99
    assert shown(spots)[0, 2:] == pytest.approx(half, rel=0.05)
    spots[0, :100] = np.nan
    assert np.isfinite(shown(spots)).all()


def test_a_board_reads_how_far_points_reach_from_the_record_where_it_says(run):
    data = run["projections/hidden"].load()
    read = header(sources_of(run), "hidden")["frame"]
    found = extents(data["position"].values)
    kept = data.assign({name: (("epoch", "axis"), ends) for name, ends in found.items()})
    run.add("projections/hidden", kept, overwrite=True)
    np.testing.assert_array_equal(header(sources_of(run), "hidden")["frame"], read)
    run.add("projections/hidden", kept.assign(near_high=kept["near_high"] + 5), overwrite=True)
    assert (header(sources_of(run), "hidden")["frame"] != read).any()


def test_ids_that_count_the_rows_do_not_travel(run):
    assert {"id", "place"} <= set(header(sources_of(run), "hidden"))
    tables = {
        split: run[f"{split}_examples"].load().assign_coords({split: np.arange(size)})
        for split, size in (("train", 40), ("test", 20))
    }
    plain = dg.Run.create(
        None, name="plain", train_examples=tables["train"], test_examples=tables["test"]
    )
    ids = np.concatenate([np.arange(40), np.arange(20)])
    data = run["projections/hidden"].load()
    plain.add("projections/hidden", data.assign_coords(id=("example", ids)))
    blocks = header(sources_of(plain), "hidden")
    assert not {"id", "place"} & set(blocks)
    labels = [plain[f"{split}_examples"]["label"].values for split in ("train", "test")]
    names = np.array(sources_of(plain).reader.classes)[blocks["label"]]
    np.testing.assert_array_equal(names, np.concatenate(labels).astype(str))


def test_rows_of_the_header_name_the_examples_of_the_tables(run, sources):
    blocks = header(sources, "hidden")
    for code, split in enumerate(("train", "test")):
        mine = blocks["split"] == code
        table = run[f"{split}_examples"]
        np.testing.assert_array_equal(
            table[split].values[blocks["place"][mine]], blocks["id"][mine]
        )
        labels = table["label"].sel({split: blocks["id"][mine]}).values
        names = np.array(sources.reader.classes)[blocks["label"][mine]]
        np.testing.assert_array_equal(names, labels.astype(str))


def test_long_runs_are_cut_into_chunks_that_join_to_the_whole(sources, monkeypatch):
    whole = positions(sources, "0/hidden")["position"]
    monkeypatch.setattr("dg_explorer.widgets.answers.evolution.CHUNK_BYTES", 5 * 4 * 60)
    count = len([k for k in panels.keys(sources, everything=True) if k.startswith("positions/")])
    parts = [positions(sources, f"{i}/hidden")["position"] for i in range(count)]
    assert [len(part) for part in parts] == [5, 5, 2]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_the_map_says_what_the_history_says(run, sources):
    blocks = dynamics_map(sources)
    confidence = run["dynamics/train"]["confidence"].values
    low, high = blocks["bounds"][2:]
    back = blocks["position"][0, :, 1] / (ABSENT - 1) * (high - low) + low
    np.testing.assert_allclose(back, confidence.mean(0), atol=1e-4)
    correct = run["dynamics/train"]["correct"].values
    lost = [sum(a and not b for a, b in pairwise(c)) for c in correct.T]
    assert blocks["forgetting"].tolist() == lost
    loss = run["dynamics/train"]["loss"].values.mean(0)
    assert blocks["suspects"].tolist() == np.argsort(-loss)[:12].tolist()
    assert set(blocks["region"]) <= set(range(len(REGIONS)))


def test_mean_scores_and_flips_agree_with_a_slow_count(run, sources):
    score = run["scores/trak"]["score"].values
    blocks = course_blocks(sources, "trak")
    np.testing.assert_allclose(
        blocks["mean"] * blocks["scale"][:, None], score.mean(1), atol=1e-3 * np.abs(score).max()
    )
    for i, j in ((0, 0), (0, 5), (2, 3)):
        assert blocks["flips"][i, j] == pytest.approx((score[i] * score[j] < 0).mean(), abs=1e-6)


def test_of_very_many_scores_every_so_many_test_examples_are_judged(run, sources, monkeypatch):
    score = run["scores/trak"]["score"].values
    monkeypatch.setattr(course, "MOST_VALUES", 7 * score[:, 0].size)
    blocks = course_blocks(sources, "trak")
    few = score[:, ::3]
    assert blocks["tests"].tolist() == [few.shape[1], score.shape[1]]
    back = blocks["mean"] * blocks["scale"][:, None]
    np.testing.assert_allclose(back, few.mean(1), atol=1e-3 * np.abs(score).max())


def test_the_weight_is_taken_out_where_the_record_keeps_it(run):
    data = run["scores/trak"].load()
    weight = np.random.default_rng(0).uniform(1e-6, 1, data["weight"].shape)
    plain = data["score"].values
    run.add(
        "scores/trak",
        data.assign(
            score=(data["score"].dims, plain * weight[:, None]),
            weight=(data["weight"].dims, weight),
        ),
        overwrite=True,
    )
    blocks = course_blocks(sources_of(run), "trak")
    back = blocks["plain_mean"] * blocks["plain_scale"][:, None]
    np.testing.assert_allclose(back, plain.mean(1), atol=2e-3 * np.abs(plain.mean(1)).max())


def test_a_score_that_is_not_a_number_is_left_out_of_means_and_flips(run):
    data = run["scores/trak"].load()
    score = data["score"].values.copy()
    score[1, 3] = np.nan
    run.add("scores/trak", data.assign(score=(data["score"].dims, score)), overwrite=True)
    blocks = course_blocks(sources_of(run), "trak")
    assert np.isfinite(blocks["mean"]).all()
    known = np.isfinite(score[1])
    flips = (score[0] * score[1] < 0)[known].mean()
    assert blocks["flips"][0, 1] == pytest.approx(flips, abs=1e-6)


def test_the_table_of_gains_takes_the_nearest_scored_moments(run, sources):
    table = gain_table(sources, "trak", (11, 47))
    assert (table.attrs["pre_epoch"], table.attrs["post_epoch"]) == (10, 50)
    score = run["scores/trak"]["score"].mean("test")
    change = score.sel(epoch=50).values - score.sel(epoch=10).values
    np.testing.assert_allclose(table["change"].values, change, atol=1e-4)


def test_accuracy_of_a_group_is_its_share_right(run, sources):
    blocks = group_accuracy(sources)
    group = run["test_examples"]["group"].values
    correct = run["dynamics/test"]["correct"].values
    for code, name in enumerate(sources.faces.groups):
        mine = group.astype(str) == name
        np.testing.assert_allclose(blocks["accuracy"][:, code], correct[:, mine].mean(1), rtol=1e-6)
        assert blocks["count"][code] == mine.sum()


def test_group_scores_are_means_over_both_groups(run, sources):
    mean = group_scores(sources, "trak")["mean"]
    score = run["scores/trak"]["score"].values
    test, train = (run[f"{s}_examples"]["group"].values for s in ("test", "train"))
    for a in (0, 1):
        for b in (0, 1):
            slow = score[:, test == a][:, :, train == b].mean((1, 2))
            np.testing.assert_allclose(mean[:, a, b], slow, atol=1e-6)


def test_the_bias_table_asks_about_the_group_that_ends_worst(sources):
    table = bias_table(sources, "trak")
    worst = int(table["group_accuracy"].values[-1].argmin())
    expected = group_scores(sources, "trak")["mean"][:, worst]
    np.testing.assert_array_equal(table["group_score"].values, expected)


def test_a_layer_that_vanishes_or_breaks_is_flagged_where_it_does(run):
    data = run["gradients"].load()
    norm = data["norm"].values.copy()
    norm[5, 0], norm[7, 1] = 1e-9, np.nan
    run.add("gradients", data.assign(norm=(data["norm"].dims, norm)), overwrite=True)
    flag = gradient_flow(sources_of(run))["flag"]
    assert FLAGS[flag[5, 0]] == "vanishing"
    assert FLAGS[flag[7, 1]] == "not finite"
    assert (flag > 0).sum() == 2


def test_thinning_keeps_the_ends_and_every_flag():
    flag = np.zeros((5000, 3), int)
    flag[1234, 1] = 1
    kept = thinned(flag, most=100)
    assert {0, 4999, 1234} <= set(kept)
    assert len(kept) <= 101


def test_properties_become_codes_in_order():
    codes, names = codes_of(np.array([5.0, np.nan, 1.0, 5.0]))
    assert (codes.tolist(), names) == ([1, -1, 0, 1], ["1", "5"])
    codes, names = codes_of(np.arange(1000.0))
    assert len(names) == 24
    assert np.bincount(codes).min() >= 41
    assert codes_of(np.array(["same"] * 3, object)) is None
    assert codes_of(np.array([f"name {i}" for i in range(100)], object)) is None


def test_what_somebody_added_comes_before_label_and_group(sources):
    assert property_blocks(sources)["names"] == ["a", "label", "group"]


def test_checks_become_curves_with_their_intervals(run):
    epoch = run.epochs("scores/trak")
    lds = np.linspace(0.1, 0.5, len(epoch))
    run.add(
        "validity",
        xr.Dataset(
            {
                "lds": (("epoch", "test"), np.stack([lds - 0.1, lds + 0.1], 1)),
                "lds_low": ("epoch", lds - 0.05),
                "lds_high": ("epoch", lds + 0.05),
            },
            {"epoch": epoch, "test": [0, 1]},
            {"method": "trak"},
        ),
    )
    blocks = validity(sources_of(run))
    assert blocks["names"] == ["Linear datamodeling score"]
    assert blocks["method"] == ["TRAK"]
    np.testing.assert_allclose(blocks["curve/0/value"], lds, rtol=1e-6)
    np.testing.assert_allclose(blocks["curve/0/high"], lds + 0.05, rtol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [{"scores": False}, {"n_test": 1}, {"epochs": 1, "every": 1}, {"n_classes": 30}],
)
def test_every_key_a_run_promises_can_be_answered(settings):
    sources = sources_of(tiny_run(**settings))
    for key in panels.keys(sources, everything=True):
        assert answer(sources, key).startswith(b"DGB1")


def test_a_view_alone_is_sent_only_what_it_reads(sources):
    every = [*panels.keys(sources, everything=True), "scores/trak/1000", "examples/train/0"]
    kept = {key for key in every if panels.wanted(key, ("timeline", "gradients"))}
    assert kept == {"gradients/all"}
    assert all(panels.wanted(key, ()) for key in every)
    assert all(panels.wanted(key, ("a view of somebody else",)) for key in every)


def test_measurements_that_hardly_repeat_go_into_bins():
    from dg_explorer.widgets.answers.transition import BINS, codes_of

    values = np.linspace(5387.25, 47100.5, 40)
    codes, names = codes_of(values)
    assert len(names) == BINS
    assert names[0] == "5,387"
    width = (values[-1] - values[0]) / BINS
    by_hand = [min(BINS - 1, int((value - values[0]) / width + 1e-9)) for value in values]
    assert codes.tolist() == by_hand
