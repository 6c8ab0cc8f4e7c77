"""Waiting for a page that is at rest: what is read from a board before may be of a frame between."""

from __future__ import annotations

import time
from collections.abc import Callable

from playwright.sync_api import Locator, Page, expect

# A loaded machine is slow, not wrong: nothing is waited for less long than this.
PATIENCE = 60  # seconds
expect.set_options(timeout=PATIENCE * 1000)

# Resolves after two frames in a row in which no board on the page has changed.
STILL = """() => new Promise((done) => {
  let changed = true, quiet = 0;
  const watcher = new MutationObserver(() => { changed = true; });
  for (const board of document.querySelectorAll('.dg-board'))
    watcher.observe(board, {subtree: true, childList: true, characterData: true, attributes: true});
  const look = () => {
    quiet = changed ? 0 : quiet + 1;
    changed = false;
    if (quiet < 2) { requestAnimationFrame(look); return; }
    watcher.disconnect();
    done();
  };
  requestAnimationFrame(look); })"""
# A press shows moments between the recorded ones, and its release is drawn a frame later.
RESTING = """(board) => {
  const shown = board.querySelector('[data-testid=dg-timeline]').getAttribute('aria-valuenow');
  return board.dataset.epoch === shown ? shown : null; }"""


def until(holds: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until something holds that no element shows."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "this never came to hold"
        time.sleep(0.1)


def still(page: Page) -> None:
    """Wait until every board on a page has drawn what it was last told."""
    page.evaluate(STILL)


def resting_epoch(board: Locator) -> int:
    """The recorded epoch that a board shows, once it rests on one."""
    still(board.page)
    shown = board.page.wait_for_function(RESTING, arg=board.element_handle())
    return int(shown.json_value())
