"""The examples run as a reader would run them, on small sizes, and say what they should."""

import argparse
import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from dg_explorer.testing import tiny_run

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


@pytest.mark.second_ring(sample=2, of_class=True)
class TestScripts:
    """Those that train."""

    def test_code_for_the_trak_library_ranks_the_targets_own_class_high(self, tmp_path):
        said = run("migrate_from_traker.py", "--proj-dim", 256, cwd=tmp_path)
        share = int(re.search(r"of a target, (\d+)% have its label", said).group(1))
        assert share >= 30  # 10 by chance

    def test_the_wrong_labels_are_among_the_hard_examples_while_training(self, tmp_path):
        said = run("analysis_during_training.py", "--epochs", 20, "--no-pictures", cwd=tmp_path)
        share = int(re.search(r"with a wrong label: (\d+)%", said).group(1))
        assert share >= 40  # 10 by chance

    def test_the_transition_is_found_in_checkpoints_on_disk(self, tmp_path):
        said = run("analysis_post_hoc.py", "--every", 100, "--no-pictures", cwd=tmp_path)
        assert "checkpoints: 0, 100, 200, 300, 400" in said
        assert 200 <= float(re.search(r"transition at step (\d+)", said).group(1)) <= 600
        assert "pairs changed most" in said

    def test_the_food101_study_finds_wrong_labels_in_a_folder_of_images(self, tmp_path):
        said = run(
            *("food101_debugging.py", "--epochs", 4, "--n-random", 1),
            cwd=tmp_path,
        )
        share = int(re.search(r"of the five that helped a test image most, (\d+)%", said).group(1))
        assert share >= 30  # 10 by chance
        wrong = int(re.search(r"most suspect labels, (\d+)% are wrong", said).group(1))
        assert wrong >= 50  # 10 by chance
        with open(tmp_path / "results" / "removals.csv") as file:
            removals = list(csv.DictReader(file))
        asked = {"none", "d3m", "random", "balanced", "most helpful", "most harmful"}
        assert {row["removal"] for row in removals} == asked
        counts = {row["n_removed"] for row in removals if row["removal"] != "none"}
        assert len(counts) == 1  # as many of each kind, or the comparison says nothing
        assert (tmp_path / "results" / "board.html").stat().st_size > 100_000


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (None, "There is no folder .*. Expected is one with train/"),
        ([], "training images of 0 classes; it takes two or more. Expected is"),
        (["train/a/1.png", "train/b/1.png"], "has train/, but neither test/ nor validation/"),
        (["a/1.png", "a/2.png"], "training images of 1 classes"),
        (["train/a/1.png", "train/b/1.png", "test/a/1.png"], "there is no test image of b"),
        (
            ["train/a/1.png", "train/b/half.png", "test/a/1.png", "test/b/1.png"],
            "half.png cannot be",
        ),
    ],
)
def test_a_folder_of_images_that_will_not_do_is_refused_in_words(held, said, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from image_folders import read

    folder = tmp_path / "images"
    for file in held or ():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((32, 32), 50).save(folder / file)
        if "half" in file:
            (folder / file).write_bytes((folder / file).read_bytes()[:200])
    if held == []:
        folder.mkdir()
    with pytest.raises(SystemExit, match=said):
        read(folder, n_classes=2, per_class=None, size=8)


def test_what_a_script_cannot_have_is_said_without_a_traceback(tmp_path):
    command = [sys.executable, EXAMPLES / "analysis_post_hoc.py", "--checkpoints", "nowhere"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stderr == "There is no file or folder nowhere.\n"


def test_numbers_out_of_range_are_refused(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from command_line import at_least

    assert at_least(1)("1") == 1
    for text in ("0", "-3", "1.5", "many"):
        with pytest.raises(argparse.ArgumentTypeError, match="is no whole number from 1 up"):
            at_least(1)(text)


def test_three_runs_are_compared_on_one_axis(tmp_path):
    # folders that are there are opened, so that nothing is trained here
    for seed, recipe in enumerate(("grokking", "mislabeled-digits", "spurious-digits")):
        tiny_run(seed, path=tmp_path / "results" / recipe)
    said = run("analysis_multi_phenomenon.py", "--out", "results", cwd=tmp_path)
    table = {line.rsplit(maxsplit=5)[0]: line.split()[-1] for line in said.splitlines()[-4:-1]}
    assert list(table) == ["grokking", "memorized labels", "shortcut"]
    for seed, accuracy in enumerate(table.values()):
        last = tiny_run(seed)["metrics"].test_accuracy.values[-1]
        assert abs(float(accuracy) - last) <= 0.005  # two digits are printed
    assert (tmp_path / "results" / "comparison.html").exists()
