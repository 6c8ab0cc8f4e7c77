"""No violation that axe-core finds, in any view, in either theme, on saved pages."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from at_rest import still
from playwright.sync_api import expect

import dg_explorer as dg
from dg_explorer.testing import tiny_run

FRONTEND = Path(__file__).parents[2] / "frontend"
CURVES = ("expected", "low", "high", "random_low", "random_high", "true")
LARGE = ", ".join(
    f".dg-whatif{part} {kind}:visible" for part in ("", "-bar") for kind in ("button", "select")
)
TABS = ["transition", "map", "gradients", "bias", "validity"]
# in words that name the rule, the element and what is wrong with it
RUN = """part => axe.run(part, {resultTypes: ['violations']}).then(({violations}) =>
  violations.flatMap(({id, nodes}) => nodes.map(({target, failureSummary}) => `${id} ${target}: ${failureSummary}`)))"""


@pytest.fixture(scope="module")
def axe():
    source = FRONTEND / "node_modules" / "axe-core" / "axe.min.js"
    if not source.exists():
        assert shutil.which("npm"), "axe-core needs Node; python3 tests/run.py installs it"
        subprocess.run(["npm", "ci", "--no-fund", "--no-audit"], cwd=FRONTEND, check=True)
    return source.read_text(encoding="utf-8")


def checked_run():
    """A run with a red light, a removal check and an example of every mark on a card."""
    run = tiny_run()
    test, train = run["test_examples"]["test"].values, run["train_examples"]["train"].values
    rng = np.random.default_rng(0)
    dims, shape = ("epoch", "test"), (2, len(test))
    removal = {name: (dims, rng.normal(size=shape)) for name in ("change", "band_low", "band_high")}
    run.add(
        "checks/removal/1",
        xr.Dataset(removal, {"epoch": [10, 30], "test": test}, {"removed": train[:3].tolist()}),
    )
    smooth = xr.Dataset({"metasmoothness": ("epoch", [0.95, 0.3])}, {"epoch": [0, 30]})
    run.keep("checks/metasmoothness", smooth)
    known = xr.Dataset({"memorization": ("train", rng.uniform(size=len(train)))}, {"train": train})
    run.add("analyses/memorization", known)
    action = xr.Dataset({"action": ("train", ["relabel", "keep"] * (len(train) // 2))})
    run.add("analyses/mislabeled", action.assign_coords(train=train))
    return run


def violations(page, part="html"):
    still(page)
    return page.evaluate(RUN, part)


def in_both_themes(page):
    for theme in ("light", "dark"):
        page.evaluate("theme => { document.documentElement.dataset.dgTheme = theme; }", theme)
        yield theme


def test_no_view_of_the_board_has_a_violation(open_offline, tmp_path, axe):
    page = open_offline(dg.explore(checked_run()).to_html(tmp_path / "board.html"))
    page.evaluate(axe)
    page.get_by_test_id("dg-range").click()
    for theme in in_both_themes(page):
        assert violations(page) == [], theme
        for tab in TABS:
            page.get_by_test_id(f"dg-tab-{tab}").click()
            assert violations(page, ".dg-tabs") == [], (theme, tab)


def test_an_answer_to_what_if_has_no_violation_and_its_controls_are_large_on_a_phone(
    open_offline, tmp_path, axe
):
    board = dg.explore(checked_run())
    question = {"kind": "what_if", "train": [101, 105], "test": board.selection.test}
    board._answer(board, question, [])
    answer = board._asked[0]
    curves = {name: np.linspace(-1, 2, len(answer["epoch"])).tolist() for name in CURVES}
    board._asked = [{**answer, **curves}]
    page = open_offline(board.to_html(tmp_path / "asked.html"))
    page.evaluate(axe)
    expect(page.get_by_test_id("dg-whatif-words")).to_contain_text("Without 2")
    for theme in in_both_themes(page):
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 900})
            assert violations(page, ".dg-timeline") == [], (theme, width)
            assert violations(page, ".dg-head") == [], (theme, width)
    controls = page.locator(LARGE)
    expect(controls.first).to_be_visible()
    for control in controls.all():
        assert control.bounding_box()["height"] >= 44, control


def test_no_empty_state_has_a_violation(open_offline, tmp_path, axe):
    page = open_offline(dg.explore(tiny_run(scores=False)).to_html(tmp_path / "empty.html"))
    page.evaluate(axe)
    page.get_by_test_id("dg-search").fill("nothing is called this")
    for theme in in_both_themes(page):
        assert violations(page) == [], theme
        for tab in ("transition", "validity"):
            page.get_by_test_id(f"dg-tab-{tab}").click()
            assert violations(page, ".dg-tabs") == [], (theme, tab)


def test_a_comparison_of_runs_has_no_violation(open_offline, tmp_path, axe):
    board = dg.RunComparison({"one": tiny_run(), "other": tiny_run(seed=1)})
    page = open_offline(board.to_html(tmp_path / "comparison.html"))
    page.evaluate(axe)
    for theme in in_both_themes(page):
        assert violations(page) == [], theme
