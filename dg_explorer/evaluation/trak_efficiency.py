"""How long TRAK takes on a model, by size of the data and width of the projection."""

from __future__ import annotations

import time

import torch

from ..attribution.attributor.dummy_data import create_dummy_loader
from ..attribution.methods.trak import TRAKAttributor
from ..tasks import ClassificationTask


def benchmark_trak_efficiency(
    model,
    train_sizes=(1000, 5000, 10000),
    test_sizes=(100, 500, 1000),
    proj_dims=(128, 256, 512, 1024),
    device=None,
    *,
    shape=(3, 32, 32),
    n_classes: int = 10,
    batch_size: int = 32,
    verbose: bool = True,
    **settings,
) -> list[dict]:
    """Time features and scores on random examples.

    Features are computed once for each size and width. Times are single measurements in seconds:
    compare them with each other and with `floor_time`, not with another machine's.

    Parameters
    ----------
    model : torch module
        Taking inputs of `shape` to `n_classes` logits.
    proj_dims : sequence of int or None
        None for exact scores.
    device : optional
        By default CUDA where there is one.
    **settings
        Of `TRAKAttributor`.

    Returns
    -------
    list of dict
        One for each combination: `train_size`, `test_size`, `proj_dim`, `train_time`,
        `test_time`, `attribution_time`, `total_time`; `floor_time`, of one plain forward and
        backward pass over the same examples; `memory_used`, peak GB on a CUDA device, else None.
    """
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    data = {"shape": shape, "n_classes": n_classes, "batch_size": batch_size}
    train = {size: create_dummy_loader(size, **data, seed=0) for size in train_sizes}
    test = {size: create_dummy_loader(size, **data, seed=1) for size in test_sizes}
    results = []
    for proj_dim in proj_dims:
        attributor = TRAKAttributor(model, proj_dim=proj_dim, device=device, **settings)
        queries = {}
        for size, loader in test.items():
            queries[size] = _timed(device, attributor.compute_test_features, loader)
        floors = {size: floor_time(model, loader, device) for size, loader in test.items()}
        for train_size, loader in train.items():
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            features, train_time = _timed(device, attributor.compute_train_features, loader)
            floor = floor_time(model, loader, device)
            for test_size, (targets, test_time) in queries.items():
                _, score_time = _timed(device, attributor.compute_attributions, features, targets)
                row = {
                    "train_size": train_size,
                    "test_size": test_size,
                    "proj_dim": proj_dim,
                    "train_time": train_time,
                    "test_time": test_time,
                    "attribution_time": score_time,
                    "total_time": train_time + test_time + score_time,
                    "floor_time": floor + floors[test_size],
                    "memory_used": None,
                }
                if device.type == "cuda":
                    row["memory_used"] = torch.cuda.max_memory_allocated(device) / 1e9
                results.append(row)
                if verbose:
                    print(_line(row))
    return results


def floor_time(model, loader, device) -> float:
    """Seconds of one forward and backward pass over a loader's examples."""
    task = ClassificationTask()

    def run():
        for x, y in loader:
            batch = (x.to(device), y.to(device))
            loss = task.loss(task.predict(model, batch), batch).sum()
            torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad])

    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        return _timed(device, run)[1]
    finally:
        for module, mode in modes.items():
            module.training = mode


def _timed(device, work, *args):
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    found = work(*args)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return found, time.perf_counter() - start


def _line(row) -> str:
    return (
        f"train={row['train_size']}, test={row['test_size']}, proj_dim={row['proj_dim']}: "
        f"{row['total_time']:.2f} s ({row['total_time'] / row['floor_time']:.1f} x one pass)"
    )
