"""The test command: `python3 tests/run.py`. It installs what the tests need and runs them.

It runs the first ring: every test, and of each large matrix (model families, kills, mutations) a
few cases, drawn by a seed that is printed. `python3 tests/run.py --all` runs the second ring too:
all cases, and the notebooks as other processors would run them.

Outside a virtual environment it makes `.venv` here and works in that. A browser is taken from the
PATH, else installed with apt, else with playwright; Node from the PATH or with apt; without them
it stops with a sentence. Options are handed to pytest: `python3 tests/run.py -k notebook`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def say(sentence: str) -> None:
    print(f"[tests] {sentence}", flush=True)


def run(*command: str | Path, check: bool = True) -> int:
    result = subprocess.run([str(part) for part in command], cwd=ROOT)
    if check and result.returncode:
        sys.exit(
            f"[tests] This failed with code {result.returncode}: {' '.join(map(str, command))}"
        )
    return result.returncode


def with_apt(*packages: str) -> bool:
    """Install Debian packages if this machine and this user can; whether it worked."""
    if not shutil.which("apt-get"):
        return False
    # -n: a machine that would ask for a password is one where apt cannot be used
    root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if root and not shutil.which("sudo"):
        return False
    environment = ["env", "DEBIAN_FRONTEND=noninteractive"]
    run(*root, *environment, "apt-get", "update", "-q", check=False)
    install = ["apt-get", "install", "-q", "-y", "--no-install-recommends", *packages]
    return run(*root, *environment, *install, check=False) == 0


def environment_python() -> Path:
    """The interpreter of the virtual environment to test in, made if there is none."""
    if sys.prefix != sys.base_prefix:
        return Path(sys.executable)
    folder = ROOT / ".venv"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists() or run(python, "-m", "pip", "--version", check=False):
        say(f"making a virtual environment in {folder.name}")
        shutil.rmtree(folder, ignore_errors=True)
        make = [sys.executable, "-m", "venv", folder]
        # Debian ships python3 without the module that fills a virtual environment
        if run(*make, check=False) and not (with_apt("python3-venv") and not run(*make)):
            sys.exit("[tests] Python's venv module does not work here; install python3-venv.")
    return python


def browser(python: Path) -> str:
    """The Chromium the browser tests will use, installed if there is none."""
    look = [
        python,
        "-c",
        "from dg_explorer.widgets.export.browsers import find_browser as f; print(f() or '')",
    ]

    def find() -> str:
        return subprocess.check_output([str(part) for part in look], cwd=ROOT, text=True).strip()

    if not find():
        say("no Chromium or Chrome on the PATH; installing one")
        if not (with_apt("chromium") and find()):
            run(python, "-m", "playwright", "install", "--with-deps", "chromium", check=False)
    return find() or sys.exit(
        "[tests] The browser tests need Chromium or Chrome: none is on the PATH, and neither "
        "apt-get nor playwright could install one. Install it, or name it in $CHROMIUM."
    )


def main(options: list[str]) -> int:
    whole = "--all" in options
    options = [option for option in options if option != "--all"]
    started = time.monotonic()
    python = environment_python()
    say("installing the package and what its tests need")
    run(python, "-m", "pip", "install", "-q", "-c", "constraints.txt", "-e", ".[test]")
    say(f"browser: {browser(python)}")
    if not shutil.which("npm") and not (with_apt("nodejs", "npm") and shutil.which("npm")):
        sys.exit(
            "[tests] The front end's tests need Node 18 or newer with npm: neither is on the PATH, "
            "and apt-get could not install them. Install Node from nodejs.org."
        )
    say(f"set up in {time.monotonic() - started:.0f} s")
    # One thread a worker, so that two workers on two cores do not slow each other down.
    os.environ.update(OMP_NUM_THREADS="1", JUPYTER_PREFER_ENV_PATH="1")
    workers = min(os.cpu_count() or 1, 4)
    code = run(
        *(python, "-m", "pytest", "--durations=15"),
        *(["--all-rings"] if whole else []),
        *(f"--numprocesses={workers}", "--dist=loadfile"),
        *("--nbval", "--nbval-current-env", "--nbval-sanitize-with=tests/nbval_sanitize.cfg"),
        "--notebooks-in-browser",
        *("tests", "notebooks", *options),
        check=False,
    )
    if whole and not code:
        code = run(python, "tests/processors.py", check=False)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
