"""`dg-explorer demo` as a newcomer runs it: the page opens with the board of a run just trained."""

import os
import re
import signal
import subprocess
import sys

import pytest
from guarded import assert_clean, guarded_page
from playwright.sync_api import expect

import dg_explorer as dg


@pytest.fixture(
    scope="module",
    # the one that trains for the shortest time, and the one that a newcomer gets
    params=["spurious-digits", pytest.param(None, marks=pytest.mark.second_ring(sample=0))],
)
def demo(request, tmp_path_factory):
    """The address that the command prints, and its output folder."""
    out = tmp_path_factory.mktemp("demo") / "a demo"
    recipe = [] if request.param is None else ["--recipe", request.param]
    process = subprocess.Popen(
        [sys.executable, "-m", "dg_explorer.cli", "demo", *recipe, "--no-browser", "--out", out],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        # a suite started in the background ignores Ctrl-C, and what it starts would too
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    said = []
    for line in process.stdout:
        said.append(line)
        found = re.search(r"http://127\.0\.0\.1:(\d+)/\S+", line)
        if found:
            break
    else:
        pytest.fail("".join(said))
    yield found.group(0), int(found.group(1)), out
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


def test_the_page_opens_with_the_board_alive_and_no_question_asked(browser, demo, screenshots):
    address, port, out = demo
    page = guarded_page(browser, allowed=rf"127\.0\.0\.1:{port}/")
    page.goto(address)
    card = page.get_by_test_id("dg-test").first
    expect(card).to_be_visible()
    card.click()
    expect(card).to_have_attribute("aria-selected", "true")
    slider = page.get_by_test_id("dg-timeline")
    last = int(dg.Run.open(out / "run").epochs().max())
    slider.press("End")  # the last recorded step is among the scored
    expect(slider).to_have_attribute("aria-valuenow", str(last))
    first = page.get_by_test_id("dg-helped").locator("[aria-posinset='1']")
    expect(first).to_be_visible()
    run = dg.Run.open(out / "run")
    scores = run["scores/trak"].score
    assert scores.sizes["epoch"] >= 20
    row = scores.sel(epoch=last, test=int(card.get_attribute("data-id")))
    best = int(row.train[row.argmax("train")])
    expect(first).to_have_attribute("data-id", str(best))
    expect(page.locator(".jp-Dialog, .Toastify__toast")).to_have_count(0)
    page.screenshot(path=screenshots / "demo.png")
    page.context.close()
    assert_clean(page)
