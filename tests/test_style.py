"""The house style a program can check; the committed bundle is what its sources build to."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FRONTEND = ROOT / "dg_explorer" / "widgets" / "frontend"
STATIC = ROOT / "dg_explorer" / "widgets" / "static"


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]])
def test_ruff_finds_nothing(command):
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *command, "."], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-4000:]


def run_npm(*arguments, cwd):
    done = subprocess.run(["npm", *arguments], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


@pytest.mark.skipif(
    shutil.which("npm") is None, reason="Node is not here, so the bundle cannot be built to compare"
)
def test_the_committed_bundle_is_what_the_sources_build_to(tmp_path):
    frontend = tmp_path / "widgets" / "frontend"
    shutil.copytree(
        FRONTEND, frontend, ignore=shutil.ignore_patterns("node_modules", ".tests", "dist")
    )
    built = tmp_path / "widgets" / "static"
    built.mkdir()
    run_npm("ci", "--no-audit", "--no-fund", cwd=frontend)
    run_npm("run", "all", cwd=frontend)  # types, the front end's own tests, the bundle
    committed = {file.name: file.read_bytes() for file in STATIC.iterdir() if file.is_file()}
    assert committed
    for name, content in committed.items():
        assert (built / name).read_bytes() == content, f"{name}: run npm run build and commit it"


def test_the_bundle_is_small_and_asks_no_other_machine():
    for file in STATIC.glob("*.js"):
        text = file.read_text()
        assert len(text.encode()) <= 250_000
        for forbidden in ("eval(", "new Function(", "importScripts(", "XMLHttpRequest"):
            assert forbidden not in text, forbidden
        assert "fetch(" not in text
