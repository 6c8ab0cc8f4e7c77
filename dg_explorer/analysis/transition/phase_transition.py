"""`PhaseTransitionAttributor`: what gained influence across a transition, and does it matter?"""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import xarray as xr

from ...arguments import checked
from ...attribution.over_epochs.score_changes import unweighted
from ...errors import DataError, SettingError
from ..sources.examples_seen import note_examples
from ..sources.on_record import OnRecord
from ..sources.scored import Checkpoints, scores_at
from ..sources.served import evaluate
from .properties import property_enrichment
from .removal import verify_removal


class PhaseTransitionAttributor(OnRecord):
    """Compares the influence of training examples before and after a transition.

    Parameters
    ----------
    model_checkpoints : mapping of epoch -> model or state dict, folder, file, or Run
        Models before and after the transition, or all there are.
    train_data, test_data : dataset or loader
    model : module, optional
        The architecture, where the checkpoints are weights only.
    method : str
        Attribution method, as for `attribute`.
    run : Run, optional
        Scores it has already are used; properties of its examples are compared.
    **settings
        Passed to the attributor, such as `damping`.
    """

    @checked
    def __init__(
        self,
        model_checkpoints,
        train_data,
        test_data,
        *,
        model=None,
        method: str = "trak",
        run=None,
        **settings,
    ):
        super().__init__(run, "phase transition")
        self.checkpoints = Checkpoints(model_checkpoints, model)
        self.train_data = train_data
        self.test_data = test_data
        self.method = method
        self._settings = settings
        for split, data in (("train", train_data), ("test", test_data)):
            table, labels, _ = evaluate(self.checkpoints.scratch, data, split)
            note_examples(self.run, split, table.ids, labels)

    def settings(self) -> dict:
        return {"method": self.method, **self._settings}

    def compute_transition_attributions(
        self, pre_transition_epoch: int | None = None, post_transition_epoch: int | None = None
    ) -> xr.Dataset:
        """How each training example's influence changed across the transition.

        Parameters
        ----------
        pre_transition_epoch, post_transition_epoch : int, optional
            Checkpoints to compare; by default the last one before and the first one after the rise
            of test accuracy.

        Returns
        -------
        Dataset, as kept in `analyses/transition_attributions/<n>`
            `before`, `after` and `change` (train): the mean score for the test examples that
            were wrong before and right after (all of them if none turned), without the factor
            1 - p, which would drown the comparison; `sign_flips` (train): the share of those test
            examples for which the score changed sign; `turned` (test).

        Raises
        ------
        DataError
            There is no checkpoint at an epoch, or only one checkpoint; or test accuracy never
            rises over the checkpoints, and it was not said which to compare.
        SettingError
            The epoch before is not before the epoch after.
        """
        right = self._right()
        pre, post = self._moments(right, pre_transition_epoch, post_transition_epoch)
        turned = right.sel(epoch=post) & ~right.sel(epoch=pre)
        if not turned.any():
            turned = xr.ones_like(turned)
        scores = scores_at(
            self.run,
            self.checkpoints,
            self.train_data,
            self.test_data,
            [pre, post],
            method=self.method,
            **self._settings,
        )
        scores = unweighted(scores).sel(test=turned["test"][turned.values])
        before, after = scores.sel(epoch=pre, drop=True), scores.sel(epoch=post, drop=True)
        flips = xr.DataArray(np.sign(before) * np.sign(after) < 0).mean("test")
        result = xr.Dataset(
            {
                "before": before.mean("test"),
                "after": after.mean("test"),
                "change": (after - before).mean("test"),
                "sign_flips": flips,
                "turned": turned.drop_vars("epoch", errors="ignore"),
            }
        )
        result.attrs = {
            "pre_epoch": pre,
            "post_epoch": post,
            "method": self.method,
            "n_turned": int(turned.sum()),
            "settings": json.dumps(self.settings(), default=str),
        }
        self.run.keep("analyses/transition_attributions", result)
        return result

    def find_critical_examples(
        self, attributions: xr.Dataset | None = None, top_k: int = 100, *, by: str = "change"
    ) -> pd.DataFrame:
        """The training examples that gained most influence.

        Parameters
        ----------
        attributions : Dataset, optional
            What `compute_transition_attributions` gave.
        by : "change", "after", "before", or "loss" (of influence, the largest first)

        Returns
        -------
        DataFrame, index `train`, highest first
            change, before, after, sign_flips, and the examples' own columns.
        """
        table = self.compute_transition_attributions() if attributions is None else attributions
        if by not in ("change", "after", "before", "loss"):
            raise SettingError(f"by is 'change', 'after', 'before' or 'loss', not {by!r}.")
        if top_k < 1:
            raise SettingError(f"top_k is at least 1, not {top_k}.")
        frame = table[["change", "before", "after", "sign_flips"]].to_dataframe()
        key = pd.Series(frame["change" if by == "loss" else by])
        frame = frame.loc[key.sort_values(ascending=by == "loss", kind="stable").index[:top_k]]
        examples = self.run["train_examples"].sel(train=frame.index.values)
        for name, column in examples.data_vars.items():
            if column.dims == ("train",):
                frame[str(name)] = column.values
        return frame

    def analyze_critical_examples(self, critical, *, properties=None, seed: int = 0) -> dict:
        """What critical examples have in common that the whole training set has not.

        Parameters
        ----------
        critical : DataFrame or ids
        properties : names of columns of `train_examples`, optional

        Returns
        -------
        dict
            label_distribution (label -> count), enrichment (DataFrame: share against the
            whole training set, with permutation p-values), mean_shifts (DataFrame),
            n_examples.
        """
        ids = _ids(critical)
        examples = self.run["train_examples"].load()
        labels, counts = np.unique(examples["label"].sel(train=ids).values, return_counts=True)
        values, means = property_enrichment(examples, ids, properties=properties, seed=seed)
        return {
            "n_examples": len(ids),
            "label_distribution": dict(zip(labels.tolist(), counts.tolist())),
            "enrichment": values,
            "mean_shifts": means,
        }

    def verify_critical_examples(
        self,
        critical,
        train_without: Callable,
        *,
        level: float = 0.5,
        n_random: int = 10,
        seed: int = 0,
    ) -> dict:
        """Retrain without the critical examples, and without as many random ones, and compare.

        Parameters
        ----------
        critical : DataFrame or ids
        train_without : function (removed ids) -> (epochs, test accuracies)
            Trains anew without these examples.
        level : float
            The transition is dated by test accuracy reaching this level.
        n_random : int
            Random removals to compare with.

        Returns
        -------
        dict
            See `verify_removal`.
        """
        everyone = self.run["train_examples"]["train"].values
        ids = _ids(critical)
        result = verify_removal(
            train_without, ids, everyone, level=level, n_random=n_random, seed=seed
        )
        self.run.keep("checks/critical_removal", result["curves"])
        return result

    def plot_transition(self, save_dir=None, *, k: int = 15):
        """What gained and what lost influence, as a Figure; writes `critical_examples.html`."""
        from ...figures.critical_examples import critical_examples_figure
        from ...figures.saving import save_figure

        group = "analyses/transition_attributions"
        if group not in self.run:
            self.compute_transition_attributions()
        examples = self.run["train_examples"]
        names = None
        if "text" in examples:
            names = dict(zip(examples["train"].values.tolist(), examples["text"].values))
        figure = critical_examples_figure(
            self.run[group].load(), names=names, k=k, time_unit=self.run.time_unit
        )
        return save_figure(figure, save_dir, "critical_examples")

    # ------------------------------------------------------------------ inside

    def _right(self) -> xr.DataArray:
        """Which test examples are right at each checkpoint, (epoch, test)."""
        rows, ids = [], np.empty(0, dtype=np.int64)
        for epoch in self.checkpoints.epochs:
            table, _, _ = evaluate(self.checkpoints.model(epoch), self.test_data, "test")
            rows.append(table.columns["correct"].copy())
            ids = table.ids
        coords = {"epoch": self.checkpoints.epochs, "test": ids}
        return xr.DataArray(np.array(rows), coords, ("epoch", "test"))

    def _moments(self, right: xr.DataArray, pre, post) -> tuple[int, int]:
        epochs = self.checkpoints.epochs
        if len(epochs) < 2:
            raise DataError("A transition needs a checkpoint before and one after; there is one.")
        accuracy = right.mean("test").values
        # the largest rise: what is forgotten before or after it is none of it
        top = int(np.argmax(accuracy - np.minimum.accumulate(accuracy)))
        low = int(np.argmin(accuracy[: top + 1]))
        rise = accuracy[top] - accuracy[low]
        if rise <= 0 and (pre is None or post is None):
            raise DataError(
                f"Test accuracy never rises over these checkpoints ({accuracy[0]:.2f} at "
                f"{epochs[0]}, {accuracy[-1]:.2f} at {epochs[-1]}), so no two enclose a "
                f"transition. Say which to compare: pre_transition_epoch= and "
                f"post_transition_epoch=."
            )
        risen = accuracy[low : top + 1] - accuracy[low]
        high = low + int(np.argmax(risen >= 0.9 * rise))
        first = low + int(np.flatnonzero(risen[: max(high - low, 1)] <= 0.1 * rise)[-1])
        pre = epochs[first] if pre is None else int(pre)
        post = epochs[max(high, first + 1)] if post is None else int(post)
        for epoch in (pre, post):
            self.checkpoints.weights(epoch)
        if pre >= post:
            raise SettingError(f"The epoch before ({pre}) must come before the one after ({post}).")
        return pre, post


def _ids(critical) -> np.ndarray:
    values = critical.index if isinstance(critical, pd.DataFrame) else critical
    return np.asarray(list(values), dtype=np.int64)
