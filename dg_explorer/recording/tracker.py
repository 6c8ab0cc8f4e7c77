"""`TrainingDynamicsTracker`: the specification's tracker, on the record and by example id."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

from ..arguments import checked
from ..data.ids import dataset_of, ids_of
from ..data.rows import tensors_behind
from ..errors import DataError, SettingError
from ..maths.cartography import cartography
from ..maths.forgetting import first_learned, forgetting_events
from ..run import Run
from .measures import measure
from .table import ExampleTable


class TrainingDynamicsTracker:
    """Follows the loss and the prediction of each training example from batch to batch.

    ::

        tracker = TrainingDynamicsTracker(dataset=train_dataset, save_interval=10)
        for epoch in range(n_epochs):
            for batch_idx, (data, targets) in enumerate(train_loader):      # in order
                ...
                tracker.update(epoch, batch_idx, data, targets, predictions, losses)
        analysis = tracker.analyze()

    Parameters
    ----------
    dataset : Dataset or DataLoader
        Whose examples are tracked. A shuffled loader without ids is refused.
    save_interval : int
        Epochs from one flush of the record to the next.
    run : Run, optional
        Where the rows go; in memory unless given.

    Notes
    -----
    Without `indices`, batches are taken to come in the order of the dataset, one after another,
    and a batch whose labels contradict that is refused: position is not identity under shuffling.
    """

    @checked
    def __init__(self, dataset, save_interval: int = 1, *, run: Run | None = None):
        if save_interval < 1:
            raise SettingError(f"save_interval counts epochs, from 1; got {save_interval}.")
        self.ids = ids_of(dataset)
        self.save_interval = save_interval
        self.run = run or Run.create(name="training dynamics", train_examples={"train": self.ids})
        self._table = ExampleTable("train", self.ids, _labels(dataset, len(self.ids)))
        self._epoch: int | None = None
        self._batches: set[int] = set()
        self._next = 0

    def update(self, epoch, batch_idx, data, targets, predictions, losses=None, indices=None):
        """Note one batch.

        Parameters
        ----------
        epoch, batch_idx : int
        data : the inputs, not looked at
        targets : int tensor, shape (example,)
        predictions : logits (example, class), or predicted labels (example,)
        losses : float tensor, shape (example,), optional
            From the logits where not given. One mean loss for the batch says nothing about
            single examples and is refused.
        indices : int tensor, shape (example,), optional
            Example ids; needed unless the loader is in order.

        Raises
        ------
        DataError
            Labels, losses or ids that do not fit the batch; an epoch that comes late.
        """
        if self._epoch is not None and epoch < self._epoch:
            raise DataError(f"Epoch {epoch} comes after {self._epoch}; epochs must ascend.")
        if epoch != self._epoch:
            self._finish()
            self._epoch, self._next, self._batches = int(epoch), 0, set()
        if batch_idx in self._batches:
            raise DataError(f"Batch {batch_idx} of epoch {epoch} was given already.")
        targets = torch.as_tensor(targets).detach().cpu()
        ids = self._ids_of_batch(batch_idx, len(targets), indices)
        self._table.fill(ids, targets.numpy(), _measures(predictions, targets, losses))
        self._batches.add(batch_idx)

    def analyze(self) -> dict:
        """What happened to each example: a dict of summaries and of arrays by example id.

        Returns
        -------
        dict
            `dynamics`: the Dataset (epoch, train); `mean_loss`, `mean_confidence`,
            `variability` (standard deviation of the confidence), `forgetting_events` and
            `first_learned` (NaN: never), each a DataArray over `train`; `epochs`,
            `examples_seen`, `never_learned` (ids), `hardest` (ids, by mean loss, hardest first).
        """
        self._finish()
        if "dynamics/train" not in self.run:
            raise DataError("Nothing was tracked yet: call update() in the training loop first.")
        dynamics = self.run["dynamics/train"].load()
        columns = {
            name: dynamics[name].transpose("epoch", "train").values for name in dynamics.data_vars
        }
        seen = columns["prediction"] >= 0
        right, epochs = columns["correct"], dynamics.epoch.values
        chart = cartography(columns["confidence"], right)
        finite = np.isfinite(columns["loss"])
        with np.errstate(invalid="ignore"):
            mean_loss = np.where(finite, columns["loss"], 0).sum(0) / finite.sum(0)
        found = {
            "mean_loss": mean_loss,
            "mean_confidence": chart.confidence,
            "variability": chart.variability,
            "forgetting_events": forgetting_events(right, seen),
            "first_learned": first_learned(right, epochs, seen),
        }
        by_loss = np.argsort(np.where(np.isnan(mean_loss), np.inf, -mean_loss), kind="stable")
        return {
            "dynamics": dynamics,
            "epochs": epochs.tolist(),
            "examples_seen": int(seen.any(0).sum()),
            **{
                name: xr.DataArray(values, {"train": dynamics.train.values}, ["train"], name)
                for name, values in found.items()
            },
            "never_learned": dynamics.train.values[~right.any(0)],
            "hardest": dynamics.train.values[by_loss],
        }

    def save(self, path) -> None:
        """Write the record, whatever the suffix of the name; never a pickle."""
        self._finish()
        self.run.copy_to(path)

    def _finish(self) -> None:
        if self._table.seen and self._epoch is not None:
            self.run.append("dynamics/train", self._table.row(self._epoch))
            self._table.clear()
            if self._epoch % self.save_interval == 0:
                self.run.flush()

    def _ids_of_batch(self, batch_idx: int, n: int, indices) -> np.ndarray:
        if indices is not None:
            ids = np.asarray(torch.as_tensor(indices).cpu())
            if ids.shape != (n,):
                raise DataError(f"{n} targets came with indices of shape {ids.shape}.")
            return ids
        if batch_idx != len(self._batches):
            raise DataError(
                f"Batch {batch_idx} comes after {len(self._batches)} batches, so their order says "
                f"nothing about which example is which. Pass indices=ids of the batch."
            )
        ids = self.ids[self._next : self._next + n]
        if len(ids) != n:
            raise DataError(
                f"More examples in epoch {self._epoch} than the dataset has ({len(self.ids)}). "
                f"Pass indices=ids of the batch, or the dataset that is trained on."
            )
        self._next += n
        return ids


def _measures(predictions, targets, losses) -> dict[str, np.ndarray]:
    predictions = torch.as_tensor(predictions).detach().cpu()
    if losses is not None:
        losses = torch.as_tensor(losses).detach().cpu().float()
        if losses.shape != targets.shape:
            raise DataError(
                f"losses has shape {tuple(losses.shape)} for {len(targets)} examples. One mean "
                f"says nothing about single examples: cross_entropy(..., reduction='none')."
            )
    if predictions.ndim == 1 and not predictions.is_floating_point():
        if losses is None:
            raise DataError("Predicted labels say no loss; pass losses, or logits as predictions.")
        unknown = np.full(len(targets), np.nan, dtype=np.float32)
        return {
            "loss": losses.numpy(),
            "confidence": torch.exp(-losses).numpy(),
            "margin": unknown,
            "prediction": predictions.numpy(),
            "correct": (predictions == targets).numpy(),
        }
    found = measure(predictions, targets)
    values = {name: value.numpy() for name, value in zip(found._fields, found)}
    return values if losses is None else values | {"loss": losses.numpy()}


def _labels(dataset, n: int) -> np.ndarray | None:
    """The labels of a dataset that keeps them in memory, in its order; else None."""
    behind = tensors_behind(dataset_of(dataset))
    if behind is None or len(behind[0]) != 2:
        return None
    labels, at = behind[0][-1], behind[1]
    labels = labels if at is None else labels[torch.from_numpy(at)]
    plain = len(labels) == n and not labels.is_floating_point()
    return labels.cpu().numpy() if plain else None
