"""A click on a card selects that card, wherever the list stands and however the list is drawn."""

import pytest
from at_rest import still
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
    page.wait_for_function("list => list.scrollTop === 0", arg=gallery.element_handle())
    still(page)
    # a real press: it focuses the list before the button is let go
    page.locator("[data-testid=dg-test][data-index='1']").click()
    expect(chosen(page)).to_have_attribute("data-id", "1001")
    still(page)
    assert gallery.evaluate("list => list.scrollTop") == 0


def test_tab_still_brings_the_active_card_into_view(page):
    expect(chosen(page)).to_have_attribute("data-id", "1060")
    gallery = page.locator(".dg-left .dg-list")
    gallery.hover()
    page.mouse.wheel(0, -10_000)
    page.wait_for_function("list => list.scrollTop === 0", arg=gallery.element_handle())
    expect(page.locator("[data-testid=dg-test][data-index='0']")).to_be_visible()
    page.get_by_test_id("dg-sort").focus()
    page.keyboard.press("Tab")
    expect(page.locator("[data-testid=dg-test][data-id='1060']")).to_be_in_viewport()


def test_a_rectangle_selects_and_undo_and_redo_walk_over_it(page):
    area, said = page.get_by_test_id("dg-scatter"), page.locator(".dg-right .dg-h2 > :last-child")
    expect(area).to_have_attribute("data-points", "120")
    page.get_by_test_id("dg-tool-rectangle").click()
    box = area.bounding_box()
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + box["height"] - 2, steps=4)
    page.mouse.up()
    expect(said).to_contain_text("selected")
    still(page)  # not a number on the way
    selected = said.inner_text()
    page.get_by_test_id("dg-undo").click()
    expect(said).to_have_text("")
    page.get_by_test_id("dg-redo").click()
    expect(said).to_have_text(selected)


def test_a_search_and_a_filter_leave_what_passes_both(page):
    listed = page.locator(".dg-left .dg-h2 .dg-muted")
    page.get_by_test_id("dg-search").fill("example 107")
    expect(listed).to_have_text("10 of 80")  # 1070 to 1079
    numbers = []
    for verdict in ("right", "wrong"):
        before = listed.inner_text()
        page.get_by_test_id(f"dg-filter-{verdict}").click()
        expect(listed).not_to_have_text(before)
        still(page)
        numbers.append(int(listed.inner_text().split()[0]))
    assert sum(numbers) == 10
    assert min(numbers) > 0
