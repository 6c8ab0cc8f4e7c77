"""The house style a program can check, and what the committed bundle may hold."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STATIC = ROOT / "dg_explorer" / "widgets" / "static"


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
