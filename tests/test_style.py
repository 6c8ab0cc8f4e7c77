"""The house style a program can check, and what the committed bundle may hold."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "dg_explorer"
STATIC = PACKAGE / "widgets" / "static"
# still with a second idea in them; a file that is below the limit leaves this list for good
LONG = {"recording/recorder.py"}


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]])
def test_ruff_finds_nothing(command):
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *command, "."], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-4000:]


def test_the_bundle_is_small_and_asks_no_other_machine():
    for file in STATIC.glob("*.js"):
        text = file.read_text()
        assert len(text.encode()) <= 250_000
        for forbidden in ("eval(", "new Function(", "importScripts(", "XMLHttpRequest"):
            assert forbidden not in text, forbidden
        assert "fetch(" not in text


def test_no_file_of_the_package_has_more_than_400_lines():
    lines = {
        file.relative_to(PACKAGE).as_posix(): len(file.read_text().splitlines())
        for file in PACKAGE.rglob("*.py")
    }
    assert len(lines) > 100
    assert {name for name, n in lines.items() if n > 400} <= LONG
