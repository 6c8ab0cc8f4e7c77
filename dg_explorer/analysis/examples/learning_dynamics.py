"""`LearningDynamicsAnalyzer`: what happens to each example while a model learns."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch.nn.functional import softmax

from ...arguments import checked
from ...checkpoints.random_state import untouched_rng
from ...data.batch import on_device_of
from ...data.forward import evaluating
from ...data.ids import ids_of
from ...errors import DataError, SettingError, ShuffledLoaderError
from ...recording.evaluation_pass import labels_of
from ...recording.measures import measure
from ...recording.table import ExampleTable
from ..sources.curves import seen_at
from ..sources.epoch_order import check_epoch
from ..sources.examples_seen import note_examples
from ..sources.on_record import OnRecord
from ..sources.served import check_num_classes, in_dataset_order
from .cartography import add_cartography
from .mislabeled import find_mislabeled

# batches of logits that wait before they are measured together
_WAITING = 32


class LearningDynamicsAnalyzer(OnRecord):
    """Follows every training example: learned when, forgotten how often, hard or mislabelled.

    ::

        analyzer = LearningDynamicsAnalyzer(num_classes=10)
        for epoch in range(n_epochs):
            for inputs, labels, ids in train_loader:      # a with_ids dataset
                ...                                       # train
                analyzer.track_batch(model, inputs, labels, ids, epoch)
            analyzer.compute_epoch_statistics(train_loader, model, epoch)

    Parameters
    ----------
    num_classes : int
    track_examples : int or int array, optional
        Follow only this many examples, those with the lowest ids, or the examples with these ids.
    device : optional
        Where the model is evaluated; by default where it is.
    run : Run, optional
    """

    @checked
    def __init__(self, num_classes: int, track_examples=None, device=None, *, run=None):
        super().__init__(run, "learning dynamics")
        self.num_classes = int(num_classes)
        self.track_examples = track_examples
        self.device = device
        self._waiting: list[tuple] = []
        self._measured: list[dict[str, np.ndarray]] = []
        self._epoch: int | None = None

    def settings(self) -> dict:
        limit = self.track_examples
        if limit is not None and not isinstance(limit, int):
            limit = np.asarray(limit).tolist()
        return {"num_classes": self.num_classes, "track_examples": limit}

    # ------------------------------------------------------------------ while training

    def track_batch(self, model, inputs, targets, batch_indices, epoch: int, *, outputs=None):
        """Note what the model says to a batch.

        Parameters
        ----------
        batch_indices : int tensor or array, shape (example,)
            Example ids, as a `with_ids` dataset yields them; positions in the dataset where the
            loader does not shuffle.
        outputs : float tensor, shape (example, class), optional
            The logits, where the training loop has them already; saves a forward pass.
            Without them the model is run in evaluation mode, and left as it was.

        Raises
        ------
        DataError
            A label does not fit `num_classes`, or there are not as many ids as examples.
        SettingError
            Epochs do not ascend.
        """
        if epoch != self._epoch:
            if self._epoch is not None and (self._waiting or self._measured):
                self._close(None)
            self._epoch = check_epoch(self.run, "dynamics/train", epoch)
        if len(batch_indices) != len(targets):
            raise DataError(
                f"{len(targets)} examples came with {len(batch_indices)} ids. The last batch of a "
                f"loader is often short: use torch.arange(start, start + len(targets)), or better "
                f"the ids of a with_ids dataset."
            )
        if outputs is None:
            with untouched_rng(), evaluating(model), torch.no_grad():
                outputs = model(inputs.to(self._device(model)))
            outputs = getattr(outputs, "logits", outputs)
        ids = torch.as_tensor(batch_indices)
        self._waiting.append((outputs.detach().clone(), targets.detach(), ids))
        if len(self._waiting) >= _WAITING:
            self._measure()

    def compute_epoch_statistics(self, train_loader, model, epoch: int) -> dict:
        """Close an epoch and record it; examples are evaluated here if no batch was tracked.

        Returns
        -------
        dict
            epoch, mean_loss (nats), accuracy, mean_confidence, mean_margin, n_seen, n_nan_loss,
            newly_learned, newly_forgotten (counts against the epoch before).

        Raises
        ------
        ShuffledLoaderError
            Ids were positions, and the loader shuffles.
        """
        tracked = bool(self._waiting or self._measured)
        if tracked and epoch != self._epoch:
            raise SettingError(
                f"Batches were tracked for epoch {self._epoch}, and statistics are asked for epoch "
                f"{epoch}. Call compute_epoch_statistics once at the end of each epoch."
            )
        epoch = check_epoch(self.run, "dynamics/train", epoch)
        if not tracked:
            self._epoch = epoch
            for batch in in_dataset_order(train_loader, model=model):
                labels = labels_of(batch)
                with untouched_rng(), evaluating(model), torch.no_grad():
                    outputs = on_device_of(model, batch).predict(model)
                outputs = getattr(outputs, "logits", outputs)
                self.track_batch(model, None, labels, batch.ids, epoch, outputs=outputs)
        return self._close(train_loader)

    # ------------------------------------------------------------------ afterwards

    def analyze_learning_patterns(self) -> dict:
        """Sum up the history of every example.

        Returns
        -------
        dict
            hard_examples, easy_examples, ambiguous_examples (ids, by dataset cartography),
            never_learned (ids), first_learned, area_under_margin, el2n (Series over ids; EL2N is
            the mean over the first tenth of the epochs), suspected_mislabels (ids, most suspect
            first), forgetting_statistics (examples_with_forgetting, total_events, mean_events,
            max_events, never_forgotten, never_learned, most_forgotten; of the examples that were
            seen), accuracy (Series over
            epochs), examples (DataFrame of all measures).

        Raises
        ------
        MissingGroupError
            Nothing was tracked.
        """
        self._settle()
        table = add_cartography(self.run)
        dynamics = self.run["dynamics/train"].load()
        frame = table.to_dataframe()
        early = max(1, dynamics.sizes["epoch"] // 10)
        if "el2n" in dynamics:
            frame["el2n"] = dynamics["el2n"].isel(epoch=slice(early)).mean("epoch").to_series()
        # what was never seen can be neither learned nor forgotten
        watched = frame[frame["n_seen"] > 0]
        learned = pd.Series(watched["first_learned"]).notna()
        events = pd.Series(watched["forgetting_events"])
        suspects = find_mislabeled(self.run)
        seen = seen_at(dynamics)
        accuracy = (dynamics["correct"] & seen).sum("train") / seen.sum("train")
        return {
            **{
                f"{region}_examples": frame.index[np.asarray(frame["region"] == region)].tolist()
                for region in ("hard", "easy", "ambiguous")
            },
            "never_learned": watched.index[np.asarray(~learned)].tolist(),
            "first_learned": frame["first_learned"],
            "area_under_margin": frame["area_under_margin"],
            "el2n": frame.get("el2n"),
            "suspected_mislabels": suspects.index[
                np.asarray(suspects["action"] != "keep")
            ].tolist(),
            "forgetting_statistics": {
                "examples_with_forgetting": int((events > 0).sum()),
                "total_events": int(events.sum()),
                "mean_events": float(events.mean()),
                "max_events": int(events.max()),
                "never_forgotten": int((learned & (events == 0)).sum()),
                "never_learned": int((~learned).sum()),
                "most_forgotten": events.sort_values(ascending=False, kind="stable")
                .head(10)
                .loc[lambda s: s > 0]
                .index.tolist(),
            },
            "accuracy": accuracy.to_series(),
            "examples": frame,
        }

    def plot_learning_dynamics(self, save_dir=None):
        """The map of examples, when they were learned and how often forgotten, as a Figure.

        Writes `learning_dynamics.html` (and PNG, SVG, PDF with the `export` extra) to `save_dir`.
        """
        from ...figures.learning_dynamics import learning_dynamics_figure
        from ...figures.saving import save_figure

        self._settle()
        figure = learning_dynamics_figure(
            add_cartography(self.run),
            self.run["dynamics/train"].load(),
            time_unit=self.run.time_unit,
        )
        return save_figure(figure, save_dir, "learning_dynamics")

    # ------------------------------------------------------------------ inside

    def _device(self, model):
        if self.device is not None:
            return self.device
        return next((p.device for p in model.parameters()), torch.device("cpu"))

    def _measure(self) -> None:
        waiting, self._waiting = self._waiting, []
        for logits, targets, ids in waiting:
            labels = targets.cpu().numpy()
            check_num_classes(labels, self.num_classes)
            found = {
                name: values.cpu().numpy()
                for name, values in measure(logits, targets)._asdict().items()
            }
            found["el2n"] = _error_length(logits, targets).cpu().numpy()
            self._measured.append({"id": ids.cpu().numpy(), "label": labels, **found})

    def _close(self, loader) -> dict:
        self._measure()
        batches, self._measured = self._measured, []
        columns = {name: np.concatenate([b[name] for b in batches]) for name in batches[0]}
        ids = columns.pop("id").astype(np.int64)
        labels = columns.pop("label")
        if loader is not None:
            _refuse_positions(loader, ids)
        known = self._known(ids, loader)
        keep = np.isin(ids, known)
        if self.track_examples is None and not keep.all():
            strangers = ids[~keep]
            raise DataError(
                f"{len(strangers)} ids are not among the {len(known)} examples followed so far, "
                f"such as {strangers[0]}. Is this the loader of another dataset?"
            )
        ids, labels = ids[keep], labels[keep]
        self._note(known, ids, labels)
        table = _Table("train", known)
        table.fill(ids, labels, {name: values[keep] for name, values in columns.items()})
        before, epoch = self._last_row(), int(self._epoch or 0)
        self._epoch = None
        self.run.append("dynamics/train", table.row(epoch))
        return _statistics(epoch, table, before)

    def _known(self, ids: np.ndarray, loader) -> np.ndarray:
        if "dynamics/train" in self.run:
            return self.run["dynamics/train"]["train"].values
        known = np.unique(ids)
        if loader is not None:
            known = np.union1d(known, in_dataset_order(loader).ids)
        limit = self.track_examples
        if limit is None:
            return known
        return known[:limit] if isinstance(limit, int) else np.intersect1d(known, limit)

    def _note(self, known, ids, labels) -> None:
        if "train_examples" not in self.run:
            table = np.full(len(known), -1, dtype=np.int64)
            table[np.searchsorted(known, ids)] = labels
            note_examples(self.run, "train", known, table)
            return
        order = np.argsort(ids, kind="stable")
        note_examples(self.run, "train", ids[order], labels[order])
        there = self.run["train_examples"]
        missing = there["label"].sel(train=ids).values < 0
        if missing.any():
            whole = there.load()
            whole["label"].loc[{"train": ids}] = labels
            self.run.add("train_examples", whole, overwrite=True)

    def _last_row(self) -> xr.Dataset | None:
        if "dynamics/train" not in self.run:
            return None
        return self.run["dynamics/train"].isel(epoch=-1).load()

    def _settle(self) -> None:
        if self._waiting or self._measured:
            self._close(None)


class _Table(ExampleTable):
    """The recorder's table with the length of the error vector beside it."""

    def clear(self) -> None:
        super().clear()
        self.columns["el2n"] = np.full(len(self.ids), np.nan, np.float32)


