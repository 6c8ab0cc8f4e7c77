"""How far a job delays a click on the board: `python tests/browser/job_lag.py`.

A board in JupyterLab checks itself on a small real run. Measured, with the check paused and while
it runs: from a click on a test example until its influencers are drawn, and from a question (*what
if these were gone?*) until its answer is.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from guarded import BROWSER_OPTIONS, guarded_page
from lab_pages import Notebook, start_lab, write_cells
from playwright.sync_api import sync_playwright

from dg_explorer.widgets.export.browsers import find_browser

CLICKS = 30
CELL = """import dg_explorer as dg
from dg_explorer.demos import grokking
from dg_explorer.evaluation.jobs import running
running.cores = lambda: max(2, len(__import__("os").sched_getaffinity(0)))
recipe = grokking.Recipe(p=13, width=64, fraction=.6, lr=1e-2, weight_decay=.7, eps=1e-3,
    steps=400, double=True, record_every=20)
run = grokking.make("lag", recipe=recipe, progress=False).run
train, test = grokking.datasets(recipe)
training = dg.training_of_run(run, grokking.model(recipe), train=train, test=test)
dg.attribute(run, grokking.model(recipe), train, test, method="gradient_dot", epochs=[100, 400])
ex = dg.explore(run, training=training, check=True, epoch=400)
ex"""
# milliseconds from a click until what it changes was drawn
CLICK = """async (n) => { const board = document.querySelector('[data-testid=dg-board]');
  const frame = () => new Promise(requestAnimationFrame), out = [];
  for (let i = 0; i < n; i++) {
    const card = board.querySelectorAll('[data-testid=dg-test]')[i % 6];
    const name = card.querySelector('.dg-lead').textContent;
    const began = performance.now();
    card.click();
    while (!board.querySelector('.dg-middle .dg-h2').textContent.includes(name)
      || board.querySelector('.dg-columns').dataset.stale !== undefined) await frame();
    out.push(performance.now() - began);
    await new Promise((done) => setTimeout(done, 150)); }
  return out; }"""
ASK = """async (n) => { const board = document.querySelector('[data-testid=dg-board]');
  const frame = () => new Promise(requestAnimationFrame), out = [];
  const which = board.querySelector('[data-testid=dg-which]');
  for (let i = 0; i < n; i++) {
    which.value = i % 2 ? 'helped:4' : 'helped:8';
    which.dispatchEvent(new Event('change'));
    await frame();
    const began = performance.now();
    board.querySelector('[data-testid=dg-whatif-ask]').click();
    await frame();
    while (board.querySelector('.dg-whatif').dataset.pending !== undefined) await frame();
    out.push(performance.now() - began);
    await new Promise((done) => setTimeout(done, 150)); }
  return out; }"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        lab = start_lab(_made(Path(folder) / "root"), Path(folder) / "state")
        chromium = playwright.chromium.launch(executable_path=find_browser(), args=BROWSER_OPTIONS)
        try:
            page = guarded_page(chromium, allowed=rf"127\.0\.0\.1:{lab.port}/")
            Notebook(page, lab, write_cells(lab, "lag", CELL), "doc").run_all(timeout=300)
            check = page.get_by_test_id("dg-check")
            text = page.get_by_test_id("dg-checked")
            page.wait_for_function(
                "e => e.textContent.includes('checked by')",
                arg=text.element_handle(),
                timeout=300_000,
            )
            for act, what in ((CLICK, "a click"), (ASK, "a question")):
                page.evaluate(act, 6)
                busy = page.evaluate(act, CLICKS)
                still = text.text_content()
                check.click()
                page.wait_for_timeout(1000)
                idle = page.evaluate(act, CLICKS)
                check.click()
                print(f"{what} while the job runs ({still}): {_figures(busy)}")
                print(f"{what} while it is paused: {_figures(idle)}")
        finally:
            chromium.close()
            lab.stop()


def _figures(times: list[float]) -> str:
    ordered = sorted(times)
    return f"{statistics.median(ordered):.0f} ms median, {ordered[int(0.95 * len(ordered))]:.0f} ms 95th of 100"


def _made(root: Path) -> Path:
    root.mkdir()
    return root


if __name__ == "__main__":
    main()
