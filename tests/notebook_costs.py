"""What each notebook costs to run: ``python tests/notebook_costs.py [01_quickstart ...]``.

Prints seconds, processor seconds and the kernel's peak memory (Linux), and the file's size; fails
above the levels: 300 processor seconds for all together, 1,000 MB for the quickstart, which Binder
must hold, 500 kB for a file.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
ALL_SECONDS, QUICKSTART_MB, FILE_KB = 300, 1000, 500


def costs(path: Path) -> dict[str, float]:
    """Run a notebook from top to bottom in a kernel of its own and read what it took."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": folder}}
        )
        started = time.monotonic()
        with client.setup_kernel():
            for index, cell in enumerate(notebook.cells):
                client.execute_cell(cell, index)
            seconds = time.monotonic() - started
            process = Path("/proc") / str(client.km.provisioner.pid)
            ticks = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
            status = (process / "status").read_text().splitlines()
            peak = next(line for line in status if line.startswith("VmHWM"))
    return {
        "seconds": seconds,
        "cpu": sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"),
        "peak_mb": int(peak.split()[1]) / 1024,
        "kb": path.stat().st_size / 1024,
    }


def main(names: list[str]) -> int:
    paths = [p for p in sorted(NOTEBOOKS.glob("*.ipynb")) if not names or p.stem in names]
    print(f"{'notebook':34}{'seconds':>9}{'CPU s':>7}{'peak MB':>9}{'kB':>5}")
    failures, total = [], {"seconds": 0.0, "cpu": 0.0}
    for path in paths:
        found = costs(path)
        print(
            f"{path.stem:34}{found['seconds']:9.1f}{found['cpu']:7.1f}"
            f"{found['peak_mb']:9.0f}{found['kb']:5.0f}",
            flush=True,
        )
        for key in total:
            total[key] += found[key]
        if found["kb"] > FILE_KB:
            failures.append(f"{path.name} is larger than {FILE_KB} kB")
        if path.stem == "01_quickstart" and found["peak_mb"] > QUICKSTART_MB:
            failures.append(f"{path.name} takes more than {QUICKSTART_MB} MB")
    print(f"{'all':34}{total['seconds']:9.1f}{total['cpu']:7.1f}")
    if total["cpu"] > ALL_SECONDS:
        failures.append(f"together they take more than {ALL_SECONDS} processor seconds")
    for failure in failures:
        print(failure)
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
