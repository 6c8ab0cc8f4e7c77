"""Wrong labels on digits: the record's signals against what ten lines of scikit-learn give.

    python -m benchmarks.mislabels --seeds 3

A tenth of 1,000 labels is that of the nearest example of another class. AUROC: the chance that a
flipped label is more suspect than a right one. Self-influence is that of TRAK at five moments.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    torch.set_num_threads(1)
    rows = [compared(seed) for seed in range(parser.parse_args().seeds)]
    for name in rows[0]:
        print(f"{name:24s}", "  ".join(f"{row[name]:.3f}" for row in rows))


if __name__ == "__main__":
    main()
