"""JupyterLab as Binder's base image pins it, in an environment of its own: `python old_lab.py`.

Only the server is older. Kernels are those of the environment the tests run in, which is what
somebody has who works in a shared JupyterLab. Made once, in the repository's folder, by the first
test that needs it.
"""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".venv-lab-4.4.9"
# what jupyter-repo2docker installs with Python 3.11
PINS = ("jupyterlab==4.4.9", "notebook==7.4.7", "ipywidgets==8.1.7")


def packages() -> list[str]:
    """What goes into the environment: the pins, and the front end of the kernel's anywidget."""
    # a server's anywidget shows the widgets of kernels with the same major and minor version only
    return [*PINS, f"anywidget=={importlib.metadata.version('anywidget')}"]


def old_lab() -> tuple[Path, dict[str, str]]:
    """The interpreter to start that JupyterLab with, and the variables it needs.

    Raises
    ------
    subprocess.CalledProcessError
        The environment could not be made.
    """
    python, stamp = FOLDER / "bin/python", FOLDER / "packages.json"
    wanted = json.dumps(packages())
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(FOLDER, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", FOLDER], check=True)
        pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q"]
        subprocess.run([*map(str, pip), *packages()], check=True)
        stamp.write_text(wanted)
    kernels = FOLDER / "tested"
    spec = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
    }
    (kernels / "kernels/python3").mkdir(parents=True, exist_ok=True)
    (kernels / "kernels/python3/kernel.json").write_text(json.dumps(spec))
    # JUPYTER_PATH comes before the environment's own kernel; the package brings `nodelay`
    return python, {"JUPYTER_PATH": str(kernels), "PYTHONPATH": str(ROOT)}


if __name__ == "__main__":
    print(old_lab()[0])
