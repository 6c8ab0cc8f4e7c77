"""Where a network that adds modulo p keeps its answers: on a circle."""

from __future__ import annotations

import numpy as np

from ..analysis import add_projections


def answer_circle(logits: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, int]:
    """The plane of logits in which the answers lie on a circle, and how often it winds round.

    Of the discrete Fourier modes of the p logits, the one that follows the label with the
    largest amplitude.

    Parameters
    ----------
    logits : shape (example, p)
    label : int, shape (example,)

    Returns
    -------
    axes : shape (p, 2), orthonormal
    frequency : from 1 to (p - 1) / 2

    References
    ----------
    Nanda et al. (2023), "Progress measures for grokking via mechanistic interpretability", ICLR.
    """
    p = logits.shape[1]
    frequencies = np.arange(1, (p - 1) // 2 + 1)
    waves = np.exp(2j * np.pi * np.outer(np.arange(p), frequencies) / p)
    amplitude = np.abs((logits @ waves * waves[label].conj()).mean(0))
    best = int(np.argmax(amplitude))
    axes = np.stack([waves[:, best].real, waves[:, best].imag], 1) * np.sqrt(2 / p)
    return axes, int(frequencies[best])


def add_answer_circle(run, p: int, layer: str = "fc2") -> None:
    """Add `projections/<layer>`: the logits in the plane that the trained network uses most.

    The plane is chosen from training examples at the last epoch; test examples only follow.
    """
    features = run[f"features/{layer}"]
    is_train = features["split"].values == "train"
    ids = features["id"].values[is_train]
    label = run["train_examples"]["label"].sel(train=ids).values.astype(int)
    last = features["activation"].isel(epoch=-1).values[is_train]
    axes, frequency = answer_circle(last.astype(float), label)
    add_projections(
        run, layer, axes=axes, about=f"logits, Fourier plane {frequency} of the answer mod {p}"
    )
