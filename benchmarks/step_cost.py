"""What exact influence costs by each rule and in each direction, in CPU seconds of one thread.

``python -m benchmarks.step_cost reverse`` AdamW's sweep backwards over 400 steps; run it with
``PYTHONPATH`` at another checkout for that one's figure.
``python -m benchmarks.step_cost generic`` the generic rule against the one written by hand.
``python -m benchmarks.step_cost film`` all examples forward against 24 x 7 pairs in reverse.
``python -m benchmarks.step_cost groups`` one group's share, in passes over the training.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from benchmarks.unrolled_cost import forget_peak, memory_in_use, seconds_of_training
from dg_explorer.attribution.unrolled.attributor import UnrolledAttributor
from dg_explorer.demos.modular_addition import modular_addition

MEMORY = 1_200_000_000


def cost(run: Callable[[], object]) -> tuple[float, float]:
    """CPU seconds and peak megabytes over the start."""
    forget_peak()
    before, start = memory_in_use(), time.process_time()
    run()
    return time.process_time() - start, (memory_in_use(peak=True) - before) / 1e6


def told(what: str, seconds: float, megabytes: float) -> None:
    print(f"{what}: {seconds:.2f} CPU s, peak {megabytes:.0f} MB over the start", flush=True)


def reverse(steps: int) -> None:
    """One query, 8 and 24 queries at the last step."""
    training = modular_addition("smooth", n_steps=steps)
    for n in (1, 8, 24):
        attributor = UnrolledAttributor(training, memory=MEMORY)
        told(
            f"AdamW, {steps} steps, {n} queries",
            *cost(lambda a=attributor, n=n: a.attribute(training.test_ids[:n])),
        )


def generic(steps: int) -> None:
    """The same AdamW by the optimizer's own step."""
    from dg_explorer.training.step.generic import OptimizerStep

    by_hand = modular_addition("smooth", n_steps=steps)
    model, rule = by_hand.model(by_hand.seed), by_hand.optimizer
    adamw = torch.optim.AdamW(
        model.parameters(),
        lr=rule.lr_at(0, 1),
        betas=rule.betas,
        eps=rule.eps,
        weight_decay=rule.weight_decay,
    )
    own = by_hand.with_changes(optimizer=OptimizerStep(adamw, list(model.named_parameters())))
    for n in (1, 24):
        seconds = []
        for name, training in (("by hand", by_hand), ("generic", own)):
            attributor = UnrolledAttributor(training, memory=MEMORY, mode="reverse")
            found = cost(lambda a=attributor, n=n: a.attribute(by_hand.test_ids[:n]))
            told(f"{name}, {steps} steps, {n} queries", *found)
            seconds.append(found[0])
        print(f"generic / by hand: {seconds[1] / seconds[0]:.2f}")


def film(steps: int) -> None:
    """All test examples at 60 moments forward, and 24 at 7 in reverse."""
    training = modular_addition("smooth", n_steps=steps)
    moments = np.unique(np.linspace(1, steps, 60).round().astype(int))
    few = np.linspace(steps / 7, steps, 7).round().astype(int)
    forward = UnrolledAttributor(training, memory=MEMORY, mode="forward")
    backward = UnrolledAttributor(training, memory=MEMORY, mode="reverse")
    n_train, n_test = training.n_train, len(training.test_ids)
    told(
        f"forward, {n_train} x {n_test} x {len(moments)} moments, {steps} steps",
        *cost(lambda: forward.attribute(epochs=moments)),
    )
    told(
        f"reverse, {n_train} x 24 x 7 moments, {steps} steps",
        *cost(lambda: backward.attribute(training.test_ids[:24], few)),
    )


def groups(steps: int) -> None:
    """Ten groups of a digits-sized MLP with 1,000 and 10,000 examples in batches of 250."""
    from dg_explorer.training.step.by_hand import OptimizerSettings
    from dg_explorer.training.training import Training

    def network(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 10))

    for n in (1000, 10_000):
        generator = torch.Generator().manual_seed(0)
        inputs = torch.randn(n + 100, 64, generator=generator)
        labels = (inputs @ torch.randn(64, 10, generator=generator)).argmax(1)
        training = Training(
            model=network,
            inputs=inputs[:n],
            labels=labels[:n],
            test_inputs=inputs[n:],
            test_labels=labels[n:],
            optimizer=OptimizerSettings(kind="adamw", lr=1e-3),
            n_epochs=max(1, steps * 250 // n),
            batch_size=250,
        )
        one = min(_plain(training) for _ in range(2))
        attributor = UnrolledAttributor(training, mode="forward", memory=MEMORY)
        kinds = labels[:n].numpy()
        attributor.attribute(groups=kinds)
        seconds, _ = cost(lambda a=attributor, kinds=kinds: a.attribute(groups=kinds))
        print(
            f"{n} examples, 10 groups: {seconds:.2f} CPU s = {seconds / one / 10:.1f} passes a "
            f"group (one training {one:.2f} s)",
            flush=True,
        )


def _plain(training) -> float:
    model = training.model(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    start = time.process_time()
    for _, batch in training.steps():
        optimizer.zero_grad()
        answers = model(training.inputs[batch])
        nn.functional.cross_entropy(answers, training.labels[batch]).backward()
        optimizer.step()
    return time.process_time() - start


def main() -> None:
    """Print what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["reverse", "generic", "film", "groups"])
    parser.add_argument("--steps", type=int, default=400)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    warm = modular_addition("smooth", n_steps=30)
    UnrolledAttributor(warm).attribute(warm.test_ids[:1])
    print(f"one training: {seconds_of_training(modular_addition('smooth')):.2f} CPU s (1000 steps)")
    {"reverse": reverse, "generic": generic, "film": film, "groups": groups}[settings.what](
        settings.steps
    )


if __name__ == "__main__":
    main()
