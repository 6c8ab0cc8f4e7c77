"""`BiasAttributor`: which training examples teach a shortcut, and what dropping them does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from ...arguments import checked
from ...errors import DataError
from ..sources.examples_seen import note_examples
from ..sources.on_record import OnRecord
from ..sources.scored import Checkpoints, scores_at
from ..sources.served import evaluate, in_dataset_order
from .debiasing import debias
from .development import add_bias, alignment_at, contrast_at, group_of

# where the model as given, without an epoch of its own, is put on the time axis
_NOW = 0


class BiasAttributor(OnRecord):
    """Finds the training examples that help a shortcut at the expense of the groups it fails.

    Parameters
    ----------
    model : module
    biased_data : dataset or loader
        What the model was trained on.
    unbiased_data : dataset or loader
        Where the shortcut does not hold.
    groups, train_groups : arrays, one entry an example, optional
        By default the column `group` of the run's examples, else the labels.
    run : Run, optional
        A run recorded elsewhere; its examples' columns are used.
    """

    @checked
    def __init__(
        self,
        model,
        biased_data,
        unbiased_data,
        *,
        groups=None,
        train_groups=None,
        device=None,
        run=None,
    ):
        super().__init__(run, "bias")
        self.model = model
        self.biased_data = biased_data
        self.unbiased_data = unbiased_data
        self.device = device
        for split, data, given in (
            ("train", biased_data, train_groups),
            ("test", unbiased_data, groups),
        ):
            table, labels, _ = evaluate(model, data, split, device=device)
            note_examples(self.run, split, table.ids, labels)
            if given is not None:
                # groups come in the order of the dataset, which need not be that of the ids
                self._note_groups(split, in_dataset_order(data, split).ids, given)

    def find_spurious_examples(
        self,
        attribution_method: str = "trak",
        top_k: int = 200,
        *,
        use=None,
        sharpness: float = 1.0,
        **settings,
    ) -> pd.DataFrame:
        """The training examples that serve the groups the model does well on at the others' cost.

        Those teach the shortcut: what is learned from them helps where it holds and hurts where it
        does not. On digits with a misleading corner the first hundred carry the
        shortcut in 99 to 100 % of cases, where 95 % of all do (`benchmarks.shortcut_seeds`). Which
        examples to *remove* is another question: `debias` asks `alignment`, and retrains.

        Parameters
        ----------
        attribution_method : str
        top_k : int
        use : ids of unbiased examples, optional
            Judge by these only, so that the others stay unseen for a test.

        Returns
        -------
        DataFrame, index `train`, those that serve the shortcut most first
            contrast (see `shortcut_contrast`; negative = serves the groups the model does well
            on), alignment (negative = lowers the margins of the worst groups), label, group.
        """
        scores, losses, groups = self._judged(attribution_method, use, settings)
        alignment = alignment_at(scores, losses, groups, sharpness=sharpness)
        contrast = contrast_at(scores, losses, groups, sharpness=sharpness)
        order = np.argsort(contrast.values, kind="stable")[:top_k]
        ids = contrast["train"].values[order]
        return pd.DataFrame(
            {
                "contrast": contrast.values[order],
                "alignment": alignment.values[order],
                "label": self.run["train_examples"]["label"].sel(train=ids).values,
                "group": group_of(self.run, "train", ids),
            },
            index=pd.Index(ids, name="train"),
        )

    def alignment(
        self, attribution_method: str = "trak", *, use=None, sharpness: float = 1.0, **settings
    ) -> xr.DataArray:
        """D3M alignment of every training example, from the model as it is (train)."""
        scores, losses, groups = self._judged(attribution_method, use, settings)
        return alignment_at(scores, losses, groups, sharpness=sharpness)

    def _judged(self, attribution_method: str, use, settings: dict):
        """Scores of the model as it is, and loss and group of the test examples they are for."""
        table, _, _ = evaluate(self.model, self.unbiased_data, "test", device=self.device)
        losses = xr.DataArray(table.columns["loss"].copy(), {"test": table.ids}, ("test",))
        checkpoint = Checkpoints({_NOW: self.model.state_dict()}, self.model)
        scratch = OnRecord(None, "scores of the model as it is").run
        scores = scores_at(
            scratch,
            checkpoint,
            self.biased_data,
            self.unbiased_data,
            [_NOW],
            method=attribution_method,
            **settings,
        ).sel(epoch=_NOW)
        if use is not None:
            scores = scores.sel(test=np.asarray(use, dtype=np.int64))
        return scores, losses, group_of(self.run, "test", scores["test"].values)

    def analyze_bias_development(
        self, model_checkpoints, *, attribution_method: str | None = "trak", **settings
    ) -> dict:
        """How each group fared over training, and which training groups taught the shortcut.

        Parameters
        ----------
        model_checkpoints : mapping of epoch -> model or state dict, folder, file, or Run
        attribution_method : str or None
            None leaves scores out.

        Returns
        -------
        dict
            epochs, group_accuracy (DataFrame, epoch x group), worst_group_accuracy,
            biased_accuracy, unbiased_accuracy, bias_gap (biased minus unbiased accuracy; Series
            over epochs), group_scores (DataFrame, epoch x training group; None without scores),
            bias (Dataset, as written to `analyses/bias`).
        """
        checkpoints = Checkpoints(model_checkpoints, self.model)
        accuracy = {"train": [], "test": []}
        rows: list[xr.Dataset] = []
        for epoch in checkpoints.epochs:
            model = checkpoints.model(epoch)
            train, _, _ = evaluate(model, self.biased_data, "train", device=self.device)
            test, _, _ = evaluate(model, self.unbiased_data, "test", device=self.device)
            accuracy["train"].append(train.mean("correct"))
            accuracy["test"].append(test.mean("correct"))
            rows.append(test.row(epoch))
        if "dynamics/test" not in self.run:
            self.run.add("dynamics/test", xr.concat(rows, "epoch"))
        elif missing := set(checkpoints.epochs) - set(self.run.epochs("dynamics/test").tolist()):
            raise DataError(
                f"The run has 'dynamics/test', but not at epoch {min(missing)}. Use a fresh "
                f"BiasAttributor for other checkpoints."
            )
        if attribution_method is not None:
            scores_at(
                self.run,
                checkpoints,
                self.biased_data,
                self.unbiased_data,
                checkpoints.epochs,
                method=attribution_method,
                **settings,
            )
        bias = add_bias(self.run, method=attribution_method)
        index = pd.Index(checkpoints.epochs, name="epoch")
        biased, unbiased = (pd.Series(accuracy[s], index) for s in ("train", "test"))
        return {
            "epochs": list(checkpoints.epochs),
            "group_accuracy": bias["group_accuracy"].to_pandas(),
            "worst_group_accuracy": bias["worst_group_accuracy"].to_series(),
            "biased_accuracy": biased,
            "unbiased_accuracy": unbiased,
            "bias_gap": biased - unbiased,
            "group_scores": bias["group_score"].to_pandas() if "group_score" in bias else None,
            "bias": bias,
        }

    def debias(
        self,
        retrain: Callable,
        *,
        attribution_method: str = "trak",
        share: float = 0.1,
        n_random: int | None = None,
        seeds: Sequence[int] | None = None,
        sharpness: float = 1.0,
        seed: int = 0,
        verbose: bool = True,
        **settings,
    ) -> pd.DataFrame:
        """D3M: drop what harms the worst groups, retrain, and compare with other removals.

        Half of the unbiased examples choose what to drop; the other half judge.

        Parameters
        ----------
        retrain : function (removed ids) -> model, or (removed ids, seed) -> model
            With a parameter `seed`: six starts, or those of `seeds`.
        share : float
            At most this share of the training set is dropped.

        Returns
        -------
        DataFrame
            As `dg_explorer.analysis.debias` gives it, which also prints it in words.
        """
        table, _, _ = evaluate(self.model, self.unbiased_data, "test", device=self.device)
        order = np.random.default_rng(seed).permutation(table.ids)
        use, judge = np.sort(order[::2]), np.sort(order[1::2])
        alignment = self.alignment(attribution_method, use=use, sharpness=sharpness, **settings)
        groups = group_of(self.run, "test", judge)

        def evaluate_groups(model):
            table, _, _ = evaluate(model, self.unbiased_data, "test", device=self.device)
            return table.columns["correct"][table.positions(judge)], groups

        return debias(
            alignment,
            retrain,
            evaluate_groups,
            train_groups=group_of(self.run, "train", alignment["train"].values),
            share=share,
            n_random=n_random,
            seeds=seeds,
            seed=seed,
            verbose=verbose,
        )

    def plot_bias(self, save_dir=None):
        """Accuracy by group over training, and what helps or harms, as a Figure; `bias.html`."""
        from ...figures.bias import bias_figure
        from ...figures.saving import save_figure

        data = (
            self.run["analyses/bias"].load() if "analyses/bias" in self.run else add_bias(self.run)
        )
        return save_figure(bias_figure(data, time_unit=self.run.time_unit), save_dir, "bias")

    def _note_groups(self, split: str, ids: np.ndarray, groups) -> None:
        if len(groups) != len(ids):
            raise DataError(f"{len(ids)} {split} examples need as many groups, not {len(groups)}.")
        whole = self.run[f"{split}_examples"].load()
        column = xr.DataArray(np.asarray(groups).astype(object), {split: ids}, (split,))
        whole["group"] = (split, column.sel({split: whole[split].values}).values)
        self.run.add(f"{split}_examples", whole, overwrite=True)
