"""Does removing the most harmful examples help where a shortcut fails, for every seed?

``python -m benchmarks.shortcut_seeds [--seeds 6]``

Digits with a patch in the corner that spells the label for 95 % of the training set. The mean TRAK
score on every other test digit with a misleading patch chooses the 100 most harmful of 1,000
training digits. Accuracy on the remaining ones with a misleading patch is judged after training
again from the same start without them, and without 100 at random, five times. Data, weights and
order are another for each seed.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

import dg_explorer as dg

REMOVED, DRAWS = 100, 5


def outcome(seed: int) -> tuple[float, list[float], float]:
    """Accuracy on lying test digits: with all, without random ones, without the harmful ones."""
    demo = dg.demos.make("spurious-digits", seed=seed, progress=False)
    last = demo.epochs
    dg.attribute(demo.run, demo.model(), demo.train, demo.test, epochs=[last], progress=False)
    group = demo.run["test_examples"].group.values
    lying = np.flatnonzero(group == "patch disagrees")
    chosen_on, judged_on = lying[::2], lying[1::2]
    scores = demo.run["scores/trak"].score.sel(epoch=last).isel(test=chosen_on).mean("test")
    harmful = scores.train.values[np.argsort(scores.values, kind="stable")[:REMOVED]]
    images, labels = demo.test.dataset.tensors

    def accuracy(removed) -> float:
        said = demo.retrain(remove=removed)(images[judged_on]).argmax(1)
        return (said == labels[judged_on]).double().mean().item()

    draw = np.random.default_rng(seed)
    at_random = [
        accuracy(draw.choice(scores.train.values, REMOVED, replace=False)) for _ in range(DRAWS)
    ]
    return accuracy([]), at_random, accuracy(harmful)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=6)
    seeds = range(parser.parse_args().seeds)
    torch.set_num_threads(1)
    print("seed   with all   without 100 at random   without the 100 most harmful", flush=True)
    above = 0
    for seed in seeds:
        everything, at_random, without = outcome(seed)
        above += without > max(at_random)
        print(
            f"{seed:4d} {everything:10.1%} {min(at_random):12.1%} to {max(at_random):.1%} "
            f"{without:24.1%}",
            flush=True,
        )
    print(f"above all {DRAWS} random removals: {above} of {len(seeds)}")


if __name__ == "__main__":
    main()
