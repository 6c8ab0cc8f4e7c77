"""A click on a card selects that card, wherever the list stands and however the list is drawn."""

import pytest
from playwright.sync_api import expect

import dg_explorer as dg
from dg_explorer.testing import tiny_run


@pytest.fixture
def page(open_offline, tmp_path):
    board = dg.explore(tiny_run(n_test=80), test=1060)
    return open_offline(board.to_html(tmp_path / "board.html"))


def chosen(page):
    return page.locator("[data-testid=dg-test][aria-selected=true]")


def test_a_click_far_from_the_selected_card_selects_the_card_under_it(page):
    expect(chosen(page)).to_have_attribute("data-id", "1060")
    gallery = page.locator(".dg-left .dg-list")
    gallery.hover()
    page.mouse.wheel(0, -10_000)
    expect(page.locator("[data-testid=dg-test][data-index='1']")).to_be_visible()
    # a real press: it focuses the list before the button is let go
    page.locator("[data-testid=dg-test][data-index='1']").click()
    expect(chosen(page)).to_have_attribute("data-id", "1001")
    assert gallery.evaluate("list => list.scrollTop") == 0


def test_tab_still_brings_the_active_card_into_view(page):
    expect(chosen(page)).to_have_attribute("data-id", "1060")
    gallery = page.locator(".dg-left .dg-list")
    gallery.hover()
    page.mouse.wheel(0, -10_000)
    expect(page.locator("[data-testid=dg-test][data-index='0']")).to_be_visible()
    page.get_by_test_id("dg-sort").focus()
    page.keyboard.press("Tab")
    expect(page.locator("[data-testid=dg-test][data-id='1060']")).to_be_in_viewport()
