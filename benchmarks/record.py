"""What the record costs: files and milliseconds an epoch, side by side with another version.

``python -m benchmarks.record --against FOLDER`` runs the same recording with this version and with
the one in FOLDER (a git worktree of an earlier commit), by turns and in processes of their own, and
prints the medians. Without ``--against`` only this version runs. The recording: 5,000 training and
1,000 test examples, a small network, 100 epochs, gradients, a checkpoint at each epoch. The other
numbers: one row of a score matrix of 50,000 training examples, read from a run just opened; and the
opening of a run of 1,000,000 x 8.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

N_TRAIN, N_TEST, N_EPOCHS = 5_000, 1_000, 100


def recording(folder: Path, checkpoint_every: int) -> dict[str, float]:
    """Files, MB and milliseconds an epoch of one recording."""
    import torch
    import torch.nn.functional as F

    import dg_explorer as dg

    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = torch.randn(N_TRAIN, 20)
    y = (x[:, 0] > 0).long()
    test = torch.utils.data.TensorDataset(x[:N_TEST], y[:N_TEST])
    train = dg.with_ids(torch.utils.data.TensorDataset(x, y))
    model = torch.nn.Sequential(torch.nn.Linear(20, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2))
    optimizer = torch.optim.Adam(model.parameters())
    tables = {
        "train_examples": {"label": y.numpy()},
        "test_examples": {"label": y[:N_TEST].numpy()},
    }
    run = dg.Run.create(folder / "run", name="cost", **tables)
    ids, spent, busy = torch.arange(N_TRAIN), 0.0, 0.0
    recorder = dg.Recorder(
        run, model, optimizer, train=train, test=test, checkpoint_every=checkpoint_every
    )
    for epoch in range(N_EPOCHS):
        logits = model(x)
        optimizer.zero_grad()
        F.cross_entropy(logits, y).backward()
        recorder.batch(logits, y, ids)
        optimizer.step()
        began, working = time.perf_counter(), time.process_time()
        recorder.epoch(epoch)
        spent += time.perf_counter() - began
        busy += time.process_time() - working
    began, working = time.perf_counter(), time.process_time()
    recorder.close()
    spent += time.perf_counter() - began
    busy += time.process_time() - working
    files = [path for path in (folder / "run").rglob("*") if path.is_file()]
    return {
        "files": len(files),
        "MB": sum(path.stat().st_size for path in files) / 1e6,
        "ms an epoch": 1e3 * spent / N_EPOCHS,
        "of it on the processor": 1e3 * busy / N_EPOCHS,
    }


def writing(folder: Path) -> dict[str, float]:
    """Milliseconds to put an epoch's rows and checkpoint into the record, nothing else."""
    import numpy as np
    import xarray as xr

    import dg_explorer as dg

    rng = np.random.default_rng(0)
    run = dg.Run.create(
        folder / "run", name="cost", train_examples={"label": np.arange(N_TRAIN) % 2}
    )
    names = ("loss", "confidence", "margin")
    rows = []
    for epoch in range(N_EPOCHS):
        data = {n: (("epoch", "train"), rng.random((1, N_TRAIN), np.float32)) for n in names}
        data["prediction"] = (("epoch", "train"), np.zeros((1, N_TRAIN), np.int32))
        data["correct"] = (("epoch", "train"), np.zeros((1, N_TRAIN), bool))
        coords = {"epoch": [epoch], "train": np.arange(N_TRAIN)}
        total = {n: ("epoch", [0.5]) for n in ("train_loss", "test_loss", "train_accuracy")}
        rows.append((xr.Dataset(data, coords), xr.Dataset(total, {"epoch": [epoch]})))
    weights = rng.bytes(50_000)
    began, busy = time.perf_counter(), time.process_time()
    for epoch, (each, total) in enumerate(rows):
        run.append("dynamics/train", each)
        run.blobs.write(f"checkpoints/epoch_{epoch:06d}/weights.safetensors", weights)
        run.append("metrics", total)
    run.flush()
    return {
        "ms an epoch of writing": 1e3 * (time.perf_counter() - began) / N_EPOCHS,
        "of it on the processor": 1e3 * (time.process_time() - busy) / N_EPOCHS,
    }


def reading(folder: Path) -> dict[str, float]:
    """Milliseconds to open a run, and to read one row of a large score matrix."""
    import numpy as np
    import xarray as xr

    import dg_explorer as dg

    run = dg.Run.create(folder / "run", name="rows")
    score = np.random.default_rng(0).random((1, 200, 50_000), np.float32)
    coords = {"epoch": [0], "test": np.arange(200), "train": np.arange(50_000)}
    run.append("scores/trak", xr.Dataset({"score": (("epoch", "test", "train"), score)}, coords))
    run.flush()
    began = time.perf_counter()
    found = dg.Run.open(folder / "run")["scores/trak"]["score"]
    opened = time.perf_counter() - began
    times = []
    for test in range(0, 200, 4):
        row = found.isel(epoch=0, test=test)
        began = time.perf_counter()
        row.values  # noqa: B018 - reads it
        times.append(time.perf_counter() - began)
    return {"ms a row of 50,000": 1e3 * statistics.median(times), "ms to open it": 1e3 * opened}


def once() -> dict[str, float]:
    """All numbers of the version that is imported here."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for name, measured in (
            ("with checkpoints: ", lambda at: recording(at, 1)),
            ("without: ", lambda at: recording(at, 0)),
            ("", writing),
            ("", reading),
        ):
            at = place / f"{len(found)}"
            at.mkdir()
            found |= {name + key: value for key, value in measured(at).items()}
    return found


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--against", type=Path, help="the folder of another version")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.once:
        print(json.dumps(once()))
        return
    here = Path(__file__).parents[1]
    trees = {"this": here} | ({"other": asked.against.resolve()} if asked.against else {})
    found: dict[str, list[dict]] = {name: [] for name in trees}
    for _ in range(asked.times):
        for name, tree in trees.items():  # by turns, so that a busy machine is busy for both
            environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
            done = subprocess.run(
                [sys.executable, __file__, "--once"],
                env=environment,
                cwd=tempfile.gettempdir(),
                capture_output=True,
                text=True,
                check=True,
            )
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
    print(f"{'':42}" + "".join(f"{name:>12}" for name in trees))
    for key in found["this"][0]:
        middle = [statistics.median(each[key] for each in found[name]) for name in trees]
        ratio = f"{middle[0] / middle[1]:>10.2f} x" if len(middle) > 1 else ""
        print(f"{key:42}" + "".join(f"{value:>12.2f}" for value in middle) + ratio)


if __name__ == "__main__":
    main()
