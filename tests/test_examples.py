"""The examples run as a reader would run them, on small sizes, and say what they should."""

import os
import re
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name, *options, cwd):
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *map(str, options)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_code_for_the_trak_library_ranks_the_targets_own_class_high(tmp_path):
    said = run("migrate_from_traker.py", "--proj-dim", 256, cwd=tmp_path)
    share = int(re.search(r"of a target, (\d+)% have its label", said).group(1))
    assert share >= 30  # 10 by chance


def test_the_wrong_labels_are_among_the_hard_examples_while_training(tmp_path):
    said = run("analysis_during_training.py", "--epochs", 20, "--no-pictures", cwd=tmp_path)
    share = int(re.search(r"with a wrong label: (\d+)%", said).group(1))
    assert share >= 40  # 10 by chance


def test_the_transition_is_found_in_checkpoints_on_disk(tmp_path):
    said = run("analysis_post_hoc.py", "--every", 100, "--no-pictures", cwd=tmp_path)
    assert "checkpoints: 0, 100, 200, 300, 400" in said
    assert 200 <= float(re.search(r"transition at step (\d+)", said).group(1)) <= 600
    assert "pairs changed most" in said
