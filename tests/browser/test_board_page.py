"""The board itself, on saved pages opened from file:// with the network off."""

import re

import numpy as np
import pytest
from at_rest import resting_epoch, still
from playwright.sync_api import expect

import dg_explorer as dg
from dg_explorer.testing import tiny_run

HOSTILE = "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>"


@pytest.fixture
def show(open_offline, tmp_path):
    """Save a board of a run and open it."""

    def opened(run, **options):
        return open_offline(dg.explore(run, **options).to_html(tmp_path / "board.html"))

    return opened


def ids(page, side):
    return (
        page.get_by_test_id(side)
        .get_by_test_id("dg-influencer")
        .evaluate_all(
            """rows => rows.sort((a, b) => a.getAttribute('aria-posinset') - b.getAttribute('aria-posinset'))
                       .map(row => Number(row.dataset.id))"""
        )
    )


def test_every_test_example_shows_at_every_epoch_what_the_record_says(show):
    run = tiny_run(seed=1)
    page = show(run)
    scores = run["scores/trak"]["score"]
    slider = page.get_by_test_id("dg-timeline")
    for test in (1002, 1011):
        page.get_by_test_id("dg-search").fill(f"#{test}")
        page.locator(f'[data-testid=dg-test][data-id="{test}"]').click()
        slider.press("Home")
        for epoch in run.epochs("metrics"):
            still(page)
            expect(slider).to_have_attribute("aria-valuenow", str(epoch))
            if epoch in scores["epoch"]:
                row = scores.sel(epoch=epoch, test=test).to_series()
                sides = row[row > 0].nlargest(8), row[row < 0].nsmallest(8)
                for side, best in zip(("dg-helped", "dg-hurt"), sides):
                    shown = ids(page, side)
                    assert len(shown) >= min(3, len(best))  # as many as there is room for
                    assert shown == best.index.tolist()[: len(shown)]
            else:  # no checkpoint was kept there: it says whose scores it shows
                near = scores["epoch"].values[np.abs(scores["epoch"].values - epoch).argmin()]
                said = page.locator(".dg-middle .dg-h2")
                expect(said).to_contain_text(f"at epoch {near}, the nearest with scores")
            slider.press("ArrowRight")


def test_predictions_and_margins_are_those_of_the_epoch_shown(show):
    run = tiny_run(seed=2)
    page = show(run)
    dynamics = run["dynamics/test"]
    page.get_by_test_id("dg-search").fill("#1001")
    slider = page.get_by_test_id("dg-timeline")
    for key, epoch in (("Home", 0), ("End", -1)):
        slider.press(key)
        still(page)
        card = page.locator('[data-testid=dg-test][data-id="1001"]')
        at = dynamics.isel(epoch=epoch).sel(test=1001)
        expect(card).to_contain_text(str(int(at["prediction"])))
        margin = float(np.float16(at["margin"]))
        sign, size = "−" if margin < 0 else "+", abs(margin)
        expect(card).to_contain_text(f"{sign}{size:.{1 if size >= 1 else 2}f}")


def test_playing_runs_to_the_end_and_rests_on_a_recorded_epoch(show):
    run = tiny_run()
    page = show(run)
    # so slow that it cannot come to the end before it is stopped
    page.get_by_test_id("dg-speed").select_option("0.25")
    page.get_by_test_id("dg-timeline").press("End")
    play = page.get_by_test_id("dg-play")
    play.click()
    expect(play).to_have_accessible_name("Pause (Space)")
    # between recorded epochs while it moves
    page.wait_for_function(
        "() => { const e = Number(document.querySelector('.dg-board').dataset.epoch); return e % 5 !== 0 }"
    )
    play.click()
    expect(play).to_have_accessible_name("Play (Space)")
    board = page.get_by_test_id("dg-board")
    assert resting_epoch(board) in run.epochs("metrics")
    page.get_by_test_id("dg-speed").select_option("4")
    play.click()
    expect(board).to_have_attribute("data-epoch", "55")
    expect(play).to_have_accessible_name("Play (Space)")


def test_dragging_scrubs_between_and_rests_on_recorded_epochs(show):
    page = show(tiny_run())
    box = page.get_by_test_id("dg-timeline").bounding_box()
    y = box["y"] + 60
    page.mouse.move(box["x"] + 200, y)
    page.mouse.down()
    page.mouse.move(box["x"] + 431, y, steps=5)
    board = page.get_by_test_id("dg-board")
    expect(board).to_have_attribute("data-epoch", re.compile(r"\d\.\d"))
    page.mouse.up()
    assert resting_epoch(board) % 5 == 0


