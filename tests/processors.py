"""Is what is printed the same on every processor? `python tests/processors.py [name ...]`.

Runs the notebooks, compared strictly, and the tests that compare numbers, on this processor made
to work as others do: with the vector instructions of old x86 processors, with those of AVX2 and
with all of its own; with one thread and with two; and with starting weights moved by 1e-7 of
themselves, which no processor's rounding exceeds in float64. Prints a line for each combination,
with the cells and tests that differ, and ends with 1 if any did.

    python tests/processors.py 04 05 --on moved          # combinations whose name holds "moved"
    python tests/processors.py tests/demos --verbose     # with pytest's account of what differs
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# the rest of the suite reads no number that a training or a matrix product gave
WITH_NUMBERS = [
    *("analysis", "attribution", "data", "demos", "evaluation", "golden", "maths", "recording"),
    *("tasks", "training", "test_checkpoint_formats.py", "test_examples.py"),
]


def numpy_instructions() -> list[str]:
    """The instruction sets that NumPy would use here beyond those it was built to need."""
    import numpy

    return numpy.show_config(mode="dicts")["SIMD Extensions"]["found"]


def processors() -> dict[str, dict[str, str]]:
    """Environment variables under which torch and NumPy work as on other processors.

    ATEN is torch's own loops, MKL and ONEDNN its matrix products, OPENBLAS those of NumPy and
    SciPy, NPY NumPy's own loops. Each is read when its library loads; without AVX-512 or AVX2 to
    leave out they change nothing.
    """
    found = numpy_instructions()
    avx512 = [name for name in found if "512" in name or name == "X86_V4"]
    return {
        "default": {
            "ATEN_CPU_CAPABILITY": "default",
            "MKL_CBWR": "COMPATIBLE",
            "ONEDNN_MAX_CPU_ISA": "SSE41",
            "OPENBLAS_CORETYPE": "Nehalem",
            "NPY_DISABLE_CPU_FEATURES": " ".join(found),
        },
        "avx2": {
            "ATEN_CPU_CAPABILITY": "avx2",
            "MKL_ENABLE_INSTRUCTIONS": "AVX2",
            "ONEDNN_MAX_CPU_ISA": "AVX2",
            "OPENBLAS_CORETYPE": "Zen",
            "NPY_DISABLE_CPU_FEATURES": " ".join(avx512),
        },
        "own": {},
    }


def combinations() -> dict[str, dict[str, str]]:
    """Every processor by one and two threads by both starts, as "avx2, 2 threads, moved"."""
    found = {}
    for (name, variables), threads, start in product(
        processors().items(), ("1 thread", "2 threads"), ("as drawn", "moved")
    ):
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        environment = variables | dict.fromkeys(names, threads[0])
        if start == "moved":  # another direction in each combination
            environment["MOVED_WEIGHTS"] = str(len(found))
        found[f"{name}, {threads}, {start}"] = environment
    return found


def differing(what: list[Path], environment: dict[str, str], verbose: bool) -> list[str]:
    """The cells and tests that fail in such an environment, by pytest's names."""
    paths = [str(TESTS / "moved_weights"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    # pytest knows the option of tests/conftest.py only where it is asked for tests
    seed = [] if all(path.suffix == ".ipynb" for path in what) else ["--ring-seed=0"]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-rfE", "-p", "no:cacheprovider"),
            *("--nbval", "--nbval-current-env", "--nbval-cell-timeout=1200"),
            f"--nbval-sanitize-with={TESTS / 'nbval_sanitize.cfg'}",
            *seed,
            *map(str, what),
        ],
        cwd=ROOT,
        env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if verbose and done.returncode:
        print(done.stdout)
    failed = re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", done.stdout, re.MULTILINE)
    if done.returncode and not failed:
        sys.exit(f"pytest did not run:\n{done.stdout[-3000:]}")
    return failed


def named(names: list[str]) -> list[list[Path]]:
    """What is run together: each notebook for itself, then all tests; by name if names are given.

    A name is the beginning of a notebook's name, or a path to tests.
    """
    if not names:
        return [*([path] for path in NOTEBOOKS), [TESTS / name for name in WITH_NUMBERS]]
    groups = []
    for name in names:
        notebooks = [path for path in NOTEBOOKS if path.name.startswith(name)]
        if not notebooks and not Path(name).exists():
            sys.exit(f"No notebook begins with {name!r}, and it is no path to tests.")
        groups += [[path] for path in notebooks] or [[Path(name).resolve()]]
    return groups


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="name", help="a notebook, or tests")
    parser.add_argument("--on", default="", help="only combinations whose name holds this")
    parser.add_argument("--verbose", action="store_true", help="print what differs in full")
    chosen = parser.parse_args(arguments)
    groups = named(chosen.names)
    environments = {name: env for name, env in combinations().items() if chosen.on in name}
    if not environments:
        parser.error(f"no combination holds {chosen.on!r}; there are {'; '.join(combinations())}")
    failures = 0
    for name, environment in environments.items():
        began = time.monotonic()
        differ = [
            cell for group in groups for cell in differing(group, environment, chosen.verbose)
        ]
        failures += len(differ)
        took = time.monotonic() - began
        print(f"{name:28} {took:5.0f} s  {'; '.join(differ) or 'equal'}", flush=True)
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
