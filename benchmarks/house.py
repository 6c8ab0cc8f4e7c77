"""How far one must walk to follow the code: ``python -m benchmarks.house [--seconds]``.

Counts the files of the package that run when an epoch is closed, when TRAK scores a run's next
checkpoint, and when an example is clicked; what only runs while modules load is not counted.
``--seconds`` adds the time to import the package and to open a board, medians of ten processes.
To compare two checkouts, run this file with each of them first on PYTHONPATH.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

import dg_explorer as dg

PACKAGE = Path(dg.__file__).parent


def walked(action: Callable[[], object]) -> list[str]:
    """The package's files in which some function ran, relative to the package."""
    seen: set[str] = set()

    def note(frame, event, _argument) -> None:
        if event == "call" and frame.f_code.co_name != "<module>":
            seen.add(frame.f_code.co_filename)

    sys.setprofile(note)
    try:
        action()
    finally:
        sys.setprofile(None)
    inside = (Path(file) for file in seen if file.startswith(str(PACKAGE)))
    return sorted(str(path.relative_to(PACKAGE)) for path in inside)


def walks() -> dict[str, list[str]]:
    """What runs on the three main paths of a small recorded training."""
    torch.manual_seed(0)
    x = torch.randn(24, 6)
    y = x[:, :3].argmax(1)
    data = torch.utils.data.TensorDataset(x, y)
    run = dg.Run.create(
        Path(tempfile.mkdtemp()) / "run",
        name="walk",
        train_examples={"label": y.numpy()},
        test_examples={"label": y.numpy()},
    )
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    out = {}
    with dg.Recorder(run, model, optimizer, train=dg.with_ids(data), test=data) as recorder:
        for epoch in range(3):
            logits = model(x)
            optimizer.zero_grad()
            nn.functional.cross_entropy(logits, y).backward()
            recorder.batch(logits, y, np.arange(24))
            optimizer.step()
            out["an epoch's close"] = walked(lambda e=epoch: recorder.epoch(e))
    for epoch in (0, 1):
        out["a TRAK call"] = walked(
            lambda e=epoch: dg.attribute(
                run, model, dg.with_ids(data), data, epochs=[e], name=f"trak {e}", progress=False
            )
        )
    board = dg.explore(run)
    for test in (1, 2):
        key = f"scores/trak 1/{test}"
        asked = {"kind": "get", "key": key}
        out["a click"] = walked(lambda a=asked: board._handle_custom_msg(a, []))
    return out


def seconds(code: str, times: int = 10) -> float:
    """Median wall time of a fresh interpreter that runs some code."""
    took = []
    for _ in range(times):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        took.append(time.perf_counter() - start)
    return statistics.median(took)


def main() -> None:
    """Print the counts, with the files of each walk."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", action="store_true", help="also time import and first picture")
    asked = parser.parse_args()
    print(f"package: {PACKAGE.name}, {len(list(PACKAGE.rglob('*.py')))} files")
    for name, files in walks().items():
        print(f"{name}: {len(files)} files: {', '.join(files)}")
    if asked.seconds:
        board = "import dg_explorer as dg; from dg_explorer.testing import tiny_run; "
        print(f"import dg_explorer: {seconds('import dg_explorer'):.3f} s")
        print(f"first picture: {seconds(board + 'dg.explore(tiny_run())'):.3f} s")


if __name__ == "__main__":
    main()
