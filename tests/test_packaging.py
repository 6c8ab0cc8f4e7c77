"""What a user installs holds everything that runs: the bundle, the notebooks, no sources of it."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        yield archive


def test_the_wheel_holds_bundle_and_notebooks_and_every_module(wheel):
    held = set(wheel.namelist())
    assert "dg_explorer/widgets/static/board.js" in held
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"dg_explorer/notebooks/{notebook.name}" in held
    for module in (ROOT / "dg_explorer").rglob("*.py"):
        assert str(module.relative_to(ROOT)) in held


def test_the_wheel_holds_no_tests_sources_of_the_front_end_or_caches(wheel):
    for name in wheel.namelist():
        assert not name.startswith(("tests/", "shared/"))
        for part in ("frontend", "node_modules", "__pycache__", ".ipynb_checkpoints"):
            assert part not in Path(name).parts


def test_the_wheel_is_small(wheel):
    assert sum(info.compress_size for info in wheel.infolist()) < 3_000_000


def test_no_notebook_is_large_or_stores_widget_state():
    import nbformat

    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert path.stat().st_size <= 500_000, path.name
        notebook = nbformat.read(path, as_version=4)
        assert "widgets" not in notebook.metadata, path.name
