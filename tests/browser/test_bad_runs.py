"""Runs that lack things or hold odd ones still open, and say what is missing."""

import numpy as np
import pytest
from at_rest import still
from playwright.sync_api import expect

import dg_explorer as dg
from dg_explorer.run import Run
from dg_explorer.testing import tiny_run


@pytest.fixture
def show(open_offline, tmp_path):
    def opened(run, **options):
        page = open_offline(dg.explore(run, **options).to_html(tmp_path / "board.html"))
        expect(page.get_by_test_id("dg-errors")).to_be_empty()
        return page

    return opened


def changed(run, group, change):
    data = run[group].load().copy(deep=True)
    change(data)
    run.add(group, data, overwrite=True)
    return run


def test_a_run_without_anything_says_so(show):
    page = show(Run.create(name="Nothing yet"))
    expect(page.locator(".dg-timeline")).to_contain_text("Nothing is recorded yet")
    expect(page.locator(".dg-left")).to_contain_text("records no test examples")


def test_one_test_example_is_a_board(show):
    page = show(tiny_run(n_test=1))
    expect(page.get_by_test_id("dg-test")).to_have_count(1)
    expect(page.get_by_test_id("dg-influencer").first).to_be_visible()


def test_a_class_without_training_examples_never_shares_a_label(show):
    def empty(data):
        data["label"].values[data["label"].values == 2] = 1

    page = show(changed(tiny_run(), "train_examples", empty), test=1002)
    expect(page.get_by_test_id("dg-influencer").first).to_be_visible()
    expect(page.locator(".dg-tag-same")).to_have_count(0)


def test_dynamics_that_are_not_numbers_leave_gaps(show):
    run = tiny_run()

    def lose(data):
        for name in ("loss", "margin", "confidence"):
            data[name].values[3:] = np.nan

    changed(changed(run, "dynamics/train", lose), "dynamics/test", lose)
    changed(run, "projections/hidden", lambda d: d["position"].values[2].fill(np.nan))
    page = show(run, epoch=50)
    expect(page.get_by_test_id("dg-test").first).to_contain_text("margin –")


def test_scores_that_are_partly_nan_rank_the_others(show):
    def spoil(data):
        data["score"].values[:, :, ::2] = np.nan

    page = show(changed(tiny_run(), "scores/trak", spoil))
    expect(page.get_by_test_id("dg-influencer").first).to_be_visible()
    ids = page.get_by_test_id("dg-influencer").evaluate_all("rows => rows.map(r => +r.dataset.id)")
    assert ids
    assert all(id % 2 for id in ids)  # ids begin at 100: the even ones are lost


def test_names_of_any_script_stay_inside_the_board(show):
    names = ["L" * 500, "مرحبا بالعالم " * 40, "👩‍👩‍👧‍👦" * 30, "<b onclick=x>" * 5]
    run = tiny_run()
    tables = {}
    for split in ("train", "test"):
        table = run[f"{split}_examples"].load()
        for name, shift in (("text", 0), ("group", 1)):
            odd = [names[(i + shift) % 4] for i in range(table.sizes[split])]
            table[name] = (split, np.array(odd, object))
        tables[f"{split}_examples"] = table
    new = Run.create(name=names[1], config={"class_names": names}, **tables)
    for group in set(run.groups()) - set(tables):
        new.add(group, run[group].load())
    page = show(new)
    for tab in ("transition", "map", "bias"):
        page.get_by_test_id(f"dg-tab-{tab}").click()
        still(page)
        wide = page.evaluate(
            """() => [...document.querySelectorAll('.dg-slot')].filter(s => [...s.querySelectorAll('.dg-card, .dg-influencer, .dg-scatter-legend > *, .dg-mini-row, .dg-h2')]
                 .some(e => e.getBoundingClientRect().right > s.getBoundingClientRect().right + 1)).map(s => s.className)"""
        )
        assert wide == [], tab
