"""`LightningRecorder`: a callback that makes Lightning's `Trainer` write a run's record."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule

from ...arguments import checked
from ...data.ids import yields_ids
from ...errors import SettingError
from ...record.run import Run
from ..recorder import NO_TRAIN, Recorder
from ..trainer_facts import TrainerFacts
from .refused import refuse


class LightningRecorder(Callback):
    """Records a module that Lightning trains.

    ::

        recorder = LightningRecorder(run, train=train_loader, test=test_loader)
        Trainer(max_epochs=20, callbacks=[recorder]).fit(module, train_loader)

    If `training_step` returns a dict with `loss` and `logits` and the loader's dataset is one of
    `with_ids`, training examples are followed from batch to batch at no extra cost; else they are
    evaluated at each recorded epoch. Only whole epochs are recorded as epochs. Resumed from a
    checkpoint of the trainer's, the run goes on there, and rows beyond it are replaced.

    Parameters
    ----------
    run : Run
        With `time_unit="epoch"`, a row at the end of each epoch; with "step", every
        `every` optimizer steps, by Lightning's count, which adds up those of several optimizers.
        None in all but the first of several processes.
    train, test : Dataset or DataLoader, optional
        Evaluated whole; shuffled loaders must yield ids.
    every : int
        Epochs or steps from one row to the next.
    follow : bool, optional
        Whether batches end with (labels, ids). By default so if `with_ids` made the dataset; a
        last entry that is something else would be taken for ids.
    **settings
        As for `Recorder`: layers, checkpoint_every, gradient_every ... With `replay=True`, which
        needs batches with ids, accumulation, clipping, schedules and parameter groups are recorded
        too, and what a replay cannot follow is refused by its name before the training. In manual
        optimization one or several optimizers step as in a loop of your own; what a
        `training_step` does to gradients between backward and step is said to `training_of_run`.
    """

    @checked
    def __init__(
        self,
        run: Run | str | Path | None,
        *,
        train=None,
        test=None,
        every: int = 1,
        follow: bool | None = None,
        **settings,
    ):
        self.run: Any = run
        self.every = every
        self._settings = {"train": train, "test": test, **settings}
        self._follow = follow
        self._recorder: Any = None  # a Recorder, once the training begins
        self._last_step = -1
        self._steps_before: int | None = None  # steps of the training that is gone on with

    def state_dict(self) -> dict:
        """How many steps were taken, which Lightning counts by optimizer; for its checkpoints."""
        return {} if self._recorder is None else {"steps_taken": self._recorder.steps_taken}

    def load_state_dict(self, state_dict: dict) -> None:
        """Take up what a checkpoint says of the steps before it."""
        self._steps_before = state_dict.get("steps_taken")

    def on_train_start(self, trainer, pl_module):
        optimizer = list(trainer.optimizers) or None
        dataset = getattr(trainer.train_dataloader, "dataset", None)
        if self._follow is None:
            self._follow = dataset is not None and yields_ids(dataset)
        replay = self._settings.get("replay")
        if replay:
            refuse("Lightning's Trainer", _in_the_way(trainer, pl_module, self._follow))
        self._recorder = Recorder(self.run, pl_module, optimizer, **self._settings)
        self.run = self._recorder.run
        if self.run.time_unit == "epoch":
            self._check_whole(trainer)
        if not self._follow and self._settings["train"] is None and "train_examples" in self.run:
            warnings.warn(NO_TRAIN, stacklevel=2)
        self._last_step = trainer.global_step
        self._recorder.steps_taken = self._steps_so_far(trainer)
        by_epoch = self.run.time_unit == "epoch"
        self._recorder.begin_after(trainer.current_epoch if by_epoch else trainer.global_step)
        if replay:
            self._recorder.trained_by(_facts(trainer, pl_module))

    def _steps_so_far(self, trainer) -> int:
        """Steps of the training before this one begins or goes on.

        Lightning's own count is of the steps of all optimizers together.

        Raises
        ------
        SettingError
            Several optimizers, and a checkpoint that this recorder was no part of.
        """
        if self._steps_before is not None or trainer.global_step == 0:
            return self._steps_before or 0
        if len(trainer.optimizers) > 1 and self._settings.get("replay"):
            self._close()
            raise SettingError(
                f"This training goes on after {trainer.global_step} steps of "
                f"{len(trainer.optimizers)} optimizers together, and its checkpoint does not say "
                f"how many steps of the training those were. Go on from a checkpoint that was "
                f"saved with this callback, or record without replay=True."
            )
        return trainer.global_step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if self._settings.get("replay"):
            self._recorder.next_batch(batch[-1])

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if self._follow and isinstance(outputs, Mapping) and "logits" in outputs:
            *_, labels, ids = batch
            if isinstance(labels, Mapping):  # rows of a dict
                labels = labels.get(self._settings.get("label") or "labels")
            if torch.is_tensor(labels):  # else they are evaluated at each recorded epoch
                self._recorder.batch(outputs["logits"], labels, ids)
        step = trainer.global_step
        stepped, self._last_step = step != self._last_step, step
        if self.run.time_unit == "step" and stepped and step % self.every == 0:
            self._recorder.epoch(step)

    def on_train_epoch_end(self, trainer, pl_module):
        epoch = trainer.current_epoch + 1
        whole = trainer.is_last_batch  # this comes too where training stops inside an epoch
        if self.run.time_unit == "epoch" and whole and epoch % self.every == 0:
            self._recorder.epoch(epoch)

    def _check_whole(self, trainer) -> None:
        """Say before the training what of it a record by epochs will not hold."""
        batches = trainer.num_training_batches
        if trainer.max_steps < 0 or batches == float("inf"):
            return
        steps = max(1, -(-batches // trainer.accumulate_grad_batches))
        epochs, rest = divmod(trainer.max_steps, steps)
        if trainer.max_epochs not in (None, -1) and trainer.max_epochs <= epochs:
            return  # the epochs are over first
        if epochs < self.every:
            self._close()
            raise SettingError(
                f"This training takes {trainer.max_steps} steps, and {steps * self.every} would be "
                f"the first moment: nothing would be recorded. Make the run with "
                f"Run.create(..., time_unit='step')."
            )
        if rest:
            warnings.warn(
                f"This training ends inside an epoch (after {trainer.max_steps} steps, {steps} an "
                f"epoch); the record holds whole epochs, so not its end. "
                f"Run.create(..., time_unit='step') records moments by step.",
                stacklevel=3,
            )

    def on_fit_end(self, trainer, pl_module):
        self._close()

    def on_exception(self, trainer, pl_module, exception):
        self._close()

    def _close(self) -> None:
        if self._recorder is not None:
            self._recorder.close()


_FOLLOWED = ("32-true", "64-true", "bf16-mixed")
_INSTEAD = "'32-true', '64-true' and 'bf16-mixed' are followed"


def _in_the_way(trainer, module, follow: bool) -> dict[str, bool]:
    """What an exact replay cannot follow, by name, and whether this training has it."""
    loaders = trainer.train_dataloader
    averaging = [type(c).__name__ for c in trainer.callbacks]
    return {
        "a training without optimizers": not trainer.optimizers,
        f"precision={trainer.precision!r} ({_INSTEAD})": trainer.precision not in _FOLLOWED,
        "examples without ids (give the loader dg.with_ids(dataset))": not follow,
        "several loaders": not hasattr(loaders, "dataset"),
        "configure_gradient_clipping of the module's own": _has_own(
            module, "configure_gradient_clipping"
        ),
        "optimizer_step of the module's own": _has_own(module, "optimizer_step"),
        "StochasticWeightAveraging (it moves the learning rate and the weights)": (
            "StochasticWeightAveraging" in averaging
        ),
    }


def _has_own(module, name: str) -> bool:
    return getattr(type(module), name) is not getattr(LightningModule, name)


def _facts(trainer, module) -> TrainerFacts:
    """What decides the weight of an example in this trainer."""
    if not module.automatic_optimization:  # `training_step` decides
        more = {"lightning": version("lightning"), "manual_optimization": True}
        return TrainerFacts(name="lightning.Trainer", more=more)
    clip, how = trainer.gradient_clip_val, trainer.gradient_clip_algorithm or "norm"
    return TrainerFacts(
        name="lightning.Trainer",
        accumulate=trainer.accumulate_grad_batches,
        clip={str(getattr(how, "value", how)): float(clip)} if clip else {},
        mean_over=trainer.accumulate_grad_batches,
        more={"lightning": version("lightning")},
    )
