"""What a recorded training takes on the disk, part by part.

``python -m benchmarks.record_size`` trains a transformer of one layer (213,000 parameters) on
modular addition in full batches: 1,740 training and 500 test examples, a layer of 512 units, 81
recorded moments, everything that a replay needs; then it prints the MB of each part. How often it
steps between two moments (``--steps``) hardly changes the sizes.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path

import torch
import torch.nn.functional as F

import dg_explorer as dg
from dg_explorer.checkpoints.store import load_weights

from .models import GrokkingTransformer

P = 59
N_TRAIN, N_TEST, MOMENTS = 1_740, 500, 81


def record(path: Path, steps: int, precision: str) -> dg.Run:
    """Train and record; a moment every so many steps."""
    torch.manual_seed(0)
    pairs = torch.cartesian_prod(torch.arange(P), torch.arange(P))
    inputs = torch.cat([pairs, torch.full((P * P, 1), P)], 1)
    labels = pairs.sum(1) % P
    order = torch.randperm(P * P)
    train, test = order[:N_TRAIN], order[N_TRAIN : N_TRAIN + N_TEST]
    data = [
        dg.with_ids(torch.utils.data.TensorDataset(inputs[part], labels[part]), part.numpy())
        for part in (train, test)
    ]
    model = GrokkingTransformer(P)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, betas=(0.9, 0.98), weight_decay=1.0)
    run = dg.Run.create(
        path,
        name="one layer",
        train_examples={"train": train.numpy(), "label": labels[train].numpy()},
        test_examples={"test": test.numpy(), "label": labels[test].numpy()},
        time_unit="step",
    )
    settings = {"train": data[0], "test": data[1], "layers": ["rise"], "replay": True}
    settings["feature_precision"] = precision
    with dg.Recorder(run, model, optimizer, **settings) as recorder:
        for step in range((MOMENTS - 1) * steps + 1):
            logits = model(inputs[train])
            recorder.batch(logits, labels[train], train)
            if step % steps == 0:
                recorder.epoch(step)
            optimizer.zero_grad()
            F.cross_entropy(logits, labels[train]).backward()
            optimizer.step()
    return run


def parts(run: dg.Run) -> Counter:
    """Bytes of each group, and of each kind of checkpoint file."""
    state, found = run._state(), Counter()
    for name, group in state.groups.items():
        found[name] = sum(piece.nbytes for piece in group.pieces())
    for name, piece in state.blobs.items():
        found[f"checkpoints: {name.rpartition('/')[2]}"] += piece.nbytes
    return found


def main() -> None:
    """Record in a temporary folder, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--steps", type=int, default=3, help="steps from one moment to the next")
    parser.add_argument("--precision", default="single", help="of the layer: single or half")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = record(Path(folder) / "run", asked.steps, asked.precision)
        parameters = sum(weight.numel() for weight in load_weights(run, 0).values())
        print(f"{parameters:,.0f} parameters, {MOMENTS} moments")
        for name, size in parts(run).most_common(12):
            print(f"{name:36s}{size / 1e6:9.1f} MB")
        files = [path for path in (Path(folder) / "run").rglob("*") if path.is_file()]
        total = sum(path.stat().st_size for path in files)
        print(f"{f'all, in {len(files)} files':36s}{total / 1e6:9.1f} MB")


if __name__ == "__main__":
    main()
