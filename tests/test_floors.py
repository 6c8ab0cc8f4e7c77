"""Imports point down only and in no circle; looking at a run loads nothing that trains or plots."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from imports import circles, graph, imports, modules, name_of

# From the ground up. A room imports from floors below its own, never from a room beside it.
FLOORS = [
    {"maths", "errors"},
    {"figures"},
    {"record"},
    {"data", "checkpoints"},
    {"tasks"},
    {"training"},
    {"recording", "attribution"},
    {"evaluation"},
    {"analysis"},
    {"widgets"},
    {"lab", "demos"},
    {"top"},
    {"cli"},
]
HEIGHT = {house: height for height, houses in enumerate(FLOORS) for house in houses}
# Houses whose own folder is a room beside those in it.
HALLS = {"evaluation", "record", "recording", "training"}
# Folders with rooms of their own; the rooms of one house form no circle.
ROOMS = {
    "analysis": {"bias", "examples", "features", "gradients", "sources", "transition"},
    "attribution": {
        *(
            "attributor",
            "gradients",
            "methods",
            "over_epochs",
            "projections",
            "queries",
            "solve",
            "top",
        ),
        *("traker", "unrolled"),
    },
    "evaluation": {"jobs", "retrainings"},
    "record": {"store"},
    "recording": {"ranks", "trainers"},
    "training": {"loss", "step"},
    "widgets": {"answers", "board", "export", "reading"},
}
# Modules that lie in no room's folder; the rooms `data`, `tasks` and `gradients` take some in.
LOOSE = {
    "": "top",
    "errors": "errors",
    "arguments": "errors",
    "memory": "errors",
    "lazy_names": "errors",
    "run": "record",
    "schema": "record",
    "growing_run": "record",
    "testing": "top",
    "nodelay": "top",
    "influence_functions": "top",
    "utils": "top",
    "analysis": "analysis",
    "analysis.comparison": "analysis",
    "analysis.properties": "analysis",
    "analysis.whole_board": "analysis",
    "attribution": "attribution",
    "attribution.memory_estimate": "attribution",
    "attribution.units": "attribution",
    "attribution.unrolled_training": "attribution",
    "attribution.walk": "attribution",
    "widgets": "widgets",
    "trak": "top",
}
FOLDERS = set(HEIGHT) - {"errors", "top"} | {"trak"}


def room_of(name: str) -> str:
    """The room of a module: a folder's name, or `house/room`. There is no default."""
    if name in LOOSE:
        return LOOSE[name]
    house, *rest = name.split(".")
    if house in HALLS and not set(rest[:1]) & ROOMS[house]:
        return house
    if house in ROOMS:
        assert set(rest[:1]) & ROOMS[house], f"{name} lies in no room"
        return f"{house}/{rest[0]}"
    assert house in FOLDERS, f"{name} lies in no room"
    return "top" if house == "trak" else house


def house_of(name: str) -> str:
    return room_of(name).split("/")[0]


def wrong_imports(path: Path, root: Path, known: set[str]) -> list[str]:
    """The imports of one file that point up, or to a house beside its own."""
    name = name_of(path, root)
    here = house_of(name)
    return [
        f"{name}:{line} ({here}) imports {there} ({house_of(there)})"
        for line, there in imports(path, known, root)
        if house_of(there) != here and HEIGHT[house_of(there)] >= HEIGHT[here]
    ]


def test_every_module_has_a_room_and_every_room_a_floor():
    files = modules()
    assert len(files) > 150
    assert {house_of(name) for name in files} <= set(HEIGHT)


def test_imports_point_down_only():
    files = modules()
    root = files[""].parent
    assert [w for path in files.values() for w in wrong_imports(path, root, set(files))] == []


def test_no_modules_import_each_other_in_a_circle():
    # `lazy_names` load their module when a name is asked for: the package file imports none
    assert circles(graph()) == []


def test_no_rooms_import_each_other_in_a_circle():
    rooms: dict[str, set[str]] = {}
    for name, targets in graph().items():
        here = room_of(name)
        rooms.setdefault(here, set()).update({room_of(there) for there in targets} - {here})
    assert circles(rooms) == []


def test_a_room_holds_about_fifteen_files_at_most():
    sizes: dict[str, int] = {}
    for name in modules():
        sizes[room_of(name)] = sizes.get(room_of(name), 0) + 1
    limits = {"maths": 22, "tasks": 21, "recording": 18}  # a file a quantity, a kind of learning
    assert {room: n for room, n in sizes.items() if n > limits.get(room, 16)} == {}


@pytest.mark.parametrize(
    ("file", "line", "wrong"),
    [
        ("maths/ranks.py", "from ..run import Run", True),
        ("maths/ranks.py", "from . import sigmoid", False),
        ("run.py", "from .widgets import explore", True),
        ("run.py", "def f():\n    import dg_explorer.analysis.gradients", True),
        ("recording/hooks.py", "from dg_explorer.attribution import walk", True),
        ("widgets/board/explorer.py", "from ...analysis.gradients import flags", False),
        ("figures/timeline.py", "from ..errors import RunError", False),
        ("figures/timeline.py", "from ..schema import check_group", True),
        (
            "figures/timeline.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..run import Run",
            True,
        ),
    ],
)
def test_the_reader_of_imports_sees_what_points_up(tmp_path, file, line, wrong):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(line)
    assert bool(wrong_imports(path, tmp_path, set(modules()))) is wrong


def test_a_circle_is_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]


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
