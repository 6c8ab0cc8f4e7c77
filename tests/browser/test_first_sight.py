"""What a newcomer sees at once in JupyterLab on a small screen, and that it says what it means."""

import re

import pytest
from at_rest import resting_epoch, still, until
from pictures import KINDS
from playwright.sync_api import expect

import dg_explorer as dg
from dg_explorer.testing import tiny_run

CELL = """import dg_explorer as dg
from dg_explorer.testing import tiny_run
dg.explore(tiny_run(n_train=480, n_test=200, epochs=40, every=25), epoch=600)"""
CUT = """() => [...document.querySelectorAll('.dg-influencer .dg-lead *, .dg-card .dg-lead *')]
  .filter(e => e.offsetParent && e.scrollWidth > e.clientWidth + 1)
  .map(e => e.textContent)"""


def test_at_1280_by_800_timeline_examples_influencers_and_scatter_are_above_the_fold(
    open_cells, screenshots
):
    notebook = open_cells(CELL, app="lab")
    page = notebook.page
    page.set_viewport_size({"width": 1280, "height": 800})
    notebook.run_all()
    board = page.get_by_test_id("dg-board")
    expect(board.get_by_test_id("dg-influencer").first).to_be_visible()
    board.evaluate("e => e.scrollIntoView({block: 'start'})")
    still(page)
    page.screenshot(path=screenshots / "fold.png")

    def below_or_above_the_fold():
        panel = page.locator(".jp-NotebookPanel-notebook").bounding_box()
        parts = ".dg-timeline", ".dg-left", ".dg-middle", ".dg-slot.dg-right", ".dg-tablist"
        boxes = {part: board.locator(part).bounding_box() for part in parts}
        return [
            part
            for part, box in boxes.items()
            if box["y"] < panel["y"] - 1
            or box["y"] + box["height"] > panel["y"] + panel["height"] + 1
        ]

    until(lambda: not below_or_above_the_fold())
    for side in ("dg-helped", "dg-hurt"):
        expect(board.get_by_test_id(side).locator("[role=option]").nth(2)).to_be_attached()
    expect(board.locator(".dg-spark").first).to_be_visible()
    expect(board.get_by_test_id("dg-test").nth(7)).to_be_attached()


@pytest.mark.parametrize("name", ["sums", "table", "500-classes"])
def test_what_tells_examples_apart_is_never_cut(open_offline, tmp_path, name):
    file = dg.explore(KINDS[name](), epoch=600).to_html(tmp_path / "board.html")
    page = open_offline(file)
    expect(page.get_by_test_id("dg-influencer").first).to_be_visible()
    for width in (390, 700, 848, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        still(page)
        assert page.evaluate(CUT) == [], width


def test_without_labels_no_word_is_about_labels(open_offline, tmp_path):
    file = dg.explore(KINDS["no-labels"](), epoch=600).to_html(tmp_path / "board.html")
    page = open_offline(file)
    expect(page.get_by_test_id("dg-influencer").first).to_be_visible()
    for part in (".dg-left", ".dg-middle"):
        assert "label" not in page.locator(part).inner_text().lower()


def test_the_board_shows_ranks_and_shares_and_no_number_without_a_unit(open_offline, tmp_path):
    run = tiny_run()
    run.add("scores/trak", 1e-6 * run["scores/trak"].load(), overwrite=True)
    page = open_offline(dg.explore(run).to_html(tmp_path / "board.html"))
    first = page.get_by_test_id("dg-influencer").first
    expect(first).to_be_visible()
    expect(first).to_have_attribute("aria-label", re.compile("^1st of 40, helped most: "))
    for tab in ("transition", "bias"):
        page.get_by_test_id(f"dg-tab-{tab}").click()
        still(page)
        text = page.get_by_test_id("dg-board").inner_text()
        assert not re.search(r"×\s*10|e[-−]\d", text)
    expect(page.get_by_test_id("dg-caution")).to_have_text(
        "Not checked by retraining: take the order as a lead to follow, not as a finding."
    )


def test_helped_and_hurt_share_one_zero(open_offline, tmp_path):
    page = open_offline(dg.explore(tiny_run()).to_html(tmp_path / "board.html"))
    bars = page.locator(".dg-influencer .dg-bar")
    expect(bars.first).to_be_visible()
    middles = bars.evaluate_all(
        """bars => bars.map(bar => bar.getBoundingClientRect())
             .map(({x, width}) => Math.round(x + width / 2))"""
    )
    assert len(middles) >= 6
    assert len(set(middles)) == 1


def test_a_logarithmic_axis_gives_the_first_moments_room_and_scrubs_as_well(open_offline, tmp_path):
    page = open_offline(dg.explore(tiny_run()).to_html(tmp_path / "board.html"))
    slider, board = page.get_by_test_id("dg-timeline"), page.get_by_test_id("dg-board")
    box = slider.bounding_box()
    at = (box["x"] + 0.3 * box["width"], box["y"] + 60)
    page.mouse.click(*at)
    linear = resting_epoch(board)
    page.get_by_test_id("dg-log").click()
    page.mouse.click(*at)
    assert resting_epoch(board) < linear


def test_the_gap_between_the_curves_is_drawn_only_when_asked_for(open_offline, tmp_path):
    page = open_offline(dg.explore(tiny_run()).to_html(tmp_path / "board.html"))
    gap = page.locator(".dg-curve.dg-gap-line")
    expect(page.locator(".dg-curve")).to_have_count(2)
    page.get_by_test_id("dg-optional").click()
    expect(gap).to_have_count(1)
