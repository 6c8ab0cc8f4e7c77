"""What recording costs, as a share of a training step: `python -m benchmarks.recording`.

The CPU time spent inside the recorder, while a model trains on one thread, over the CPU time of
everything else in the loop. It holds all that recording does in and between the steps: keeping and
reducing logits, sampling gradients, and writing an epoch's rows (50,000 examples) to disk. What is
done once an epoch and as often as asked for comes on top: a checkpoint, evaluating the test set.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from dg_explorer.record.store.writer import JOURNAL_BYTES
from dg_explorer.recording.gradient_sampling import GradientSampler
from dg_explorer.recording.optimizer_watch import OptimizerWatch
from dg_explorer.recording.recorder import Recorder
from dg_explorer.run import Run
from dg_explorer.training.passes import Pass, PassWatch

N_TRAIN, N_TEST, N_CLASSES, BATCH = 50_000, 2_000, 10, 64
BLOCK = 32
# name, width of the network to begin with, least milliseconds of a step, share allowed
SETTINGS = (
    ("a step of 0.5-2 ms", 64, 0.5, 0.06),
    ("a step of 20 ms or more", 1024, 20.0, 0.03),
)


def network(width: int, n_inputs: int = 256) -> nn.Module:
    """Three linear layers with ReLU."""
    return nn.Sequential(
        nn.Linear(n_inputs, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, N_CLASSES),
    )


# share of a step of 20 ms with everything on
ALL_ALLOWED = 0.10


class Stopwatch:
    """Adds up the CPU time spent in chosen methods."""

    def __init__(self):
        self.seconds = 0.0

    def wrap(self, method):
        def timed(*arguments, **settings):
            began = time.thread_time()
            try:
                return method(*arguments, **settings)
            finally:
                self.seconds += time.thread_time() - began

        return timed


@contextmanager
def timed_recorder():
    """Everything a recorder does in a step, its hooks on the optimizer included, on a stopwatch."""
    watch = Stopwatch()
    with ExitStack() as stack:
        for owner, name in (
            (Recorder, "batch"),
            (Recorder, "_before_step"),
            (GradientSampler, "_before_step"),
            (GradientSampler, "_after_step"),
            (OptimizerWatch, "_before"),
            (OptimizerWatch, "_after"),
            (PassWatch, "_before"),
            (PassWatch, "_after"),
            (Pass, "add_slope"),
        ):
            stack.enter_context(mock.patch.object(owner, name, watch.wrap(getattr(owner, name))))
        yield watch


class Bench:
    """A model in training on random numbers, with the record of its run."""

    def __init__(self, width: int, folder: Path, seed: int = 0):
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        self.model = network(width)
        self.optimizer = torch.optim.Adam(self.model.parameters())
        labels = {n: rng.integers(0, N_CLASSES, n) for n in (N_TRAIN, N_TEST)}
        self.run = Run.create(
            folder,
            name="benchmark",
            train_examples={"label": labels[N_TRAIN]},
            test_examples={"label": labels[N_TEST]},
        )
        self.test = (torch.randn(N_TEST, 256), torch.from_numpy(labels[N_TEST]))
        self.labels = torch.from_numpy(labels[N_TRAIN])
        self.inputs = torch.randn(BLOCK, BATCH, 256)
        self.order = torch.from_numpy(rng.permutation(N_TRAIN))

    def steps(self, recorder=None, first: int = 0, n: int = BLOCK) -> float:
        """CPU seconds of a block of steps."""
        n_batches = N_TRAIN // BATCH
        began = time.thread_time()
        for i in range(n):
            at = (first + i) % n_batches * BATCH
            ids = self.order[at : at + BATCH]
            labels = self.labels[ids]
            logits = self.model(self.inputs[i])
            loss = F.cross_entropy(logits, labels)
            self.optimizer.zero_grad()
            loss.backward()
            if recorder is not None:
                recorder.batch(logits, labels, ids)
            self.optimizer.step()
        return time.thread_time() - began


def overhead(bench: Bench, *, seconds: float) -> dict[str, float]:
    """Shares of a step that recording takes, and what a checkpoint and an evaluation take.

    Parameters
    ----------
    seconds : CPU time to spend

    Returns
    -------
    dict
        `step_ms`; `steps`, `rows` and `arrays`, the shares of what is done in each step, of the
        rows written at the end of an epoch, and of moving rows from the journal into files;
        their sum, `share`; and `everything`, the share with a checkpoint, an evaluation of the
        test set and a layer's outputs at the end of each epoch on top.
    """
    with timed_recorder() as watch:
        recorder = Recorder(bench.run, bench.model, bench.optimizer, checkpoint_every=0)
        # the groups of the record are created once a run; what is measured is going on
        bench.steps(recorder)
        recorder.epoch(0)
        bench.run.flush()
        watch.seconds, total, blocks = 0.0, 0.0, 0
        while total < seconds or blocks < 16:
            total += bench.steps(recorder, blocks * BLOCK)
            blocks += 1
        recorded = watch.seconds
    rows, flushes = [], []
    for epoch in range(1, 6):
        bench.steps(recorder)
        rows.append(_seconds(recorder.epoch, epoch))
        flushes.append(_seconds(bench.run.flush))
    recorder.close()
    step = (total - recorded) / (blocks * BLOCK)
    epoch = step * (N_TRAIN // BATCH)
    flush = float(np.median(flushes))
    shares = {
        "steps": recorded / (total - recorded),
        "rows": float(np.median(rows)) / epoch,
        # rows are moved once the journal is full, all of them together
        "arrays": flush * min(1.0, _epoch_bytes(bench.run) / JOURNAL_BYTES) / epoch,
    }
    found = {"step_ms": 1e3 * step, "share": sum(shares.values()), **shares}
    once = _once_an_epoch(bench)
    return {**found, **once, "everything": found["share"] + sum(once.values()) / 1e3 / epoch}


def _epoch_bytes(run) -> float:
    """Bytes that one epoch adds to the record."""
    groups = [run[name] for name in run.groups() if "epoch" in run[name].dims]
    return sum(data.nbytes / data.sizes["epoch"] for data in groups)


def _seconds(call, *arguments) -> float:
    began = time.process_time()
    call(*arguments)
    return time.process_time() - began


def _once_an_epoch(bench: Bench) -> dict:
    """Milliseconds of a checkpoint, and of the test set and a layer's outputs, on top."""
    found = {}
    for name, settings in (
        ("nothing", {"checkpoint_every": 0}),
        ("checkpoint", {}),
        ("evaluation", {"checkpoint_every": 0, "test": bench.test, "layers": ["3"]}),
    ):
        run = Run.create(None, name="once", test_examples={"label": bench.test[1].numpy()})
        recorder = Recorder(run, bench.model, bench.optimizer, gradient_every=0, **settings)
        times = [1e3 * _seconds(recorder.epoch, epoch) for epoch in range(5)]
        recorder.close()
        found[name] = float(np.median(times))
    base = found.pop("nothing")
    return {f"{name}_ms": ms - base for name, ms in found.items()}


