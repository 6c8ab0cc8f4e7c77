"""Alarms of the checks where all is well: ``python tests/false_alarms.py [notebooks ...]``.

Runs the notebooks, the examples and the blocks of the README, each in processes of its own, and
prints every warning and refusal of the checks that a record is held against: outputs, loss and
gradient, replay, what scores were made from, who steps the weights. There must be none; the tests
of deliberate mistakes are not run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
SOURCES = {
    "notebooks": [sys.executable, "tests/notebook_costs.py"],
    "examples": [*PYTEST, "-p", "no:nbval", "tests/test_examples.py"],
    "readme": [*PYTEST, "-p", "no:nbval", "tests/test_readme.py"],
    "demos": [*PYTEST, "-p", "no:nbval", "tests/demos"],
}


def alarms_in(command: list[str]) -> tuple[list[str], int]:
    """What was noted while a command ran, and its exit status."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "alarms"
        file.touch()
        path = [str(ROOT / "tests" / "noted_alarms"), str(ROOT), os.environ.get("PYTHONPATH", "")]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "DG_ALARMS": str(file), "PYTHONPATH": os.pathsep.join(path)},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            print(done.stdout[-2000:], done.stderr[-2000:])
        return file.read_text().splitlines(), done.returncode


def main(names: list[str]) -> int:
    total, broken = 0, 0
    for name in names or SOURCES:
        found, status = alarms_in(SOURCES[name])
        total, broken = total + len(found), broken + (status != 0)
        print(f"{name}: {len(found)} alarms{'' if status == 0 else ' (it failed)'}", flush=True)
        for line in sorted(set(found)):
            print(f"    {found.count(line)} x {line[:300]}")
    print(f"{total} alarms in all; there must be none")
    return int(total > 0 or broken > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
