"""Retrainings and scores of a run, joined by moment, test example and training example."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import xarray as xr
from scipy.special import expit

from ...errors import UnknownExampleError
from .posterior import RemovalModel, choose_settings

_MANY = 40_000_000  # scores from which on means over test examples use a part of them


class Joined:
    """Retrainings and scores of the same moments, test examples and training examples."""

    def __init__(self, run, methods: tuple[str, ...], rows: xr.Dataset):
        # without their attributes, which every selection would copy
        self.scores = {method: run[f"scores/{method}"]["score"].drop_attrs() for method in methods}
        epochs, tests = rows["epoch"].values, rows["test"].values
        for score in self.scores.values():
            epochs = np.intersect1d(epochs, score["epoch"].values)
            tests = tests[np.isin(tests, score["test"].values)]
        self.epoch, self.test, self.train = epochs, tests, rows["train"].values
        self._columns = {
            method: np.isin(self.train, score["train"].values)
            for method, score in self.scores.items()
        }
        rows = rows.sel(epoch=epochs, test=tests)
        whole = (rows["weight"].values == 1).all(axis=1)
        base = {int(s): i for i, s in enumerate(rows["start"].values) if whole[i]}
        mine = [i for i, s in enumerate(rows["start"].values) if int(s) in base and not whole[i]]
        output = rows["output"].values.astype(float)
        accuracy = rows["accuracy"].values.astype(float)
        against = [base[int(s)] for s in rows["start"].values[mine]]
        self.removed = rows["weight"].values[mine] == 0
        self.change = output[mine] - output[against]
        self.accuracy_change = accuracy[mine] - accuracy[against]
        self.random = rows["why"].values[mine] == "random"
        bases = list(base.values())
        self.now = output[bases].mean(0) if bases else np.full(output.shape[1:], np.nan)
        self.accuracy_now = accuracy[bases].mean(0) if bases else np.full(len(epochs), np.nan)

    def places(self, ids: np.ndarray) -> np.ndarray:
        """Where test examples stand; `UnknownExampleError` where they have no scores."""
        unknown = np.setdiff1d(ids, self.test)
        if len(unknown):
            raise UnknownExampleError(
                f"Test example {unknown[0]} has no scores of {' and '.join(self.scores)}, or no "
                f"retraining; {len(self.test)} have, such as {self.test[:3].tolist()}."
            )
        return np.array([int(np.flatnonzero(self.test == id)[0]) for id in ids])

    def scores_at(self, epoch, tests: np.ndarray) -> np.ndarray:
        """Scores (method, test, train) at a moment; 0 for examples without."""
        found = np.zeros((len(self.scores), len(self.test[tests]), len(self.train)))
        for row, (method, score) in zip(found, self.scores.items(), strict=True):
            there = self._columns[method]
            here = score.sel(epoch=epoch, test=self.test[tests]).sel(train=self.train[there])
            row[:, there] = here.transpose("test", "train").values
        return found

    @cached_property
    def mean_scores(self) -> np.ndarray:
        """Mean over test examples, (method, epoch, train)."""
        return self._weighted(np.ones_like(self.now))

    @cached_property
    def accuracy_scores(self) -> np.ndarray:
        """What scores say of the mean probability to be right, (method, epoch, train)."""
        right = expit(self.now)
        return self._weighted(right * (1 - right))

    def _weighted(self, weights: np.ndarray) -> np.ndarray:
        some = np.arange(len(self.test))
        n = len(self.epoch) * len(self.test) * len(self.train)
        if n > _MANY:
            some = spread(len(self.test), max(8, len(self.test) * _MANY // n))
        return np.stack(
            [
                np.einsum("q,pqn->pn", weights[i, some], self.scores_at(epoch, some)) / len(some)
                for i, epoch in enumerate(self.epoch)
            ],
            1,
        )

    def model_of_moments(self, change: np.ndarray, scores: np.ndarray) -> RemovalModel:
        """A model of one quantity; its settings are chosen from all moments."""
        moved = change.std(0) > 0
        if not moved.any():
            moved[:] = True
        settings = choose_settings(self.removed, change[:, moved], scores[:, moved])
        return RemovalModel(self.removed, change, scores, settings)


def spread(n: int, at_most: int) -> np.ndarray:
    """Places spread evenly over n, first and last among them."""
    return np.unique(np.linspace(0, n - 1, min(n, at_most)).round().astype(int))
