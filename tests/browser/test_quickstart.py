"""The quickstart in a real JupyterLab: run it, click a test pair, and believe what is shown."""

import time

import pytest
from playwright.sync_api import expect

# The ids a board should show: computed here from the record, not by the board.
HELPED = """[int(i) for i in run['scores/trak'].score.sel(epoch={epoch}, test={test})
             .to_series().sort_values(ascending={ascending}, kind='stable').index[:{k}]]"""


def shown(page, side):
    """Ids in a column of influencers, from the top down."""
    rows = page.get_by_test_id(side).get_by_test_id("dg-influencer")
    expect(rows.first).to_be_visible()
    return rows.evaluate_all(
        """rows => rows.filter(row => row.getClientRects().length)
             .sort((a, b) => a.getBoundingClientRect().top - b.getBoundingClientRect().top)
             .map(row => Number(row.dataset.id))"""
    )


def wait_until(holds, seconds=20):
    """What the browser did reaches Python a moment later."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "this never came to hold"
        time.sleep(0.1)


@pytest.fixture
def quickstart(open_nb):
    return open_nb("01_quickstart.ipynb").run_all(timeout=240)


def test_clicking_a_test_pair_shows_the_influencers_the_record_names(quickstart, screenshots):
    page = quickstart.page
    card = page.get_by_test_id("dg-test").nth(3)
    card.scroll_into_view_if_needed()
    test = int(card.get_attribute("data-id"))
    card.click()
    expect(card).to_have_attribute("aria-selected", "true")
    slider = page.get_by_test_id("dg-timeline")
    for key in ("ArrowLeft", "End"):
        before = slider.get_attribute("aria-valuenow")
        slider.press(key)
        expect(slider).not_to_have_attribute("aria-valuenow", before)
        epoch = int(slider.get_attribute("aria-valuenow"))
        told = "[explorer.selection.epoch, explorer.selection.test]"
        wait_until(lambda: quickstart.python(told) == [epoch, test])  # noqa: B023
        for side, ascending in (("dg-helped", False), ("dg-hurt", True)):
            ids = shown(page, side)
            assert len(ids) >= 3
            expected = HELPED.format(epoch=epoch, test=test, ascending=ascending, k=len(ids))
            assert ids == quickstart.python(expected), (side, epoch)
    page.get_by_test_id("dg-board").screenshot(path=screenshots / "quickstart-light.png")
    quickstart.theme("dark")
    page.get_by_test_id("dg-board").screenshot(path=screenshots / "quickstart-dark.png")
