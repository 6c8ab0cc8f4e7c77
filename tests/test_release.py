"""What a release uploads: built with the standard command, accepted by twine, works unpacked."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """The folder `python -m build` leaves: an sdist, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


def test_twine_accepts_both(dist):
    files = sorted(map(str, dist.iterdir()))
    assert len(files) == 2
    command = [sys.executable, "-m", "twine", "check", "--strict", *files]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_source_distribution_holds_what_is_tracked_and_nothing_else(dist):
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    tracked = set(subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines())
    assert {"README.md", "LICENSE", "frontend/package.json"} <= held
    # stored records, which have names that are ignored elsewhere
    assert {name for name in tracked if name.startswith("tests/records/")} <= held
    untracked = subprocess.check_output(
        ["git", "ls-files", "--others", "--exclude-standard"], cwd=ROOT, text=True
    )
    # work in progress may be there; what git ignores may not
    assert held - tracked - set(untracked.splitlines()) <= {"PKG-INFO"}


def test_a_board_is_written_by_the_unpacked_wheel_alone(dist, tmp_path):
    (path,) = dist.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        wheel.extractall(tmp_path / "site")
    # `demo --html` in small: the command, without the minute of training
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path / "site")!r})
import dg_explorer
from dg_explorer.cli import main
from dg_explorer.testing import tiny_run
assert dg_explorer.__file__.startswith({str(tmp_path)!r}), dg_explorer.__file__
tiny_run(path="run")
sys.exit(main(["export", "run", "board.html"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "<!doctype html>" in (tmp_path / "board.html").read_text()[:200].lower()
