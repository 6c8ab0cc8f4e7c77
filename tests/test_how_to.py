"""The pages that say how to add something, followed to the letter in a copy of the package."""

import os
import subprocess
import sys

from how_to import code_to_try, copy_of, follow


def test_an_analysis_is_three_files_and_its_example_holds(tmp_path):
    copy = copy_of("dg_explorer", to=tmp_path)
    assert len(follow("add-an-analysis.md", copy)) <= 3
    done = subprocess.run(
        [sys.executable, "-c", code_to_try("add-an-analysis.md")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
