"""Imports point down only, and looking at a run loads nothing that trains or plots."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "dg_explorer"

# From the ground up. What is not named here is a module of the record or of the top.
FLOORS = [
    {"maths", "errors", "lazy_names"},
    {"schema"},
    {"figures"},
    {"record"},
    {"recording", "attribution"},
    {"evaluation"},
    {"analysis"},
    {"widgets"},
    {"demos"},
    {"top"},
]
HEIGHT = {unit: height for height, units in enumerate(FLOORS) for unit in units}
# `trak`, `utils` and `influence_functions` re-export at the specification's import paths.
TOP = {
    "cli",
    "demo_steps",
    "board_notebook",
    "doctor",
    "serving",
    "nodelay",
    "live_notebook",
    "__init__",
    "testing",
    "__main__",
} | {
    "trak",
    "utils",
    "influence_functions",
}


def unit_of(name: str) -> str:
    """The unit a module `dg_explorer.<name>...` belongs to."""
    if name in HEIGHT:
        return name
    return "top" if name in TOP else "record"


class Imports(ast.NodeVisitor):
    """The modules of this package that a file imports when it runs."""

    def __init__(self, package: list[str]) -> None:
        self.package = package
        self.found: list[tuple[int, list[str]]] = []

    def visit_If(self, node: ast.If) -> None:
        # `if TYPE_CHECKING:` never runs
        if "TYPE_CHECKING" in ast.dump(node.test):
            node.body = []
        self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if alias.name.split(".")[0] == "dg_explorer":
                self.found.append((node.lineno, alias.name.split(".")[1:]))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = node.module.split(".") if node.module else []
        if node.level:
            base = self.package[: len(self.package) - node.level + 1] + module
        elif module and module[0] == "dg_explorer":
            base = module[1:]
        else:
            return
        if base:
            self.found.append((node.lineno, base))
        else:  # from . import x: a module or a public name
            for alias in node.names:
                self.found.append((node.lineno, [alias.name]))


def imports_of(path: Path, root: Path = PACKAGE) -> list[tuple[int, str]]:
    """(line, unit) for every import of this package in one of its files."""
    visitor = Imports(list(path.relative_to(root).parts[:-1]))
    visitor.visit(ast.parse(path.read_text()))
    return [(line, unit_of((names or ["__init__"])[0])) for line, names in visitor.found]


def wrong_imports(path: Path, root: Path = PACKAGE) -> list[str]:
    """The imports of one file that point up, or sideways to another unit."""
    parts = path.relative_to(root).parts
    here = unit_of(parts[0].removesuffix(".py"))
    return [
        f"{path.relative_to(root)}:{line} ({here}) imports {there}"
        for line, there in imports_of(path, root)
        if there != here and HEIGHT[there] >= HEIGHT[here]
    ]


def test_imports_point_down_only():
    files = sorted(PACKAGE.rglob("*.py"))
    assert len(files) > 20
    assert [wrong for file in files for wrong in wrong_imports(file)] == []


@pytest.mark.parametrize(
    ("file", "line", "wrong"),
    [
        ("maths/ranks.py", "from ..run import Run", True),
        ("maths/ranks.py", "from . import sigmoid", False),
        ("run.py", "from .widgets import explore", True),
        ("run.py", "def f():\n    import dg_explorer.analysis.gradients", True),
        ("recording/hooks.py", "from dg_explorer.attribution import capture", True),
        ("widgets/board.py", "from ..analysis.gradients import GradientFlowAnalyzer", False),
        ("figures/timeline.py", "from ..schema import check_group", False),
        ("figures/timeline.py", "from ..run import Run", True),
        (
            "figures/timeline.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..run import Run",
            False,
        ),
    ],
)
def test_the_reader_of_imports_sees_what_points_up(tmp_path, file, line, wrong):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(line)
    assert bool(wrong_imports(path, tmp_path)) is wrong


def loaded_by(code: str) -> set[str]:
    """The top-level modules a fresh interpreter has loaded after running some code."""
    code += "\nimport sys; print('LOADED', *{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split("LOADED")[1].split())


HEAVY = {"torch", "plotly", "sklearn", "umap", "ruptures"}


def test_importing_the_package_loads_nothing_heavy():
    assert not loaded_by("import dg_explorer") & (HEAVY | {"xarray", "zarr", "ipywidgets"})


@pytest.fixture(scope="module")
def stored_run(tmp_path_factory):
    from dg_explorer.testing import tiny_run

    path = tmp_path_factory.mktemp("floors") / "run"
    tiny_run(0, path)
    return path


def test_opening_a_run_loads_neither_torch_nor_plotly(stored_run):
    loaded = loaded_by(f"import dg_explorer as dg; dg.Run.open({str(stored_run)!r})['scores/trak']")
    assert not loaded & HEAVY


def test_showing_the_board_loads_nothing_that_trains_or_plots(stored_run):
    code = f"import dg_explorer as dg; dg.explore({str(stored_run)!r}).top_influencers(1000, 0)"
    assert not loaded_by(code) & HEAVY
