"""What the demos do, printed: `python -m dg_explorer.demos [recipe ...] [--seeds N]`.

The grokking recipes are trained without recording and evaluated every 5 steps; the digits are
recorded in memory.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from ..maths.crossing import first_crossing
from . import RECIPES, grokking, make
from .demo_run import one_thread


def milestones(recipe: grokking.Recipe, seed: int = 0, every: int = 5) -> dict[str, int | None]:
    """The first step at which training is all right, and the test set 50 % and 95 % right."""
    train, test = grokking.datasets(recipe, seed)
    net = grokking.model(recipe, seed)
    opt = grokking.optimizer(net, recipe)
    found: dict[str, int | None] = dict.fromkeys(("memorized", "test_50", "test_95"))
    (x, y), (x_test, y_test) = train.dataset.tensors, test.dataset.tensors
    with one_thread():
        for step in range(recipe.steps + 1):
            logits = net(x)
            if step % every == 0:
                with torch.no_grad():
                    right = float((net(x_test).argmax(1) == y_test).float().mean())
                reached = {
                    "memorized": bool((logits.argmax(1) == y).all()),
                    "test_50": right >= 0.5,
                    "test_95": right >= 0.95,
                }
                for name, there in reached.items():
                    if there and found[name] is None:
                        found[name] = step
            opt.zero_grad()
            torch.nn.functional.cross_entropy(logits, y).backward()
            opt.step()
    return found


def of_grokking(name: str, seed: int) -> str:
    """When a grokking run memorized and generalized, in words."""
    found = milestones(RECIPES[name][1], seed)
    return (
        f"train accuracy 1.0 at step {found['memorized']}, test accuracy 50 % at "
        f"{found['test_50']} and 95 % at {found['test_95']}"
    )


def of_mislabeled(name: str, seed: int) -> str:
    """When the network answers flipped labels as they were flipped, in words."""
    run = make(name, seed=seed, progress=False).run
    flipped = run["train_examples"].flipped.values
    correct = run["dynamics/train"].correct
    shares = [f"{correct.sel(epoch=e).values[flipped].mean():.0%} at {e}" for e in (8, 32, 64, 150)]
    return f"flipped examples are right {', '.join(shares)} epochs"


def of_spurious(name: str, seed: int) -> str:
    """The test accuracy where the corner agrees and where it does not, in words."""
    run = make(name, seed=seed, progress=False).run
    groups, last = run["test_examples"]["group"].values, run["dynamics/test"].correct[-1].values
    shares = [f"{last[groups == g].mean():.1%} where the {g}" for g in np.unique(groups)]
    return f"test accuracy {' and '.join(shares)}"


def of_transformer(name: str, seed: int) -> str:
    """When a transformer memorized and generalized, in words."""
    found = make(name, seed=seed, progress=False).run["metrics"].load()
    reached = [
        first_crossing(found["epoch"].values.astype(float), found[metric].values, level)
        for metric, level in (("train_accuracy", 0.999), ("test_accuracy", 0.95))
    ]
    return "memorized at step {:.0f}, test accuracy 95 % at {:.0f}".format(*reached)


SENTENCES = {
    "grokking": of_grokking,
    "grokking-smooth": of_grokking,
    "mislabeled-digits": of_mislabeled,
    "spurious-digits": of_spurious,
    "transformer": of_transformer,
}


def main(arguments=None) -> None:
    """Train recipes at some seeds and print what comes out."""
    parser = argparse.ArgumentParser(prog="python -m dg_explorer.demos", description=__doc__)
    parser.add_argument("recipes", nargs="*", metavar="recipe", help=", ".join(RECIPES))
    parser.add_argument("--seeds", type=int, default=1)
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.recipes) - set(RECIPES):
        parser.error(f"no demo is called {unknown.pop()!r}; there are {', '.join(RECIPES)}")
    for name in chosen.recipes or [name for name in RECIPES if name != "transformer"]:
        for seed in range(chosen.seeds):
            began = time.process_time()
            sentence = SENTENCES[name](name, seed)
            took = time.process_time() - began
            print(f"{name}, seed {seed}: {sentence} ({took:.1f} s of CPU)", flush=True)


if __name__ == "__main__":
    main()
