"""Removals to compare with: as many others drawn, of any labels or the same, from other starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

from ...maths.debiasing import advantage
from ...training.many import outputs_of, train_many
from ...training.training import Training, margin
from .again import outputs_without

_BY_TEST = ("epoch", "test")


class Draws:
    """Rows of weights without as many examples as are removed.

    Parameters
    ----------
    training : Training
    remove : ids
    among : ids, optional
        Whom random ones are drawn from; then none are drawn by label.
    run : Run, optional
        Its kept retrainings are read, and new ones are kept in it.
    """

    def __init__(self, training: Training, remove: np.ndarray, among=None, run=None):
        self.training, self.run = training, run
        ids = training.train_ids
        self.removed = np.isin(ids, remove)
        self.pool = np.arange(len(ids)) if among is None else np.flatnonzero(np.isin(ids, among))
        self.by_label = {} if among is not None else _by_label(training, self.removed)

    def retrain(self, weights, epochs, models_at_once, *, random) -> tuple[np.ndarray, np.ndarray]:
        """Outputs and accuracy for each row of weights; `random`: which lack any examples."""
        if self.run is None:
            return retrain_with_weights(self.training, weights, epochs, models_at_once)
        return outputs_without(self.run, self.training, weights, random, models_at_once)

    def any(self, rng) -> np.ndarray:
        """Weights of a training without as many examples of any label."""
        return self._without(rng.choice(self.pool, self.removed.sum(), replace=False))

    def same_labels(self, rng) -> np.ndarray:
        """Weights of a training without as many of each label as are removed."""
        chosen = [rng.choice(rows, n, replace=False) for rows, n in self.by_label.values()]
        return self._without(np.concatenate(chosen))

    def _without(self, rows) -> np.ndarray:
        weights = np.ones(len(self.removed))
        weights[rows] = 0
        return weights

    def of_same_labels(self, epochs, full, n: int, rng, where) -> dict:
        """``same_labels_change`` (draw, epoch, test), beside a full training already done."""
        if not self.by_label:
            return {}
        rows, at, at_once = where
        weights = np.stack([self.same_labels(rng) for _ in range(n)])
        epochs = np.unique(at) if self.run is None else epochs
        outputs, _ = self.retrain(weights, epochs, at_once, random=[False] * n)
        outputs = outputs[:, np.searchsorted(epochs, at)][:, :, rows]
        return {"same_labels_change": (("draw", *_BY_TEST), outputs - full)}

    def from_starts(self, training, seeds: Sequence[int], n: int, where) -> dict:
        """The removal and its draws from other starts, about `n` draws in all."""
        rows, at, at_once = where
        each = -(-n // len(seeds))
        kinds = [self.any] + ([self.same_labels] if self.by_label else [])
        found = []
        for seed in seeds:
            rng = np.random.default_rng([seed, len(self.removed)])
            drawn = [kind(rng) for kind in kinds for _ in range(each)]
            full = np.ones(len(self.removed))
            weights = np.stack([full, np.where(self.removed, 0.0, 1.0), *drawn])
            other = training.with_changes(seed=seed)
            outputs, _ = retrain_with_weights(other, weights, np.unique(at), at_once)
            outputs = outputs[:, np.searchsorted(np.unique(at), at)][:, :, rows]
            found.append(outputs[1:] - outputs[0])
        found = np.stack(found)
        data = {
            "start": ("start", [int(seed) for seed in seeds]),
            "start_change": (("start", *_BY_TEST), found[:, 0]),
            "start_random_change": (("start", "start_draw", *_BY_TEST), found[:, 1 : 1 + each]),
        }
        if self.by_label:
            rest = found[:, 1 + each :]
            data["start_same_labels_change"] = (("start", "start_draw", *_BY_TEST), rest)
        return data


def _by_label(training: Training, removed: np.ndarray) -> dict:
    """Label -> (rows that have it, how many of them are removed); empty where no draw could differ.

    Labels are those of classes: whole numbers, one an example.
    """
    labels = training.labels
    if labels.ndim != 1 or labels.is_floating_point():
        return {}
    labels = labels.cpu().numpy()
    found = {}
    for label in np.unique(labels[removed]):
        rows = np.flatnonzero(labels == label)
        found[label] = rows, int(removed[rows].sum())
    return found if any(n < len(rows) for rows, n in found.values()) else {}


def removal_in_words(found: xr.Dataset, training: Training) -> list[str]:
    """What a removal did at its last epoch, beyond each kind of draws, with intervals."""
    here = found.isel(epoch=-1)
    n, unit = len(found.attrs["removed"]), " nats" if training.output is margin else ""
    tests, epoch = found.sizes["test"], int(found["epoch"][-1])
    change = float(here["change"].mean())
    of = "the output of 1 test example" if tests == 1 else f"the outputs of {tests} test examples"
    words = [
        f"Without the {n} examples {of} changed by {change:+.2f}{unit}"
        f"{'' if tests == 1 else ' on average'} at {epoch}, from this start."
    ]
    whom = {"random_change": "at random", "same_labels_change": "of the same labels"}
    if found.attrs["drawn_among"] < training.n_train:
        whom["random_change"] += f" among {found.attrs['drawn_among']}"
    for name, kind in whom.items():
        if name not in found:
            continue
        drawn = here[name].mean("test").values
        drawn = drawn[np.isfinite(drawn)]
        ends = f"{drawn.min():+.2f} to {drawn.max():+.2f}, {len(drawn)} draws"
        beyond = _beyond(np.array([change]), drawn[None], unit)
        words.append(f"Without as many {kind}: {drawn.mean():+.2f} ({ends}). {beyond}")
    if tests > 1:
        beyond = int(here["beyond_band"].sum())
        words.append(
            f"Beyond the band of the random draws: {beyond} of {tests} test examples; about "
            f"{0.05 * tests:.0f} would be by chance."
        )
    if "start_change" not in found:
        one = " It is the training of a record, which holds one." if training.one_start else ""
        ask = "" if training.one_start else " seeds=range(6) tries six."
        words.append(f"What the removal does from other starts was not tried.{one}{ask}")
        return words
    chosen = here["start_change"].mean("test").values
    told = ", ".join(f"{value:+.2f}" for value in chosen)
    words.append(f"From {len(chosen)} other starts: {told}{unit}.")
    for name, kind in whom.items():
        if f"start_{name}" in found:
            drawn = here[f"start_{name}"].mean("test").values
            words.append(f"Against as many {kind} there: {_beyond(chosen, drawn, unit)}")
    return words


def _beyond(chosen: np.ndarray, drawn: np.ndarray, unit: str) -> str:
    mean, low, high = advantage(chosen, drawn)
    if np.isnan(low):
        return f"Beyond them: {mean:+.2f}{unit}; too few draws for an interval."
    return f"Beyond them: {mean:+.2f}{unit} (95 % interval {low:+.2f} to {high:+.2f})."


def keeps_in(run, training: Training, at: np.ndarray, *, least: int = 1) -> bool:
    """Whether a run keeps at least as many retrainings as are asked for, with all the moments."""
    recorded = list(training.record_at)
    return run is not None and len(recorded) >= least and bool(np.isin(at, recorded).all())


def retrain_with_weights(
    training, weights, epochs, models_at_once, n=None
) -> tuple[np.ndarray, np.ndarray]:
    """Outputs (model, epoch, test) and test accuracy (model, epoch) of a model for each row."""
    training = training.with_changes(record_at=tuple(int(e) for e in epochs))
    if callable(weights):
        return _retrain_once(training, weights, n)
    parts = [
        _retrain_once(training, torch.as_tensor(weights[start : start + models_at_once]))
        for start in range(0, len(weights), models_at_once)
    ]
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def _retrain_once(training, weights: Any, n=None):
    theta = training.start().theta
    rows: Any = weights
    if not callable(weights):
        rows, n = weights.to(theta.dtype), len(weights)
    right = training.with_changes(output=_is_right)
    outputs, accuracy = [], []

    def take(_, after):
        outputs.append(outputs_of(training, after).double())
        accuracy.append(outputs_of(right, after).double().mean(1))

    train_many(training, rows, theta.expand(n, -1), on_epoch=take)
    return torch.stack(outputs, 1).numpy(), torch.stack(accuracy, 1).numpy()


def _is_right(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    right = (logits.argmax(-1) == labels).to(logits.dtype)
    return right.masked_fill(logits.isnan().any(-1), torch.nan)  # no answer is not a wrong one
