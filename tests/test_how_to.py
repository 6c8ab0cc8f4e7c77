"""The pages that say how to add something, followed to the letter in a copy of the package."""

import os
import subprocess
import sys

import pytest
from how_to import ROOT, code_to_try, copy_of, follow


@pytest.mark.second_ring(sample=2)
@pytest.mark.parametrize(
    ("page", "files"),
    # of a method's three files one is written by a command
    [("add-an-analysis.md", 3), ("add-a-method.md", 2), ("add-a-task.md", 2)],
)
def test_a_page_names_few_files_and_its_example_holds(tmp_path, page, files):
    copy = copy_of("dg_explorer", to=tmp_path)
    touched = sorted(follow(page, copy))
    assert len(touched) <= files
    ruff = [sys.executable, "-m", "ruff", "check", "--config", str(ROOT / "pyproject.toml")]
    linted = subprocess.run([*ruff, *touched], cwd=copy, capture_output=True, text=True)
    assert linted.returncode == 0, linted.stdout
    done = subprocess.run(
        [sys.executable, "-c", code_to_try(page)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.second_ring(sample=0)
def test_a_method_by_the_page_keeps_the_contract_of_every_method(tmp_path):
    copy = copy_of("dg_explorer", "tests/attribution", to=tmp_path)
    follow("add-a-method.md", copy)
    some = "batch_size or permuting or left_bit_by_bit or duplicates"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull]
        + ["--rootdir", str(copy), "tests/attribution/test_contract.py"]
        + ["-k", f"relative_dot and ({some})"],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert "5 passed" in done.stdout
