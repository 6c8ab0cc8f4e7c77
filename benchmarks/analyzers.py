"""What the analyzers cost while a model trains: `python -m benchmarks.analyzers`.

All of them watch one training run of 50,000 examples, on one thread, whose plain step takes 20 ms
or more. CPU time spent inside each, over the CPU time of everything else in the loop: every batch
is tracked, gradients are measured at one step in `GRADIENT_EVERY`, features of a layer and the
test set's outputs once an epoch. What rests on evaluating the whole training set again
(`MemorizationDetector.compute_memorization_scores`) is given by itself: with a `Recorder` it is
not needed, since the record has both curves.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.recording import (
    ALL_ALLOWED,
    BATCH,
    N_CLASSES,
    N_TRAIN,
    SETTINGS,
    Stopwatch,
    widest_for,
)
from dg_explorer.analysis.examples.learning_dynamics import LearningDynamicsAnalyzer
from dg_explorer.analysis.examples.memorization_detector import MemorizationDetector
from dg_explorer.analysis.features.feature_evolution import FeatureEvolutionTracker
from dg_explorer.analysis.gradients.gradient_flow import GradientFlowAnalyzer
from dg_explorer.data.ids import with_ids

GRADIENT_EVERY = 250
FEATURE_EXAMPLES = 1000


def shares(*, seconds: float, epochs: int = 3) -> dict[str, float]:
    """Share of a step that each analyzer takes, and `step_ms`.

    An epoch has 781 steps; only as many are taken as fit into `seconds` of CPU time, and what
    is done once an epoch is divided by all 781.
    """
    _, width, least_ms, _ = SETTINGS[-1]
    in_each_step = (
        (LearningDynamicsAnalyzer, "track_batch"),
        (GradientFlowAnalyzer, "track_batch_gradients"),
    )
    watches = {owner.__name__: Stopwatch() for owner, _ in in_each_step}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        bench = widest_for(least_ms, width, Path(folder))
        run = bench.run
        learning = LearningDynamicsAnalyzer(N_CLASSES, run=run)
        gradients = GradientFlowAnalyzer(bench.model, run=run)
        features = FeatureEvolutionTracker(bench.model, ["3"], run=run)
        for owner, name in in_each_step:
            timed = watches[owner.__name__].wrap(getattr(owner, name))
            stack.enter_context(mock.patch.object(owner, name, timed))
        inputs = torch.randn(N_TRAIN, bench.inputs.shape[-1])
        train = TensorDataset(inputs, bench.labels)
        loader = DataLoader(with_ids(train), BATCH)
        once: dict[str, list[float]] = {}
        total, steps = 0.0, 0
        for epoch in range(epochs):
            took = 0.0
            while took < seconds / epochs or not gradients_due(steps):
                took += _step(bench, inputs, steps, learning, gradients, epoch)
                steps += 1
            total += took
            for call, *arguments in (
                (learning.compute_epoch_statistics, loader, bench.model, epoch),
                (gradients.compute_epoch_statistics, epoch),
                (features.track_epoch, train, epoch, FEATURE_EXAMPLES),
                (run.flush,),
            ):
                owner = type(call.__self__).__name__
                once.setdefault(owner, []).append(_cpu(call, *arguments))
        detector = MemorizationDetector(N_CLASSES)
        evaluate = detector.compute_memorization_scores
        evaluation = _cpu(evaluate, bench.model, train, TensorDataset(*bench.test), 0)
    inside = sum(watch.seconds for watch in watches.values())
    step = (total - inside) / steps
    an_epoch = step * (N_TRAIN // BATCH)
    found = {name: float(np.median(times)) / an_epoch for name, times in once.items()}
    for name, watch in watches.items():
        found[name] += watch.seconds / (total - inside)
    return {"step_ms": 1e3 * step, **found, "evaluating everything": evaluation / an_epoch}


def gradients_due(step: int) -> bool:
    """Whether gradients are measured at this step."""
    return step % GRADIENT_EVERY == 0


def _step(bench, inputs, step: int, learning, gradients, epoch: int) -> float:
    at = step % (N_TRAIN // BATCH) * BATCH
    began = time.thread_time()
    ids = bench.order[at : at + BATCH]
    labels = bench.labels[ids]
    batch = inputs[ids]
    logits = bench.model(batch)
    loss = F.cross_entropy(logits, labels)
    bench.optimizer.zero_grad()
    loss.backward()
    learning.track_batch(bench.model, batch, labels, ids, epoch, outputs=logits)
    if gradients_due(step):
        gradients.track_batch_gradients(loss, epoch, step)
    bench.optimizer.step()
    return time.thread_time() - began


def _cpu(call, *arguments) -> float:
    began = time.process_time()
    call(*arguments)
    return time.process_time() - began


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30, help="CPU time to train for")
    chosen = parser.parse_args(arguments)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = shares(seconds=chosen.seconds)
    finally:
        torch.set_num_threads(threads)
    step, evaluation = found.pop("step_ms"), found.pop("evaluating everything")
    for name, share in found.items():
        print(f"{'writing the record' if name == 'Run' else name:26s} {share:.1%}")
    total = sum(found.values())
    print(
        f"all of them: {total:.1%} of a step of {step:.1f} ms, at most {ALL_ALLOWED:.0%}; "
        f"evaluating the whole training set each epoch on top: {evaluation:.1%}"
    )
    return 0 if total <= ALL_ALLOWED else 1


if __name__ == "__main__":
    raise SystemExit(main())
