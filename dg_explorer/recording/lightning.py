"""`LightningRecorder`: a callback that makes Lightning's `Trainer` write a run's record."""

from __future__ import annotations

from collections.abc import Mapping

from lightning.pytorch import Callback

from ..errors import SettingError
from .recorder import Recorder


class LightningRecorder(Callback):
    """Records a module that Lightning trains.

    ::

        recorder = LightningRecorder(run, train=train_loader, test=test_loader)
        Trainer(max_epochs=20, callbacks=[recorder]).fit(module, train_loader)

    If `training_step` returns a dict with `loss` and `logits` and the loader yields
    (..., labels, ids), training examples are followed from batch to batch at no extra cost;
    else they are evaluated at each recorded epoch.

    Parameters
    ----------
    run : Run
        With `time_unit="epoch"`, a row at the end of each epoch; with "step", every
        `every` optimizer steps.
    train, test : Dataset or DataLoader, optional
        Evaluated whole; shuffled loaders must yield ids.
    every : int
        Epochs or steps from one row to the next.
    **settings
        As for `Recorder`: layers, checkpoint_every, gradient_every ...
    """

    def __init__(self, run, *, train=None, test=None, every: int = 1, **settings):
        if every < 1:
            raise SettingError(f"every counts {run.time_unit}s, from 1; got {every}.")
        if settings.get("replay"):
            raise SettingError(
                "This trainer does not say which examples are in a step before it is taken, so "
                "replay=True cannot be kept. Train with a plain loop and Recorder for replay."
            )
        self.run = run
        self.every = every
        self._settings = {"train": train, "test": test, **settings}
        self._recorder: Recorder | None = None
        self._last_step = -1

    def on_train_start(self, trainer, pl_module):
        optimizer = trainer.optimizers[0] if trainer.optimizers else None
        self._recorder = Recorder(self.run, pl_module, optimizer, **self._settings)
        self._recorder.steps_taken = self._last_step = trainer.global_step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if isinstance(outputs, Mapping) and "logits" in outputs and len(batch) >= 3:
            *_, labels, ids = batch
            self._recorder.batch(outputs["logits"], labels, ids)
        step = trainer.global_step
        stepped, self._last_step = step != self._last_step, step
        if self.run.time_unit == "step" and stepped and step % self.every == 0:
            self._recorder.epoch(step)

    def on_train_epoch_end(self, trainer, pl_module):
        epoch = trainer.current_epoch + 1
        if self.run.time_unit == "epoch" and epoch % self.every == 0:
            self._recorder.epoch(epoch)

    def on_fit_end(self, trainer, pl_module):
        self._close()

    def on_exception(self, trainer, pl_module, exception):
        self._close()

    def _close(self) -> None:
        if self._recorder is not None:
            self._recorder.close()