def widest_for(least_ms: float, width: int, folder: Path) -> Bench:
    """A bench whose plain step takes at least so many milliseconds on this machine."""
    while True:
        bench = Bench(width, folder / f"width_{width}")
        bench.steps(n=8)
        if 1e3 * bench.steps(n=8) / 8 >= least_ms:
            return bench
        width = int(width * 1.25)


def pairs(width: int, folder: Path, blocks: int) -> dict[str, dict[str, float]]:
    """Blocks of steps with and without a recorder in turn, so that both meet the same machine.

    Returns
    -------
    dict
        Of the first 512 steps, which hold most comparisons, and of those after: `step_ms` of a
        plain step, and the `share` that recording adds: the middle of the pairs' ratios, the
        outer fifths left out.
    """
    recorded, plain = Bench(width, folder / "recorded"), Bench(width, folder / "plain")
    times: dict[str, list] = {"first": [], "later": []}
    with Recorder(recorded.run, recorded.model, recorded.optimizer, checkpoint_every=0) as recorder:
        for k in range(blocks):
            turns = [(recorded, recorder), (plain, None)]
            pair = {}
            for bench, own in turns if k % 2 else reversed(turns):
                pair[own is None] = bench.steps(own, k * BLOCK)
            times["first" if k * BLOCK < 512 else "later"].append((pair[False], pair[True]))
    found = {}
    for name, both in times.items():
        ours, theirs = np.array(both).T
        ratios = np.sort(ours / theirs)
        cut = len(ratios) // 5
        share = float(ratios[cut : len(ratios) - cut].mean() - 1)
        found[name] = {"step_ms": 1e3 * float(np.median(theirs)) / BLOCK, "share": share}
    return found


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=8, help="CPU time for each setting")
    parser.add_argument("--pairs", type=int, metavar="BLOCKS", help="pairs with and without")
    parser.add_argument("--width", type=int, default=192, help="of the network of --pairs")
    parser.add_argument("--json", action="store_true", help="print one line of JSON only")
    chosen = parser.parse_args(arguments)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    results = []
    try:
        if chosen.pairs:
            with tempfile.TemporaryDirectory() as folder:
                for name, r in pairs(chosen.width, Path(folder), max(chosen.pairs, 32)).items():
                    print(f"{name}: {r['share']:.1%} of a step of {r['step_ms']:.2f} ms")
            return 0
        with tempfile.TemporaryDirectory() as folder:
            for name, width, least_ms, allowed in SETTINGS:
                bench = widest_for(least_ms, width, Path(folder))
                found = overhead(bench, seconds=chosen.seconds)
                results.append({"setting": name, "allowed": allowed, **found})
                if not chosen.json:
                    print(sentence(results[-1]), flush=True)
    finally:
        torch.set_num_threads(threads)
    if chosen.json:
        print(json.dumps(results))
    return 0 if all(r["share"] <= r["allowed"] for r in results) else 1


def sentence(r: dict) -> str:
    """One result in words."""
    return (
        f"{r['setting']} ({r['step_ms']:.2f} ms here): recording takes {r['share']:.1%} of it, at "
        f"most {r['allowed']:.0%} ({r['steps']:.1%} in each step, {r['rows']:.1%} for the rows of "
        f"{N_TRAIN:,} examples an epoch, {r['arrays']:.1%} for moving them into arrays); with a "
        f"checkpoint ({r['checkpoint_ms']:.0f} ms) and {N_TEST:,} test examples evaluated, "
        f"their hidden layer kept ({r['evaluation_ms']:.0f} ms), each epoch "
        f"{r['everything']:.1%}, at most {ALL_ALLOWED:.0%} of a step of 20 ms."
    )


if __name__ == "__main__":
    raise SystemExit(main())
