"""The scatter and the tabs on saved pages opened from file:// with the network off."""

import re

import numpy as np
import pytest
from at_rest import still
from playwright.sync_api import expect

import dg_explorer as dg
from dg_explorer.testing import tiny_run

NO_WEBGL = """const real = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
  return kind.startsWith("webgl") ? null : real.call(this, kind, ...rest); };"""
# resolves once the canvas holds ink
INKED = """() => new Promise((done) => { const look = () => {
  const of = document.querySelector('.dg-right .dg-stage canvas');
  const { data } = of.getContext('2d').getImageData(0, 0, of.width, of.height);
  let n = 0;
  for (let i = 3; i < data.length; i += 4) if (data[i]) n++;
  if (n > 200) done(n); else requestAnimationFrame(look); }; look(); })"""
TABS = ["transition", "map", "gradients", "bias", "validity"]


@pytest.fixture
def saved(tmp_path):
    return dg.explore(tiny_run()).to_html(tmp_path / "board.html")


def painted(page, name):
    expect(page.locator(".dg-right .dg-stage")).to_have_attribute("data-painter", name)
    assert page.evaluate(INKED) > 200


def drag(page, area, *corners):
    box = area.bounding_box()
    for number, (x, y) in enumerate(corners):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=3)
        if number == 0:
            page.mouse.down()
    page.mouse.up()


def test_a_lasso_selects_and_escape_clears(open_offline, saved):
    page = open_offline(saved)
    area = page.get_by_test_id("dg-scatter")
    expect(area).to_have_attribute("data-points", "60")
    drag(page, area, (0.02, 0.02), (0.98, 0.02), (0.98, 0.98), (0.02, 0.98), (0.02, 0.02))
    count = page.locator(".dg-right .dg-h2 > :last-child")
    expect(count).to_contain_text("selected")
    still(page)  # not a number on the way
    assert int(count.inner_text().split()[0]) >= 50
    page.keyboard.press("Escape")
    expect(count).to_have_text("")


def test_a_name_in_the_legend_chooses_its_examples(open_offline, saved):
    run = tiny_run()
    tables = [run[f"{split}_examples"]["label"].values for split in ("train", "test")]
    page = open_offline(saved)
    key, count = page.locator(".dg-right [data-code='1']"), page.get_by_test_id("dg-zoom")
    key.click()
    expect(key).to_have_attribute("aria-pressed", "true")
    expect(count).to_have_text(f"{sum((labels == 1).sum() for labels in tables)} selected")
    page.locator(".dg-right [data-code='2']").click(modifiers=["Shift"])
    both = sum(np.isin(labels, (1, 2)).sum() for labels in tables)
    expect(count).to_have_text(f"{both} selected")
    key.click(modifiers=["Shift"])
    expect(key).to_have_attribute("aria-pressed", "false")
    expect(count).to_have_text(f"{sum((labels == 2).sum() for labels in tables)} selected")


def test_arrows_and_enter_choose_in_the_scatter(open_offline, saved):
    page = open_offline(saved)
    area = page.get_by_test_id("dg-scatter")
    expect(area).to_have_attribute("data-points", "60")
    area.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".dg-right .dg-tip")).to_be_visible()
    before = page.get_by_test_id("dg-evolution-where").inner_text()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+Enter")
    expect(page.locator(".dg-right .dg-h2 > :last-child")).to_have_text("1 selected")
    # its arrows are its own: the epoch stays
    assert page.get_by_test_id("dg-evolution-where").inner_text() == before


def test_the_scatter_is_drawn_without_webgl_too(open_offline, saved):
    page = open_offline(saved)
    expect(page.locator(".dg-right .dg-stage")).to_have_attribute("data-painter", "webgl")
    page.context.add_init_script(NO_WEBGL)
    page.reload()
    painted(page, "canvas")


def test_a_lost_graphics_context_is_survived(open_offline, saved):
    page = open_offline(saved)
    expect(page.locator(".dg-right .dg-stage")).to_have_attribute("data-painter", "webgl")
    page.evaluate(
        """() => { window.lost = document.querySelector('.dg-stage canvas')
             .getContext('webgl2').getExtension('WEBGL_lose_context'); lost.loseContext(); }"""
    )
    painted(page, "canvas")
    page.evaluate("() => lost.restoreContext()")
    expect(page.locator(".dg-right .dg-stage")).to_have_attribute("data-painter", "webgl")


def test_there_is_one_graphics_context_however_many_tabs_were_open(open_offline, saved):
    page = open_offline(saved)
    for tab in TABS:
        page.get_by_test_id(f"dg-tab-{tab}").click()
        expect(page.get_by_test_id(f"dg-tab-{tab}")).to_have_attribute("aria-selected", "true")
        panel = page.locator(f'.dg-tabpanel[data-view="{tab}"]')
        expect(panel).to_be_visible()
        still(page)
        assert len(panel.inner_text()) > 40
    painters = page.locator(".dg-stage").evaluate_all("all => all.map(s => s.dataset.painter)")
    assert sorted(painters) == ["canvas", "webgl"]
    expect(page.get_by_test_id("dg-errors")).to_be_empty()


def test_gainers_on_screen_are_those_of_the_record(open_offline, saved):
    run = tiny_run()
    page = open_offline(saved)
    page.get_by_test_id("dg-tab-transition").click()
    page.get_by_test_id("dg-range").click()
    still(page)
    title = page.locator(".dg-tabpanel[data-view=transition] .dg-panel-title").inner_text()
    words = title.split("·")[0].replace("epoch", "").split("change")[0].split("→")
    ends = [int(word) for word in words]
    mean = run["scores/trak"]["score"].mean("test")
    change = (mean.sel(epoch=ends[1]) - mean.sel(epoch=ends[0])).to_series()
    shown = page.get_by_test_id("dg-gained").locator("[data-id]")
    ids = [int(i) for i in shown.evaluate_all("rows => rows.map(r => r.dataset.id)")]
    assert ids
    assert ids == change[change > 0].nlargest(len(ids)).index.tolist()


def test_the_comparison_is_scrubbed_by_its_slider(open_offline, tmp_path):
    runs = {"one": tiny_run(), "<img src=x onerror=alert(1)>": tiny_run(1, epochs=20)}
    page = open_offline(dg.RunComparison(runs).to_html(tmp_path / "runs.html"))
    slider = page.get_by_test_id("dg-comparison-slider")
    slider.focus()
    page.keyboard.press("Home")
    expect(page.locator(".dg-board")).to_contain_text("0 % of training done")
    expect(page.locator(".dg-runs .dg-key").first).to_contain_text(re.compile("one ?epoch 0"))
    assert page.locator("img").count() == 0
    assert slider.input_value() == "0"


ALONE = [
    dg.MemorizationTimeline,
    dg.InfluenceExplorer,
    dg.FeatureEvolution,
    dg.DynamicsMap,
    dg.TransitionView,
    dg.GradientFlow,
    dg.BiasView,
]


@pytest.mark.second_ring(sample=2)
@pytest.mark.parametrize("view", ALONE)
def test_a_view_alone_holds_all_it_asks_for(open_offline, tmp_path, view):
    page = open_offline(view(tiny_run()).to_html(tmp_path / "view.html"))
    board = page.get_by_test_id("dg-board")
    expect(board).to_be_visible()
    assert page.get_by_test_id("dg-errors").inner_text() == ""
    assert "saved" not in board.inner_text()
    slider = page.get_by_test_id("dg-timeline")
    if slider.count():
        slider.press("Home")
        expect(board).to_have_attribute("data-epoch", "0")
