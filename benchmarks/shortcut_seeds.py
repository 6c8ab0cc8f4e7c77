"""Does removing the most harmful examples help where a shortcut fails, for every seed?

``python -m benchmarks.shortcut_seeds [--seeds 6]``

Digits with a patch in the corner that spells the label for 95 % of the training set. The mean TRAK
score on every other test digit with a misleading patch chooses the 100 most harmful of 1,000
training digits. Accuracy on the remaining ones with a misleading patch is judged after training
again from the same start without them, without 100 at random, five times, and without 100 of those
whose patch agrees (balanced removal, which is told what the patch is), five times. Data, weights
and order are another for each seed. Printed too: of the first 100 of `find_spurious_examples`, how
many carry the shortcut.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

import dg_explorer as dg
from dg_explorer.analysis import BiasAttributor
from dg_explorer.maths.debiasing import advantage, balanced_removal

REMOVED, DRAWS = 100, 5


def outcome(seed: int) -> dict:
    """Accuracy on lying test digits by what was removed; how many named ones carry the patch."""
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
    ids, groups = scores.train.values, demo.run["train_examples"].group.values
    at_random = [accuracy(draw.choice(ids, REMOVED, replace=False)) for _ in range(DRAWS)]
    balanced = [
        accuracy(ids[balanced_removal(groups, remove=REMOVED, seed=DRAWS * seed + d)])
        for d in range(DRAWS)
    ]
    named = BiasAttributor(
        demo.retrain(), demo.train, demo.test, run=demo.run
    ).find_spurious_examples(top_k=REMOVED)
    return {
        "all": accuracy([]),
        "random": at_random,
        "balanced": balanced,
        "harmful": accuracy(harmful),
        "carry": (named["group"] == "patch agrees").mean(),
        "of all": (groups == "patch agrees").mean(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=6)
    seeds = range(parser.parse_args().seeds)
    torch.set_num_threads(1)
    print(
        "seed   with all   without 100 at random   balanced           the 100 most harmful"
        "   of 100 named, carry the shortcut (of all)",
        flush=True,
    )
    found = []
    for seed in seeds:
        found.append(now := outcome(seed))
        ends = [f"{min(now[k]):.1%} to {max(now[k]):.1%}" for k in ("random", "balanced")]
        print(
            f"{seed:4d} {now['all']:10.1%} {ends[0]:>22} {ends[1]:>19} {now['harmful']:17.1%} "
            f"{now['carry']:20.0%} ({now['of all']:.0%})",
            flush=True,
        )
    harmful = np.array([now["harmful"] for now in found])
    for name in ("random", "balanced"):
        others = np.array([now[name] for now in found])
        mean, low, high = (100 * part for part in advantage(harmful, others))
        above = (harmful > others.max(axis=1)).sum()
        print(
            f"beyond {name} removal: {mean:+.1f} points (95 % interval {low:+.1f} to {high:+.1f}); "
            f"above all {DRAWS} draws for {above} of {len(found)} seeds"
        )


if __name__ == "__main__":
    main()
