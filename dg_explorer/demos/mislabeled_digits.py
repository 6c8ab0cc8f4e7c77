"""Digits of which one in ten carries the label of its nearest neighbour from another class.

A network without weight decay first learns the digits, then memorizes the wrong labels one by
one: delayed memorization, with the culprits known (`flipped`).
"""

from __future__ import annotations

import numpy as np

from . import digits
from .demo_run import DemoRun

RECIPE = digits.Recipe(
    "mislabeled-digits",
    title="Mislabelled digits",
    about="handwritten digits, one training label in ten is wrong",
)


def model(seed: int = 0, recipe: digits.Recipe = RECIPE):
    """The model with the initial weights of a seed."""
    return digits.model(recipe, seed)


def flip(images: np.ndarray, labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Labels of which a share was replaced by the class of the nearest image of another class."""
    flat = images.reshape(len(images), -1)
    squares = (flat**2).sum(1)
    distances = squares[:, None] + squares[None] - 2 * flat @ flat.T
    distances[labels[:, None] == labels[None]] = np.inf
    nearest = labels[distances.argmin(1)]
    chosen = np.random.default_rng([seed, 1]).permutation(len(labels))[: int(share * len(labels))]
    given = labels.copy()
    given[chosen] = nearest[chosen]
    return given


def make(path=None, *, recipe=RECIPE, seed: int = 0, progress=True, overwrite=False) -> DemoRun:
    """Train and record; returns a `DemoRun`.

    Columns of `train_examples`: `label` and `given_label` (trained on), `true_label`,
    `flipped`, and the image as `thumbnail`.
    """
    x_train, y_train, x_test, y_test = digits.load(seed)
    given = flip(x_train, y_train, recipe.share, seed)
    columns = {
        "train": {
            "label": given,
            "given_label": given,
            "true_label": y_train,
            "flipped": given != y_train,
        },
        "test": {"label": y_test, "true_label": y_test},
    }
    images = {"train": x_train, "test": x_test}
    return digits.record(recipe, path, seed, progress, overwrite, images, columns)
