"""Wrong labels on digits: the record's signals against what ten lines of scikit-learn give.

    python -m benchmarks.mislabels --seeds 3

A tenth of 1,000 labels is that of the nearest example of another class. AUROC: the chance that a
flipped label is more suspect than a right one. Self-influence is that of TRAK at five moments.
`--right` prints how many right labels are named, with few and many wrong ones.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import dg_explorer as dg
from dg_explorer.analysis.examples.mislabeled import WEIGHTS
from dg_explorer.maths.mislabels import area_under_roc


def compared(seed: int) -> dict[str, float]:
    """AUROC of our ranking and of others, and how many of the flipped are named."""
    demo = dg.demos.make("mislabeled-digits", seed=seed, progress=False)
    flipped = demo.run["train_examples"]["flipped"].values
    labels = demo.run["train_examples"]["label"].values
    found = dg.find_mislabeled(demo.run).sort_index()
    pixels = demo.train.dataset.tensors[0].flatten(1).numpy()
    moments = [8, 32, 64, 100, demo.epochs]
    dg.attribute(demo.run, demo.model(), demo.train, demo.test, epochs=moments, progress=False)
    own = demo.run["self_influence/trak"]["score"].mean("epoch").values
    weights = WEIGHTS | {"self_influence": 0.25}
    with_own = dg.find_mislabeled(demo.run, weights=weights).sort_index()
    named = (found["action"] != "keep").to_numpy()

    def out_of_fold(model) -> float:
        said = cross_val_predict(model, pixels, labels, cv=5, method="predict_proba")
        own = said[np.arange(len(labels)), np.searchsorted(np.unique(labels), labels)]
        return area_under_roc(-own, flipped)

    return {
        "find_mislabeled": area_under_roc(found["suspicion"].to_numpy(), flipped),
        "mean loss": area_under_roc(found["mean_loss"].to_numpy(), flipped),
        "  with self-influence": area_under_roc(with_own["suspicion"].to_numpy(), flipped),
        "self-influence alone": area_under_roc(own, flipped),
        "out-of-fold logistic": out_of_fold(LogisticRegression(max_iter=500)),
        "out-of-fold kNN": out_of_fold(KNeighborsClassifier(10, weights="distance")),
        "of the named, flipped": flipped[named].mean(),
        "of the flipped, named": named[flipped].mean(),
    }


def right_named(inputs, labels, share: float, layers: list[str]) -> tuple[float, float]:
    """Of right labels the share that is named, and of wrong ones, in a training of 12 epochs."""
    torch.manual_seed(3)
    k = int(labels.max()) + 1
    wrong = torch.rand(len(labels)) < share
    given = torch.where(wrong, (labels + torch.randint(1, k, labels.shape)) % k, labels)
    run = dg.Run.create(name="right", train_examples={"label": given.numpy()})
    model = nn.Sequential(nn.Linear(inputs.shape[1], 32), nn.ReLU(), nn.Linear(32, k))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    data = dg.with_ids(TensorDataset(inputs, given))
    how = {"checkpoint_every": 0, "gradient_every": 0, "layers": layers}
    with dg.Recorder(run, model, optimizer, train=data, **how) as recorder:
        for epoch in range(12):
            for x, y, ids in DataLoader(data, batch_size=50, shuffle=True):
                logits = model(x)
                optimizer.zero_grad()
                F.cross_entropy(logits, y).backward()
                recorder.batch(logits, y, ids)
                optimizer.step()
            recorder.epoch(epoch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that none is named
        found = dg.find_mislabeled(run).sort_index()
    named = (found["action"] != "keep").to_numpy()
    right = ~wrong.numpy()
    return float(named[right].mean()), float(named[~right].mean()) if share else float("nan")


def classes(seed: int, apart: float):
    """1,000 examples of four classes in 20 dimensions, their means `apart` spreads from 0."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (1000,), generator=generator)
    means = torch.randn(4, 20, generator=generator) * apart
    return means[labels] + torch.randn(1000, 20, generator=generator), labels


def print_right_named() -> None:
    """Of right labels the share named, by how far classes lie apart and how many are wrong."""
    digits = load_digits()
    chosen = np.random.default_rng(0).permutation(len(digits.target))[:1000]
    pixels = torch.tensor(digits.data[chosen] / 8 - 1).float()
    sets = {
        "apart": classes(0, 1.2),
        "close": classes(1, 0.7),
        "overlapping": classes(2, 0.45),
        "digits": (pixels, torch.tensor(digits.target[chosen])),
    }
    for name, (inputs, labels) in sets.items():
        for share in (0, 0.03, 0.1, 0.3):
            plain, featured = (right_named(inputs, labels, share, layers) for layers in ([], ["1"]))
            print(
                f"{name:12s} {share:4.0%} wrong: {plain[0]:5.1%} of the right named, with layers= "
                f"{featured[0]:5.1%}; of the wrong {plain[1]:4.0%}, {featured[1]:4.0%}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--right", action="store_true", help="how many right labels are named")
    torch.set_num_threads(1)
    if parser.parse_args().right:
        print_right_named()
        return
    rows = [compared(seed) for seed in range(parser.parse_args().seeds)]
    for name in rows[0]:
        print(f"{name:24s}", "  ".join(f"{row[name]:.3f}" for row in rows))


if __name__ == "__main__":
    main()
