"""Digits with a shortcut: a patch in the corner spells the label, in training nearly always.

The patch is 2 x 2 pixels, a four-bit code of a class. It agrees with the label for 95 % of the
training set and is random in the test set, so a network that reads it fails where it disagrees.
"""

from __future__ import annotations

import numpy as np

from . import digits
from .demo_run import DemoRun

RECIPE = digits.Recipe(
    "spurious-digits",
    epochs=60,
    share=0.05,
    width=128,
    lr=3e-3,
    title="Digits with a shortcut",
    about="handwritten digits, a patch in the corner spells the label",
)
AGREES, DISAGREES = "patch agrees", "patch disagrees"


def model(seed: int = 0, recipe: digits.Recipe = RECIPE):
    """The model with the initial weights of a seed."""
    return digits.model(recipe, seed)


def stamp(images: np.ndarray, patch: np.ndarray) -> np.ndarray:
    """Images with the top left 2 x 2 pixels showing patch + 1 in binary, one bit a pixel."""
    bits = ((patch[:, None] + 1) >> np.arange(4)) & 1
    stamped = images.copy()
    stamped[:, :2, :2] = 16 * bits.reshape(-1, 2, 2)
    return stamped


def make(path=None, *, recipe=RECIPE, seed: int = 0, progress=True, overwrite=False) -> DemoRun:
    """Train and record; returns a `DemoRun`.

    Columns of both tables: `label`, `patch` (the class the corner spells), `group` ("patch
    agrees" or "patch disagrees"), and the image as `thumbnail`.
    """
    x_train, y_train, x_test, y_test = digits.load(seed)
    rng = np.random.default_rng([seed, 2])
    other = (y_train + rng.integers(1, 10, len(y_train))) % 10
    lies = rng.permutation(len(y_train)) < int(recipe.share * len(y_train))
    patches = {
        "train": np.where(lies, other, y_train),
        "test": rng.integers(0, 10, len(y_test)),
    }
    labels = {"train": y_train, "test": y_test}
    images = {
        split: stamp(x, patches[split]) for split, x in (("train", x_train), ("test", x_test))
    }
    columns = {
        split: {
            "label": labels[split],
            "patch": patches[split],
            "group": np.where(patches[split] == labels[split], AGREES, DISAGREES).astype(object),
        }
        for split in labels
    }
    return digits.record(recipe, path, seed, progress, overwrite, images, columns)
