"""What exact influence through training costs, as multiples of one training.

``python -m benchmarks.unrolled_cost [--steps 1000] [--queries 1 32]``
"""

from __future__ import annotations

import argparse
import time
from itertools import product
from pathlib import Path

import torch

from dg_explorer.attribution.unrolled.attributor import UnrolledAttributor
from dg_explorer.demos.modular_addition import modular_addition


def seconds_of_training(training) -> float:
    """CPU seconds of training with torch's own optimizer, without recording anything."""
    model = training.model(training.seed)
    settings = training.optimizer
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=settings.lr_at(0, 1),
        betas=settings.betas,
        eps=settings.eps,
        weight_decay=settings.weight_decay,
    )
    start = time.process_time()
    for _ in range(training.n_epochs):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(training.inputs), training.labels).backward()
        optimizer.step()
    return time.process_time() - start


def memory_in_use(*, peak: bool = False) -> int:
    """Bytes of this process now, or at most since `forget_peak` (Linux)."""
    wanted = "VmHWM:" if peak else "VmRSS:"
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(wanted))


def forget_peak() -> None:
    """Begin anew to note the most memory in use."""
    Path("/proc/self/clear_refs").write_text("5")


def main() -> None:
    """Print CPU seconds, multiples of one training, and peak memory over the model and data."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--queries", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--memory", type=float, nargs="+", default=[300, 1200], help="MB")
    parser.add_argument("--dtypes", nargs="+", default=["float32"])
    settings = parser.parse_args()
    torch.set_num_threads(1)
    training = modular_addition("smooth", n_steps=settings.steps)
    # A first run pays for what torch loads on first use.
    UnrolledAttributor(modular_addition("smooth", n_steps=60)).attribute(training.test_ids[:1])
    one = min(seconds_of_training(training) for _ in range(2))
    print(f"one training of {settings.steps} steps: {one:.2f} CPU s, one thread")
    for dtype, memory, n_queries in product(settings.dtypes, settings.memory, settings.queries):
        attributor = UnrolledAttributor(
            training, dtype=getattr(torch, dtype), memory=int(memory * 1e6)
        )
        plan = attributor.plan(n_queries)
        states = "all states" if plan.segment_length == 1 else "sqrt(T) states"
        forget_peak()
        before, start = memory_in_use(), time.process_time()
        attributor.attribute(training.test_ids[:n_queries])
        seconds = time.process_time() - start
        peak = memory_in_use(peak=True) - before
        print(
            f"{dtype}, memory={memory:.0f} MB ({states}, {plan.queries_at_once} at once), "
            f"{n_queries:3d} queries: {seconds:.1f} CPU s = {seconds / one:.1f} x training, "
            f"peak {peak / 1e6:.0f} MB over the start ({plan.total / 1e6:.0f} planned)",
            flush=True,
        )


if __name__ == "__main__":
    main()
