"""What a user installs holds everything that runs: the bundle, the notebooks, no sources of it."""

import os
import re
import subprocess
import sys
import sysconfig
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
    assert {"dg_explorer/__init__.pyi", "dg_explorer/py.typed"} <= held
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"dg_explorer/notebooks/{notebook.name}" in held
    for module in (ROOT / "dg_explorer").rglob("*.py"):
        assert str(module.relative_to(ROOT)) in held


def test_the_wheel_holds_no_tests_benchmarks_sources_of_the_front_end_or_caches(wheel):
    for name in wheel.namelist():
        # nothing beside the package: no tests, benchmarks, documentation, sources of the bundle
        assert re.match(r"dg_explorer(-[\w.]+\.dist-info)?/", name), name
        assert not name.endswith((".ts", ".css.map", ".js.map", ".npz")), name
        for part in ("frontend", "node_modules", "__pycache__", ".ipynb_checkpoints"):
            assert part not in Path(name).parts


def test_the_wheel_is_small(wheel):
    assert sum(info.compress_size for info in wheel.infolist()) < 3_000_000


BOARD = """
import sys, dg_explorer as dg
from dg_explorer.testing import tiny_run
board = dg.explore(tiny_run())
board.to_png(sys.argv[1] + ".png", scale=1)
board.to_html(sys.argv[1] + ".html")
print(dg.__file__)
"""


def test_the_board_drawn_by_the_installed_wheel_is_that_of_the_sources(wheel, tmp_path):
    clean, site = tmp_path / "clean", sysconfig.get_path("purelib")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", clean], check=True)
    python = clean / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps"]
    subprocess.run([*pip, wheel.filename], check=True)
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = Path(subprocess.check_output([python, "-c", where], text=True).strip())
    # all that the package needs, without the link to this checkout: a path here reads no .pth there
    (own / "needs.pth").write_text(f"{site}\n")
    pages, pictures = [], []
    for name, program, place in (("wheel", python, own), ("sources", sys.executable, ROOT)):
        path = tmp_path / name
        command = [str(program), "-c", BOARD, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert Path(done.stdout.strip()).is_relative_to(place)
        pages.append(path.with_suffix(".html").read_text())
        pictures.append(path.with_suffix(".png").read_bytes())
    installed, ours = pages
    assert installed == ours
    installed, ours = pictures
    assert installed[16:24] == ours[16:24]  # width and height: all is there, where it was
    # a page without a board has a tenth of that
    assert min(len(ours), len(installed)) > 100_000


def test_no_notebook_is_large_or_stores_widget_state():
    import nbformat

    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert path.stat().st_size <= 500_000, path.name
        notebook = nbformat.read(path, as_version=4)
        assert "widgets" not in notebook.metadata, path.name
