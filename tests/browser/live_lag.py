"""How far a live board lags behind the process that records: `python tests/browser/live_lag.py`.

A process records one epoch a second, as large as a small real run's; a board in JupyterLab follows
it. Measured: from the call that records a row until the page shows it.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from guarded import BROWSER_OPTIONS, guarded_page
from lab_pages import Notebook, start_lab, write_cells
from playwright.sync_api import sync_playwright

from dg_explorer.testing import tiny_run
from dg_explorer.widgets.export.browsers import find_browser

ROWS = 20
RECORDER = """
import sys, time, numpy as np, xarray as xr, dg_explorer as dg
run, rows = dg.Run.open(sys.argv[1]), int(sys.argv[2])
last = {group: run[group].isel(epoch=[-1]).load() for group in
        ("dynamics/train", "dynamics/test", "metrics", "projections/hidden", "gradients")}
for epoch in range(60, 60 + rows):
    began = time.time()
    for group, row in last.items():
        run.append(group, row.assign_coords(epoch=[epoch]))
    print(epoch, began, flush=True)
    time.sleep(max(0, began + 1 - time.time()))
time.sleep(5)
"""
# Notes when the timeline first reaches each epoch.
WATCH = """() => { window.reached = {};
  const look = () => {
    const end = document.querySelector('[data-testid=dg-timeline]')?.getAttribute('aria-valuemax');
    if (end) reached[end] ??= Date.now() / 1000;
    requestAnimationFrame(look); };
  look(); }"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        root = Path(folder) / "root"
        tiny_run(path=root / "live", n_train=1000, n_test=300, scores=False)
        lab = start_lab(root, Path(folder) / "state")
        chromium = playwright.chromium.launch(executable_path=find_browser(), args=BROWSER_OPTIONS)
        try:
            page = guarded_page(chromium, allowed=rf"127\.0\.0\.1:{lab.port}/")
            cell = "import dg_explorer as dg\nex = dg.explore('live', live=True)\nex"
            Notebook(page, lab, write_cells(lab, "live", cell), "doc").run_all()
            page.evaluate(WATCH)
            command = [sys.executable, "-c", RECORDER, str(root / "live"), str(ROWS)]
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            written = {line.split()[0]: float(line.split()[1]) for line in said.splitlines()}
            end = time.monotonic() + 60
            while (last := max(written)) not in (reached := page.evaluate("reached")):
                if time.monotonic() > end:
                    raise SystemExit(f"epoch {last} never appeared; {max(reached)} did")
                time.sleep(0.1)
        finally:
            chromium.close()
            lab.stop()
    # an epoch that was never the last one shown came with the next that was
    lags = [
        min(at for e, at in reached.items() if int(e) >= int(w)) - t for w, t in written.items()
    ]
    print(
        f"{len(lags)} rows, one a second: shown {statistics.median(lags):.1f} s after they were "
        f"recorded (median), at most {max(lags):.1f} s"
    )


if __name__ == "__main__":
    main()
