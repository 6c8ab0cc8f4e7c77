"""JupyterLab as Binder's base image pins it: `python old_lab.py` makes it, if it is not there.

Only JupyterLab itself is older, laid over the environment the tests run in: its server, and what
its pages load. The rest of the server, the widgets' front ends and the kernels are the
environment's, which is what somebody has who works in a shared JupyterLab.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from jupyter_core.paths import jupyter_path

ROOT = Path(__file__).parents[2]
# what jupyter-repo2docker installs with Python 3.11
PIN = "jupyterlab==4.4.9"
FOLDER = ROOT / ".lab-4.4.9"
# extensions that work in it: Notebook's own is made for the newest
FRONT_ENDS = ("@jupyter-widgets", "anywidget")


def old_lab() -> tuple[dict[str, str], list[str]]:
    """The variables and the options to start that JupyterLab with.

    Raises
    ------
    subprocess.CalledProcessError
        It could not be installed.
    """
    if not (FOLDER / "done").exists():
        shutil.rmtree(FOLDER, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-compile"]
        subprocess.run([*pip, "--target", FOLDER, PIN], check=True)
        for name in FRONT_ENDS:
            found = next(
                path for path in jupyter_path("labextensions", name) if Path(path).exists()
            )
            (FOLDER / "labextensions").mkdir(exist_ok=True)
            (FOLDER / "labextensions" / name).symlink_to(found)
        (FOLDER / "done").touch()
    path = os.pathsep.join([str(FOLDER), str(ROOT)])
    variables = {"PYTHONPATH": path, "JUPYTERLAB_DIR": str(FOLDER / "share/jupyter/lab")}
    return variables, [f"--LabApp.labextensions_path={FOLDER / 'labextensions'}"]


if __name__ == "__main__":
    print(old_lab())