def _error_length(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """EL2N, |softmax - onehot|; one logit counts as two classes."""
    logits = logits.float()
    if logits.ndim == 1 or logits.shape[1] == 1:
        logits = torch.stack([torch.zeros_like(logits.reshape(-1)), logits.reshape(-1)], 1)
    error = softmax(logits, 1)
    error = error.scatter_add(1, labels[:, None].to(error.device), -torch.ones_like(error[:, :1]))
    return error.norm(dim=1)


def _refuse_positions(loader, ids: np.ndarray) -> None:
    """Ids that count 0, 1, 2 ... under a loader that shuffles are positions, not identities."""
    try:
        ids_of(loader)
    except ShuffledLoaderError as error:
        if len(ids) > 1 and (np.diff(ids) == 1).all():
            raise ShuffledLoaderError(
                "The ids of this epoch count up from batch to batch while the loader shuffles, so "
                "they say where an example stood, not which it is. Let the dataset name them: "
                "DataLoader(with_ids(dataset), shuffle=True, ...), then "
                "for inputs, targets, ids in loader."
            ) from error


def _statistics(epoch: int, table: ExampleTable, before: xr.Dataset | None) -> dict:
    columns = table.columns
    seen = columns["prediction"] >= 0
    result = {
        "epoch": epoch,
        "mean_loss": table.mean("loss"),
        "accuracy": table.mean("correct"),
        "mean_confidence": table.mean("confidence"),
        "mean_margin": table.mean("margin"),
        "n_seen": int(seen.sum()),
        "n_nan_loss": int((seen & ~np.isfinite(columns["loss"])).sum()),
    }
    was = np.zeros(len(seen), dtype=bool) if before is None else before["correct"].values
    both = seen if before is None else seen & (before["prediction"].values >= 0)
    result["newly_learned"] = int((columns["correct"] & ~was & both).sum())
    result["newly_forgotten"] = int((~columns["correct"] & was & both).sum())
    return result
