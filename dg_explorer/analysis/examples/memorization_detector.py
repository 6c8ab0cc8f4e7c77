"""`MemorizationDetector`: how far train runs ahead of test, and when test catches up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import xarray as xr

from ...arguments import checked
from ...errors import DataError
from ...maths.memorization import memorization_gap
from ..sources.epoch_order import check_epoch
from ..sources.examples_seen import note_examples
from ..sources.on_record import OnRecord
from ..sources.served import check_num_classes, evaluate, in_dataset_order
from ..transition.transitions import add_transitions
from .memorization import add_memorization


class MemorizationDetector(OnRecord):
    """Measures memorization at chosen epochs and finds when it gives way to generalization.

    Parameters
    ----------
    num_classes : int
    device : str or torch.device, optional
        Where the model is evaluated; by default where it is.
    run : Run, optional
        Record to write to, or to read: a run recorded elsewhere can be analyzed as it is.
    """

    @checked
    def __init__(self, num_classes: int, device=None, *, run=None):
        super().__init__(run, "memorization")
        self.num_classes = int(num_classes)
        self.device = device

    def settings(self) -> dict:
        return {"num_classes": self.num_classes}

    def compute_memorization_scores(self, model, train_loader, test_loader, epoch: int) -> dict:
        """Evaluate the model on both splits and record it under this epoch.

        The loaders may shuffle: their datasets are walked in order. The model, its mode and the
        random generators are left as they were.

        Returns
        -------
        dict
            memorization_score (train minus test accuracy, a proxy for the whole model),
            train_accuracy, test_accuracy, train_loss, test_loss (nats), loss_gap (test minus
            train), train_confidence, test_confidence (mean probability of the label).

        Raises
        ------
        SettingError
            Epochs do not ascend.
        DataError
            A label does not fit `num_classes`, or examples differ from those of earlier epochs.
        """
        epoch = check_epoch(self.run, "metrics", epoch)
        found, rows = {}, {}
        for split, loader in (("train", train_loader), ("test", test_loader)):
            table, labels, _ = evaluate(model, loader, split, device=self.device)
            check_num_classes(labels, self.num_classes)
            note_examples(self.run, split, table.ids, labels)
            rows[split] = table.row(epoch)
            found[f"{split}_accuracy"] = table.mean("correct")
            found[f"{split}_loss"] = table.mean("loss")
            found[f"{split}_confidence"] = table.mean("confidence")
        for split, row in rows.items():
            group = f"dynamics/{split}"
            # another analyzer of the same run may have recorded these examples already
            if group not in self.run or epoch not in self.run.epochs(group):
                self.run.append(group, row)
        names = ("train_loss", "test_loss", "train_accuracy", "test_accuracy")
        row = {name: ("epoch", [found[name]]) for name in names}
        self.run.append("metrics", xr.Dataset(row, {"epoch": [epoch]}))
        gap = memorization_gap(found["train_accuracy"], found["test_accuracy"])
        return {
            "epoch": epoch,
            "memorization_score": float(gap),
            **found,
            "loss_gap": found["test_loss"] - found["train_loss"],
        }

    def analyze_memorization_evolution(self) -> dict:
        """When memorization began, peaked and ended.

        Returns
        -------
        dict
            transition_epoch (the recorded epoch nearest to the middle of the test curve's rise,
            None if fewer than two detectors find one), onset, onset_interval (95 % of the middle),
            t_memorized, t50, t95, delay, delay_ratio (None where never reached), detectors_agree,
            note; epochs and memorization_scores (arrays), peak_epoch, peak_memorization,
            final_memorization.

        Raises
        ------
        MissingGroupError
            Nothing is recorded yet.
        """
        memorization = add_memorization(self.run)
        transitions = add_transitions(self.run)
        epochs = memorization["epoch"].values
        result: dict[str, Any] = {
            name: _none_if_nan(transitions[name].item())
            for name in ("onset", "t_memorized", "t50", "t95", "delay", "delay_ratio")
        }
        middle = transitions["t_transition"].item()
        result["transition_epoch"] = (
            int(epochs[np.abs(epochs - middle).argmin()]) if np.isfinite(middle) else None
        )
        result["onset_interval"] = tuple(map(_none_if_nan, transitions["interval"].values.tolist()))
        result["detectors_agree"] = transitions["agree"].item()
        result["note"] = transitions.attrs["note"]
        result["epochs"] = epochs
        if "memorization_score" in memorization:
            scores = memorization["memorization_score"].values
            result["memorization_scores"] = scores
            if np.isfinite(scores).any():
                peak = int(np.nanargmax(scores))
                result["peak_epoch"] = int(epochs[peak])
                result["peak_memorization"] = float(scores[peak])
                result["final_memorization"] = float(scores[np.isfinite(scores)][-1])
        return result

    def example_memorization(self) -> xr.DataArray:
        """How far each training example is memorized; `attrs["measure"]` says by which measure.

        The estimate of `estimate_example_memorization` if it was made, else a proxy from the
        run's own history.
        """
        if "analyses/memorization" in self.run:
            found = self.run["analyses/memorization"]
            if "memorization_error" in found:
                return found["memorization"].load()
        return add_memorization(self.run)["memorization"]

    def estimate_example_memorization(
        self,
        train_model: Callable,
        train_data,
        test_data=None,
        *,
        n_models: int = 40,
        keep: float = 0.7,
        seed: int = 0,
    ) -> xr.Dataset:
        """Feldman and Zhang's estimate: train on random subsets and see what each model gets right.

        Parameters
        ----------
        train_model : function (kept ids) -> trained model
        train_data, test_data : dataset or loader
            With `test_data`, influence of every training on every test example as well.
        n_models : int
            The standard error falls with its root; 40 models give about 0.15.
        keep : float
            Share of the examples each model is trained on.

        Returns
        -------
        Dataset, as written to `analyses/memorization`
        """
        subsets = train_on_subsets(
            train_model, train_data, test_data, n_models=n_models, keep=keep, seed=seed
        )
        return add_memorization(self.run, subsets=subsets)

    def plot_memorization(self, save_dir=None):
        """Accuracy, memorization score and transition over epochs, as a plotly Figure.

        Writes `memorization.html` (and PNG, SVG, PDF with the `export` extra) to `save_dir`.
        """
        from ...figures.memorization import memorization_figure
        from ...figures.saving import save_figure

        self.analyze_memorization_evolution()
        figure = memorization_figure(
            self.run["analyses/memorization"].load(),
            self.run["transitions"].load(),
            time_unit=self.run.time_unit,
        )
        return save_figure(figure, save_dir, "memorization")


def train_on_subsets(
    train_model: Callable, train_data, test_data=None, *, n_models: int, keep: float, seed: int
) -> xr.Dataset:
    """What models trained on random subsets get right: `trained_on`, `correct`, `test_correct`."""
    if not 0 < keep < 1 or n_models < 2:
        raise DataError(
            f"Each example must be kept by some models and left out by others: keep={keep} and "
            f"n_models={n_models} do not allow it. Try keep=0.7, n_models=40."
        )
    generator = np.random.default_rng(seed)
    columns: dict[str, list] = {"trained_on": [], "correct": [], "test_correct": []}
    ids = np.sort(in_dataset_order(train_data).ids)
    test_ids = None
    for _ in range(n_models):
        chosen = np.zeros(len(ids), dtype=bool)
        chosen[generator.permutation(len(ids))[: round(keep * len(ids))]] = True
        with torch.enable_grad():
            model = train_model(ids[chosen])
        columns["trained_on"].append(chosen)
        columns["correct"].append(evaluate(model, train_data, "train")[0].columns["correct"])
        if test_data is not None:
            table = evaluate(model, test_data, "test")[0]
            columns["test_correct"].append(table.columns["correct"])
            test_ids = table.ids
    data = {name: (("model", "train"), np.array(columns[name])) for name in list(columns)[:2]}
    coords = {"train": ids}
    if test_ids is not None:
        data["test_correct"] = (("model", "test"), np.array(columns["test_correct"]))
        coords["test"] = test_ids
    return xr.Dataset(data, coords, {"keep": keep, "seed": seed})


def _none_if_nan(value: float):
    return float(value) if np.isfinite(value) else None
