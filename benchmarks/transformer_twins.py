"""When does a + b rest on b + a? The transformer's top helpers, checked by removing them.

``python -m benchmarks.transformer_twins --path FOLDER [--starts 0 1] [--until 2000]``

A one-layer transformer learns to add modulo 59 (six minutes on two quiet cores, kept in FOLDER
with TRAK scores at each recorded moment). Printed at each moment: for what share of the test pairs
that have a twin in training is the twin the top helper, and its lead over the next. Then the twins
are removed: those of one half of these test pairs (A), then those of the other half (B). Each half
is without its twins once, and once without as many others, so the difference of the two margins is
the twin's doing; from the same start, and from others, whose trainings know nothing of the scores.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

import dg_explorer as dg
from dg_explorer.demos import transformer
from dg_explorer.training.training import margin

AT = (200, 400, 1000, 1500, 2000, 3000, 4000)


def recorded(path: Path, recipe, train, test) -> dg.Run:
    """The demo, trained or opened, and its scores at each recorded moment."""
    folder = path / "transformer"
    if not folder.exists():
        transformer.make(folder, progress=False).run.flush()
    run = dg.Run.open(folder)
    moments = [step for step in recipe.recorded_steps() if step > 0]
    dg.attribute(run, transformer.model(recipe), train, test, epochs=moments, progress=False)
    return run


def with_twins(recipe, train, test) -> np.ndarray:
    """Ids of the test pairs whose twin, another pair, was trained on."""
    other = transformer.twins(test.ids, recipe.p)
    return test.ids[np.isin(other, train.ids) & (other != test.ids)]


def story(recipe, run, asked: np.ndarray) -> None:
    """Print how often the twin is the top helper at each moment, and by how much."""
    accuracy = run["metrics"].load()
    scores = run["scores/trak"]["score"]
    print(f"{len(asked)} test pairs have their twin in training")
    print("step   train   test   twin on top   twin over the next (median)", flush=True)
    for step in scores["epoch"].values:
        here = scores.sel(epoch=step, test=asked).load()
        own = here.sel(train=np.unique(transformer.twins(asked, recipe.p)))
        ids = own["train"].values
        column = np.searchsorted(ids, transformer.twins(asked, recipe.p))
        twin = own.values[np.arange(len(asked)), column]
        values = np.sort(here.values, axis=1)
        on_top = twin >= values[:, -1]
        next_best = np.where(on_top, values[:, -2], values[:, -1])
        then = accuracy.sel(epoch=step)
        print(
            f"{step:5d} {float(then['train_accuracy']):6.1%} {float(then['test_accuracy']):6.1%} "
            f"{on_top.mean():10.0%} {np.median(twin / next_best):16.2f}",
            flush=True,
        )


def answers(net, tokens: torch.Tensor) -> torch.Tensor:
    """What the model says, at half the cost: keys and values once a token, the query once.

    All examples end in the same token, and there are only p + 1 tokens in three places.
    """
    known = net.embed.weight[:, None] + net.place.weight  # (token, place, width)
    split = known.shape[:2] + (net.heads, -1)
    k, v = net.k(known).reshape(split), net.v(known).reshape(split)
    last = known[tokens[0, -1], -1]
    q = net.q(last).reshape(net.heads, -1)
    place = torch.arange(3)
    pull = (k * q).sum(-1) / q.shape[-1] ** 0.5  # (token, place, head)
    share = pull[tokens, place].softmax(1)  # (example, place, head)
    mixed = (share[..., None] * v[tokens, place]).sum(1).flatten(1)
    x = last + net.mix(mixed)
    return net.answer(x + net.down(net.relu(net.up(x))))


def margins(recipe, train, test, removed: np.ndarray, seed: int, at) -> dict[int, np.ndarray]:
    """The margins of the test pairs at some steps of a training without some examples."""
    keep = torch.from_numpy(~np.isin(train.ids, removed))
    tokens, labels = (part[keep] for part in train.dataset.tensors)
    asked, right = test.dataset.tensors
    net = transformer.model(recipe, seed)
    optimizer = transformer.optimizer(net, recipe)
    found = {}
    for step in range(max(at) + 1):
        if step in at:
            with torch.no_grad():
                found[step] = margin(answers(net, asked), right).numpy()
        loss = torch.nn.functional.cross_entropy(answers(net, tokens), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return found


def removal(recipe, train, test, asked: np.ndarray, seed: int, at, path: Path) -> None:
    """Print what the margin of a test pair loses with its twin, beyond losing as many others."""
    half = np.random.default_rng(0).permutation(len(asked)) % 2 == 0
    rows = np.searchsorted(np.sort(test.ids), asked)
    rows = np.argsort(test.ids)[rows]
    by_half = []
    for side, part in (("A", half), ("B", ~half)):
        file = path / f"without-twins-{side}-{seed}-{max(at)}.npz"
        if not file.exists():
            removed = transformer.twins(asked[part], recipe.p)
            found = margins(recipe, train, test, removed, seed, at)
            np.savez(file, **{str(step): value for step, value in found.items()})
        kept = np.load(file)
        by_half.append({step: kept[str(step)] for step in at})
    which = "the recorded start" if seed == 0 else f"another start ({seed})"
    for step in at:
        a, b = by_half[0][step][rows], by_half[1][step][rows]
        lost = np.where(half, b - a, a - b)
        again = np.random.default_rng(1).choice(lost, (2000, len(lost))).mean(1)
        low, high = np.quantile(again, [0.025, 0.975])
        right = np.where(half, b, a) > 0, np.where(half, a, b) > 0
        print(
            f"{which}, step {step}: without its twin a pair loses {lost.mean():.2f} nats "
            f"({low:.2f} to {high:.2f}), {(lost > 0).mean():.0%} lose; right with it "
            f"{right[0].mean():.0%}, without {right[1].mean():.0%}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--path", type=Path, required=True)
    parser.add_argument("--starts", type=int, nargs="+", default=[0, 1], help="0: the recorded one")
    parser.add_argument("--until", type=int, default=2000, help="the last step of a removal")
    parser.add_argument("--parts", nargs="+", default=["story", "removal"])
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.path.mkdir(parents=True, exist_ok=True)
    recipe = transformer.RECIPE
    train, test = transformer.datasets(recipe)
    asked = with_twins(recipe, train, test)
    if "story" in given.parts:
        story(recipe, recorded(given.path, recipe, train, test), asked)
    at = [step for step in AT if step <= given.until]
    for seed in given.starts if "removal" in given.parts else ():
        removal(recipe, train, test, asked, seed, at, given.path)


if __name__ == "__main__":
    main()