def test_where_frames_come_late_panels_take_turns_and_agree_at_rest(show):
    run = tiny_run(epochs=30, every=1, score_every=1)
    page = show(run)
    expect(page.get_by_test_id("dg-influencer").first).to_be_visible()
    # how many frames changed the timeline, and how many each of the two lists beside the scatter
    page.evaluate(
        """() => { window.frames = {timeline: 0, left: 0, middle: 0};
          const count = (name, at) => new MutationObserver(() => frames[name]++).observe(at,
            {subtree: true, childList: true, characterData: true, attributes: true});
          const timeline = document.querySelector('[data-testid=dg-timeline]');
          // every frame comes late: it first does 25 ms of something else
          timeline.addEventListener('pointermove', () => requestAnimationFrame(() => {
            const end = performance.now() + 25;
            while (performance.now() < end); }), {capture: true});
          count('timeline', timeline);
          count('left', document.querySelector('.dg-left .dg-list'));
          count('middle', document.querySelector('.dg-middle .dg-columns')); }"""
    )
    box = page.get_by_test_id("dg-timeline").bounding_box()
    page.mouse.move(box["x"] + 80, box["y"] + 60)
    page.mouse.down()
    # in the page, a move a frame: a mouse moved from outside may rest between
    page.evaluate(
        """async () => { const timeline = document.querySelector('[data-testid=dg-timeline]'),
             {x, y, width} = timeline.getBoundingClientRect();
           for (let step = 1; step <= 60; step++) {
             const share = step <= 40 ? step / 40 : 1 - (step - 40) / 40;
             timeline.dispatchEvent(new PointerEvent('pointermove', {bubbles: true,
               clientX: x + 80 + share * (width - 120), clientY: y + 60}));
             await new Promise(requestAnimationFrame); } }"""
    )
    frames = page.evaluate("() => ({...frames})")
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 60)
    page.mouse.up()
    # by how much depends on the machine
    assert frames["timeline"] > max(frames["left"], frames["middle"])
    assert min(frames["left"], frames["middle"]) > 1
    epoch = resting_epoch(page.get_by_test_id("dg-board"))
    expect(page.locator(".dg-middle .dg-h2")).to_contain_text(f"at epoch {epoch}")
    row = run["scores/trak"]["score"].sel(epoch=epoch, test=1000).to_series()
    page.get_by_test_id("dg-search").fill("#1000")
    page.locator('[data-testid=dg-test][data-id="1000"]').click()
    still(page)
    shown = ids(page, "dg-helped")
    assert shown == row[row > 0].nlargest(8).index.tolist()[: len(shown)]
    assert len(shown) >= 3


def test_nothing_moves_while_scrubbing(show):
    page = show(tiny_run())
    places = """() => [...document.querySelectorAll('.dg-slot, .dg-h2, .dg-legend b, [data-testid=dg-test], .dg-distribution')]
        .map(e => { const b = e.getBoundingClientRect(); return [b.x, b.y, b.width, b.height].map(Math.round).join() })"""
    slider = page.get_by_test_id("dg-timeline")
    slider.press("Home")
    still(page)
    before = page.evaluate(places)
    for _ in range(11):
        slider.press("ArrowRight")
        still(page)
        assert page.evaluate(places) == before


def test_a_brushed_range_lists_what_flipped_within_it(show):
    run = tiny_run(seed=4)
    page = show(run)
    box = page.get_by_test_id("dg-timeline").bounding_box()
    page.keyboard.down("Shift")
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 30, box["y"] + 60, steps=4)
    page.mouse.up()
    page.keyboard.up("Shift")
    page.get_by_test_id("dg-filter-flipped").click()
    still(page)
    first, last = (
        int(page.get_by_test_id(t).get_attribute("aria-valuenow"))
        for t in ("dg-before", "dg-after")
    )
    correct = run["dynamics/test"]["correct"]
    flipped = (correct.sel(epoch=first) != correct.sel(epoch=last)).values.sum()
    cards = page.get_by_test_id("dg-test")
    expect(cards.first).to_have_attribute("aria-setsize", str(flipped))
    before = page.get_by_test_id("dg-before")
    before.press("ArrowRight")
    expect(before).not_to_have_attribute("aria-valuenow", str(first))
    assert int(before.get_attribute("aria-valuenow")) > first


