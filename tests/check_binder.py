"""Build what Binder would, without docker: ``python tests/check_binder.py [--keep FOLDER]``.

repo2docker reads the configuration and says its steps; these are then taken in a clone, in a new
virtual environment; last, the quickstart runs there and its peak memory is measured.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]


def build_pack(folder: Path):
    """The repo2docker build pack that recognises a repository."""
    from repo2docker.app import Repo2Docker

    app, here = Repo2Docker(), Path.cwd()
    os.chdir(folder)
    try:
        packs = (pack(app.base_image) for pack in app.buildpacks)
        pack = next(pack for pack in packs if pack.detect())
        # what it reads is relative to the folder, so read it here
        pack.steps = [script for _, script in pack.get_assemble_scripts()]
        pack.steps += pack.get_post_build_scripts()
        pack.python = pack.python_version
        return pack
    finally:
        os.chdir(here)


def take(command: str, folder: Path, home: Path) -> None:
    """Run one step of the image's build as the image would, with the environment first on PATH."""
    path = f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "KERNEL_PYTHON_PREFIX": str(home)}
    environment.setdefault("PIP_RETRIES", "0")  # where torch's own index cannot be reached
    subprocess.run(["bash", "-c", command], cwd=folder, env=environment, check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", type=Path, help="keep clone and environment in this new folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        home = (options.keep or Path(scratch)).resolve()
        clone = home / "repository"
        subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)
        pack = build_pack(clone)
        print(f"{type(pack).__name__}, Python {pack.python}, {pack.base_image}", flush=True)
        venv.create(home / "venv", with_pip=True)
        for step in pack.steps:
            print(f"$ {step}", flush=True)
            take(step, clone, home / "venv")
        take("python tests/notebook_costs.py 01_quickstart", clone, home / "venv")
        made = ["demo/demo.ipynb", "demo/board.html", "demo/run"]
        missing = [name for name in made if not (clone / name).exists()]
        print(f"missing: {', '.join(missing)}" if missing else f"made: {', '.join(made)}")
    return bool(missing)


if __name__ == "__main__":
    sys.exit(main())
