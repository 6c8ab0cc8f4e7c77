"""`EpochRows`: what a recorder measures and writes at each recorded epoch."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ..checkpoints.random_state import untouched_rng
from ..checkpoints.store import save_checkpoint, saved_epochs
from ..data.evaluation import LayerOutputs
from ..data.served import Served
from ..errors import SettingError
from ..record.policy import Rows
from ..tasks import COLUMNS, InferredTask
from ..training.precision import SCALED
from ..training.step.rounds import Rounds, rates_of
from .evaluation_pass import evaluation_pass, feature_row
from .watched_steps import WatchedSteps

BY_FIRST = ", normalized by what the first process (rank 0) saw of the batches"


class EpochRows(WatchedSteps):
    """The part of a `Recorder` that evaluates the splits and writes the rows of an epoch."""

    _checkpoint_every: int
    _state_every: int
    _feature_every: int
    _feature_precision: str
    _feature_ids: dict[str, np.ndarray]
    _features: dict[str, dict[str, np.ndarray]]
    _few: Served | None
    _listen: LayerOutputs
    _calls: int
    _resumed_at: int | None
    _replaces: bool
    _noted: bool
    _unseen: bool
    _rng_of_ranks: list[dict] | None

    @property
    def _saves_now(self) -> bool:
        return bool(self._checkpoint_every) and self._calls % self._checkpoint_every == 0

    def _record_row(self, epoch: int, measured: dict[str, str], whole) -> dict[str, float]:
        if self._unseen:
            self._tell(
                f"The weights changed before {self.run.time_unit} {epoch}, and no step of a torch "
                f"optimizer was seen: the learning rate and the steps of the record are not theirs."
            )
        self._note_task()
        self._testify()
        metrics = self._metrics()
        if "learning_rate_1" in metrics:
            self._note_groups()
        if self.optimizer is not None:
            self._note_frozen()
        if self._unseen:  # whatever changed the weights, it was not at this optimizer's rate
            metrics |= {n: float("nan") for n in metrics if n.startswith("learning_rate")}
        self._keeping.write(lambda: self._write(epoch, measured, metrics, whole), epoch)
        self._say_lacks()
        return metrics

    def _write(
        self, epoch: int, measured: dict[str, str], metrics: dict[str, float], whole
    ) -> None:
        """Put all rows of an epoch into the record."""
        for split, table in self._tables.items():
            if table.seen:
                self._append(
                    f"dynamics/{split}",
                    table.rows(epoch, measured=measured[split], last_measured=epoch),
                )
        for layer, outputs in self._features.items():
            if outputs:
                row = feature_row(epoch, outputs, self._feature_ids, self._feature_precision)
                self._append(f"features/{layer}", row)
        self._append_gradients(epoch)
        if self._replay is not None and self._witness is not None:
            if self._witness.scaled:
                self._replay.miss(SCALED)
                self._tell(f"replay=True will not allow an exact replay; it lacks {SCALED}.")
            weights = self._witness.take_weights()
            table = self._tables["train"]
            labels = table.columns.get("tokens")
            counts = None if labels is None else lambda ids: labels[table.positions(ids)]
            self._replay.write(self.steps_taken, weights, counts=counts, overwrite=self._replaces)
        if self._saves_now:
            self._checkpoint(epoch, *whole)
        row = {name: (("epoch",), np.array([value])) for name, value in metrics.items()}
        self._append("metrics", Rows("epoch", np.array([epoch]), row))

    def _evaluate(self) -> dict[str, str]:
        """Fill the tables and append features; says how each split was measured."""
        measured = {split: "with the weights of this epoch" for split in ("train", "test")}
        seen_in_training = bool(self._tables["train"].seen)
        if seen_in_training:
            measured["train"] = "while training, before each step"
        for split, data in self._data.items():
            if data.augmented and not (split == "train" and seen_in_training):
                measured[split] += ", on examples that differ from one reading to the next"
        if self._processes is not None and _normalizes_batches(self.model):
            for split in self._data:
                measured[split] += BY_FIRST
        features = self._feature_every and self._calls % self._feature_every == 0
        layers = self._listen.modules if features else []
        wanted: dict[str, tuple] = {}
        for split, data in self._data.items():
            chosen = self._feature_ids[split] if layers else None
            if split == "train" and seen_in_training:
                if chosen is not None:
                    self._few = self._few or data.subset(chosen)
                    wanted[split] = (self._few, None, chosen)
            else:
                wanted[split] = (data, self._tables[split], chosen)
        listen = self._listen if layers else ()
        with untouched_rng():
            outputs = {
                split: evaluation_pass(self.model, served, table, chosen, listen, self.task)
                for split, (served, table, chosen) in wanted.items()
            }
        self._features = {
            layer: {split: found[layer] for split, found in outputs.items()} for layer in layers
        }
        return measured

    def _append(self, group: str, row: Rows | xr.Dataset) -> None:
        # after resume(), rows written between the checkpoint and the kill are there already
        if self._resumed_at is not None and group in self.run:
            label = row.labels[-1] if isinstance(row, Rows) else row["epoch"].values[-1]
            if label <= self.run.epochs(group)[-1]:
                return
        self.run.append(group, row, overwrite=self._replaces)

    def _append_gradients(self, epoch: int) -> None:
        if self._sampler is None:
            return
        means, count = self._sampler.take()
        data: dict[str, tuple] = {"sampled_steps": (("epoch",), np.array([count]))}
        data |= {name: (("epoch", "layer"), values[None]) for name, values in means.items()}
        layers = {"layer": (("layer",), np.array(list(self._sampler.layers), dtype=object))}
        self._append("gradients", Rows("epoch", np.array([epoch]), data, layers))

    def _checkpoint(self, epoch: int, model, optimizer) -> None:
        if self._resumed_at is not None and epoch in saved_epochs(self.run):
            return
        extra, number = {"steps_taken": self.steps_taken}, self._calls // self._checkpoint_every
        save_checkpoint(
            self.run,
            epoch,
            model,
            optimizer,
            extra=extra,
            rng_of_ranks=self._rng_of_ranks,
            keep_state=number % self._state_every == 0,
            going_on=None if self._sampler is None else self._sampler.state(),
            overwrite=self._replaces,
        )

    def _metrics(self) -> dict[str, float]:
        row = {}
        for split, table in self._tables.items():
            columns = table.columns or {n: np.empty(0, COLUMNS[n][1]) for n in self.task.columns}
            seen = table.there if table.columns else np.empty(0, bool)
            for name, value in self.task.summary(columns, seen).items():
                row[f"{split}_{name}"] = value
        if self.optimizer is not None:
            # that of the last step: a scheduler has moved on by now
            rates = rates_of(self.optimizer) if self._rates is None else self._rates
            if isinstance(self.optimizer, Rounds):  # each at its own last step
                rates = self.optimizer.rates
            row["learning_rate"] = rates[0]
            if len(set(rates)) > 1:
                row |= {f"learning_rate_{i}": rate for i, rate in enumerate(rates) if i}
            row["steps_taken"] = self.steps_taken
        return row

    def _take_up_rates(self, epoch: int) -> None:
        """Know the rates of several optimizers when each stepped last, before a training goes on.

        One that rests at first is written down with them again.
        """
        if not isinstance(self.optimizer, Rounds):
            return
        row = self.run["metrics"].sel(epoch=epoch)
        first = float(row["learning_rate"])
        found = [first] * len(self.optimizer.param_groups)  # further ones only where they differ
        for i in range(1, len(found)):
            own = float(row.get(f"learning_rate_{i}", np.nan))
            found[i] = own if np.isfinite(own) else first
        self.optimizer.rates = found

    def _note_task(self) -> None:
        """Write down what was measured, once it is known; refuse to go on with another task."""
        if self._noted or (isinstance(self.task, InferredTask) and not self.task.is_settled):
            return
        self._noted = True  # functions of the user's own may read what the training changes
        told = self.task.described()
        before = self.run.attrs.get("task")
        if isinstance(before, str):  # somebody's own words, as earlier versions let stand there
            before, told = None, told | {"note": before}
        if before is None:
            self._keeping.write(lambda: self.run.set_attrs(task=told))
        elif before.get("digest") != told["digest"]:
            raise SettingError(
                f"This run records the task {before.get('told')}, and {told['told']} would be put "
                f"beside it. Record into a new run, or pass task= as before."
            )


def _normalizes_batches(model) -> bool:
    return any("BatchNorm" in type(module).__name__ for module in model.modules())
