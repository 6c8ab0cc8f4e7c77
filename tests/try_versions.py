"""Try the oldest and newest supported widgets, plots and JupyterLab: a short smoke in each.

``python tests/try_versions.py [oldest middle newest] [--keep FOLDER]`` makes a virtual
environment a set, installs the package with those versions, and runs `SMOKE` there.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
# torch is pinned as tested: other builds are gigabytes, and nothing here depends on it
SETS = {
    "oldest": ("anywidget==0.9.21", "plotly==6.0.0", "jupyterlab==4.4.9", "ipywidgets==8.1.7"),
    "middle": ("anywidget==0.10.0", "plotly==6.9.0", "jupyterlab==4.5.11", "ipywidgets==8.1.8"),
    "newest": ("anywidget>=0.11", "plotly>=7", "jupyterlab>=4.6", "ipywidgets>=8.1.9"),
}
SMOKE = """
import json, pathlib, tempfile
from importlib.metadata import version
import dg_explorer as dg
from dg_explorer.testing import tiny_run

run = tiny_run()
explorer = dg.explore(run)
explorer.selection.epoch = 20
assert explorer.selection.epoch == 20
assert len(explorer.top_influencers())
views = ["InfluenceExplorer", "FeatureEvolution", "MemorizationTimeline", "DynamicsMap"]
for name in views:
    figure = getattr(dg, name)(run).to_plotly()
    assert json.loads(figure.to_json())["data"], name
    figure.to_html(include_plotlyjs=False)
explorer.to_plotly().to_html(include_plotlyjs=False)
with tempfile.TemporaryDirectory() as folder:
    page = explorer.to_html(pathlib.Path(folder) / "board.html")
    assert page.stat().st_size > 100_000
names = ("anywidget", "plotly", "jupyterlab", "ipywidgets", "ipykernel")
print(", ".join(f"{name} {version(name)}" for name in names))
"""
# the extension that draws the widget must be one that this JupyterLab loads
LAB = ("-m", "jupyter", "labextension", "list")


def run(*command) -> str:
    done = subprocess.run([str(c) for c in command], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command[:6]))} failed:\n{done.stderr[-3000:]}")
    return done.stdout + done.stderr


def pinned(package: str) -> str:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return next(line for line in lines if line.startswith(f"{package}=="))


def try_set(name: str, folder: Path) -> str:
    """Versions that passed, in one line; raises where something failed."""
    home = folder / name
    python = home / "bin" / "python"
    if not python.exists():
        venv.create(home, with_pip=True)
        run(python, "-m", "pip", "install", "-q", ROOT, *SETS[name], pinned("torch"))
    versions = run(python, "-c", SMOKE).strip().splitlines()[-1]
    extensions = run(python, *LAB)
    for wanted in ("anywidget", "@jupyter-widgets/jupyterlab-manager"):
        (line,) = (x for x in extensions.splitlines() if x.strip().startswith(wanted))
        if "enabled" not in line or "OK" not in line:
            raise RuntimeError(f"JupyterLab does not load {wanted}: {line}")
    return versions


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", default=list(SETS), help=", ".join(SETS))
    parser.add_argument("--keep", type=Path, help="keep the environments here, and reuse them")
    options = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        for name in options.sets:
            try:
                print(f"{name:8} works: {try_set(name, folder)}", flush=True)
            except (RuntimeError, ValueError) as error:
                failed = True
                print(f"{name:8} FAILS: {error}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