def test_all_is_done_by_keyboard_alone(show):
    page = show(tiny_run())
    gallery = page.get_by_role("listbox", name="Test examples")
    gallery.focus()
    for key in ("Home", "ArrowDown", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    expect(page.locator('[data-testid=dg-test][data-id="1002"]')).to_have_attribute(
        "aria-selected", "true"
    )
    column = page.get_by_test_id("dg-helped")
    column.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(column.get_by_role("option", selected=True)).to_have_attribute("aria-posinset", "2")
    page.keyboard.press("Control+z")
    expect(column.get_by_role("option", selected=True)).to_have_count(0)
    page.keyboard.press("Control+Shift+z")
    expect(column.get_by_role("option", selected=True)).to_have_count(1)
    page.keyboard.press("Escape")
    expect(column.get_by_role("option", selected=True)).to_have_count(0)


def test_every_control_is_reached_by_tab_and_has_a_name(show):
    page = show(tiny_run())
    nameless = page.evaluate("""() => [...document.querySelectorAll('.dg-board button, .dg-board select, .dg-board input, .dg-board [role=slider], .dg-board [role=listbox]')]
        .filter(e => !(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.length)).map(e => e.outerHTML.slice(0, 80))""")
    assert nameless == []
    ids_seen = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        ids_seen.add(page.evaluate("() => document.activeElement?.dataset?.testid ?? ''"))
    assert {
        "dg-timeline",
        "dg-play",
        "dg-speed",
        "dg-search",
        "dg-sort",
        "dg-helped",
        "dg-hurt",
    } <= ids_seen


def test_hostile_texts_are_shown_and_not_run(show):
    run = tiny_run()
    run.set_attrs(name=HOSTILE)
    page = show(run, show=lambda example: HOSTILE)
    expect(page.get_by_test_id("dg-test").first).to_contain_text("<img src=x")
    expect(page.get_by_test_id("dg-influencer").first).to_contain_text("<img src=x")
    expect(page.locator(".dg-board img, .dg-board script")).to_have_count(0)
    assert page.title() != "run"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_theme_can_be_chosen(open_offline, tmp_path, theme):
    page = open_offline(dg.explore(tiny_run()).to_html(tmp_path / "b.html", theme=theme))
    board = page.get_by_test_id("dg-board")
    expect(board).to_be_visible()
    background = board.evaluate("e => getComputedStyle(e).backgroundColor")
    light = sum(int(c) for c in background[4:-1].split(",")) > 380
    assert light == (theme == "light")


def test_long_and_foreign_texts_stay_inside_their_cards(show):
    texts = ["x" * 500, "مرحبا بالعالم " * 20, "👨‍👩‍👧‍👦" * 60, "word " * 200]
    page = show(tiny_run(), show=lambda example: texts[example["id"] % 4])
    expect(page.get_by_test_id("dg-influencer").first).to_be_visible()
    over = page.evaluate("""() => [...document.querySelectorAll('[data-testid=dg-test], [data-testid=dg-influencer], .dg-h2, .dg-head')]
        .filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.className)""")
    assert over == []
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


def test_a_thousand_classes_and_long_labels_are_shown(show):
    names = [f"class {i} " + "long " * 100 for i in range(1000)]
    run = tiny_run(n_train=2000, n_test=1000, n_classes=1000, epochs=3)
    run.set_attrs(class_names=names)
    page = show(run)
    expect(page.get_by_test_id("dg-label").locator("option")).to_have_count(1001)
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    expect(page.get_by_test_id("dg-test").first).to_be_visible()
    assert page.get_by_test_id("dg-test").count() < 40  # only what is on screen is made


@pytest.mark.parametrize("missing", ["scores", "one epoch", "nan"])
def test_what_is_missing_is_said(show, missing):
    run = tiny_run(scores=missing != "scores")
    if missing == "one epoch":
        run = tiny_run(epochs=1)
    if missing == "nan":
        scores = run["scores/trak"].load()
        run.add("scores/trak", scores.assign(score=scores["score"] * np.nan), overwrite=True)
    page = show(run)
    expect(page.get_by_test_id("dg-board")).to_be_visible()
    said = {"scores": "attribute(run", "nan": "not numbers"}
    if missing in said:
        expect(page.get_by_test_id("dg-board")).to_contain_text(said[missing])
    else:
        expect(page.get_by_test_id("dg-influencer").first).to_be_visible()
    expect(page.get_by_test_id("dg-errors")).to_be_empty()
