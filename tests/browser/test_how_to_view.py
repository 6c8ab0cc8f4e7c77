"""The page that says how to add a view, followed to the letter: the tab is there and shows."""

import os
import subprocess
import sys

from how_to import ROOT, copy_of, follow
from playwright.sync_api import expect

PAGE = """
import dg_explorer as dg
from dg_explorer.testing import tiny_run
run = tiny_run(seed=0)
dg.add_streaks(run)
dg.explore(run).to_html("board.html")
"""


def test_a_view_is_four_files_and_its_tab_shows(open_offline, tmp_path):
    copy = copy_of("dg_explorer", "frontend", to=tmp_path)
    follow("add-an-analysis.md", copy)
    assert len(follow("add-a-view.md", copy)) <= 4
    installed = ROOT / "frontend" / "node_modules"
    if not installed.exists():
        subprocess.run(["npm", "ci", "--no-fund", "--no-audit"], cwd=installed.parent, check=True)
    (copy / "frontend" / "node_modules").symlink_to(installed)
    for command in ("lint", "check", "build"):
        done = subprocess.run(
            ["npm", "run", "--silent", command],
            cwd=copy / "frontend",
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    subprocess.run(
        [sys.executable, "-c", PAGE],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(copy)},
        check=True,
    )
    page = open_offline(tmp_path / "board.html")
    page.get_by_test_id("dg-tab-streaks").click()
    rows = page.get_by_test_id("dg-streaks").locator("li")
    expect(rows).to_have_count(10)
    expect(rows.first).to_contain_text("right at the last")
