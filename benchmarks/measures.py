"""What the attribution benchmark measures: time as a ratio, memory at its peak, fidelity."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset

from dg_explorer.attribution.gradients.capture import capture_of
from dg_explorer.attribution.solve.damping import absolute_damping, damped_solve


def timed(work):
    """(what the work returns, seconds of processor time it took)."""
    start = time.process_time()
    found = work()
    return found, time.process_time() - start


def one_pass(model, task, data, batch_size: int, precision=None):
    """The floor: a function that does one forward and backward pass over a dataset."""

    def run():
        for batch in DataLoader(data, batch_size):
            with torch.autocast("cpu", precision or torch.bfloat16, enabled=precision is not None):
                prediction = task.predict(model, batch)
            loss = task.loss(prediction.float(), batch).sum()
            torch.autograd.grad(loss, list(model.parameters()))

    return run


def against(floor, work, repeats: int = 3) -> tuple[float, float]:
    """Seconds of the work over seconds of the floor, and the floor's seconds.

    Both are done in turn, so that whatever else the machine does slows both down, and the
    quickest of each counts. Each is done once before, for what is only made once.
    """
    floor(), work()
    both = [(timed(floor)[1], timed(work)[1]) for _ in range(repeats)]
    base, seconds = (min(times) for times in zip(*both, strict=True))
    return seconds / base, base


def peak_over(work) -> float:
    """MB of memory at its peak while working, over what there was before (Linux)."""
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")

    def now(field):
        line = next(x for x in status.read_text().splitlines() if x.startswith(field))
        return int(line.split()[1]) / 1024

    try:
        clear.write_text("5")
    except OSError:
        work()
        return float("nan")
    before = now("VmRSS")
    work()
    return now("VmHWM") - before


def part(data, index) -> TensorDataset:
    return TensorDataset(*(t[index] for t in data.tensors))


def attached(model, task, data):
    """A capture of the model: made and checked once, and not part of what is timed."""
    return capture_of(model, task, tuple(t[:4] for t in data.tensors))


def sketch(capture, data, projection, batch_size: int) -> torch.Tensor:
    """Features of a dataset, without any of the attributor's bookkeeping."""
    loader = DataLoader(data, batch_size)
    return torch.cat([projection(capture(batch).factors[0]) for batch in loader])


def row_correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    """Mean over rows of the Pearson correlation."""
    a, b = (x - x.mean(1, keepdim=True) for x in (a.double(), b.double()))
    return float(((a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))).mean())


def fidelity(z: torch.Tensor, kernel: torch.Tensor, n_train: int, relative: float) -> float:
    """Row correlation of a sketch's scores with exact ones; the first `n_train` are trained on."""
    scores = []
    for k in ((z @ z.T).double(), kernel):
        train = k[:n_train, :n_train]
        added = absolute_damping(train, relative)
        scores.append(damped_solve(train, k[n_train:, :n_train], added))
    return row_correlation(*scores)


def exact_kernel(capture, data, size) -> torch.Tensor:
    """Kernel of a dataset whose gradients do not fit into memory together, by blocks."""
    blocks = list(DataLoader(data, size))
    out = torch.zeros(len(data), len(data), dtype=torch.float64)
    for i, left in enumerate(blocks):
        a = [f.flat() for f in capture(left).factors[0]]
        for j in range(i + 1):
            b = a if i == j else [f.flat() for f in capture(blocks[j]).factors[0]]
            tile = sum((x @ y.T).double() for x, y in zip(a, b))
            out[i * size : i * size + len(tile), j * size : j * size + tile.shape[1]] = tile
    return out.tril() + out.tril(-1).T
