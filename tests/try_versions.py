"""Try the oldest and newest supported widgets, plots and JupyterLab: a short smoke in each.

``python tests/try_versions.py [oldest middle newest]`` lays those versions over this environment,
in a folder of their own that comes first on the path, and runs `SMOKE` there. The board in a real
JupyterLab 4.4.9 is `tests/browser`'s business.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

SETS = {
    "oldest": ("anywidget==0.9.21", "plotly==6.0.0", "jupyterlab==4.4.9", "ipywidgets==8.1.7"),
    "middle": ("anywidget==0.10.0", "plotly==6.9.0", "jupyterlab==4.5.11", "ipywidgets==8.1.8"),
    "newest": ("anywidget", "plotly", "jupyterlab", "ipywidgets"),
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


def run(command: list, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return done.stdout


def try_set(versions: tuple[str, ...]) -> str:
    """The versions that passed, in one line; raises `RuntimeError` where something failed."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", folder]
        run([*pip, *versions])
        said = run([sys.executable, "-c", SMOKE], PYTHONPATH=folder)
        return said.strip().splitlines()[-1]


def main(names: list[str]) -> int:
    failed = False
    for name in names or SETS:
        try:
            print(f"{name:8} works: {try_set(SETS[name])}", flush=True)
        except RuntimeError as error:
            failed = True
            print(f"{name:8} FAILS: {error}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
