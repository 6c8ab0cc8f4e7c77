"""`HuggingFaceRecorder`: a callback that makes `transformers.Trainer` write a run's record."""

from __future__ import annotations

from transformers import TrainerCallback

from ..errors import SettingError
from .recorder import Recorder


class HuggingFaceRecorder(TrainerCallback):
    """Records a model that `transformers.Trainer` trains.

    ::

        recorder = HuggingFaceRecorder(run, train=with_ids(train), test=with_ids(test))
        Trainer(model, args, train_dataset=train, callbacks=[recorder]).train()

    Trainer drops columns that the model does not take, ids among them, so training examples are
    evaluated at each recorded epoch instead of being followed from batch to batch.

    Parameters
    ----------
    run : Run
        With `time_unit="epoch"`, a row at the end of each epoch; with "step", every
        `every` optimizer steps.
    train, test : Dataset or DataLoader
        Of dicts with `labels`, as the model takes them; evaluated whole.
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

    def on_train_begin(self, args, state, control, model=None, optimizer=None, **kwargs):
        # accelerate wraps the optimizer; hooks belong on the one that steps
        optimizer = getattr(optimizer, "optimizer", optimizer)
        self._recorder = Recorder(self.run, model, optimizer, **self._settings)
        self._recorder.steps_taken = state.global_step

    def on_epoch_end(self, args, state, control, **kwargs):
        epoch = round(state.epoch)
        if self.run.time_unit == "epoch" and epoch % self.every == 0:
            self._recorder.epoch(epoch)

    def on_step_end(self, args, state, control, **kwargs):
        if self.run.time_unit == "step" and state.global_step % self.every == 0:
            self._recorder.epoch(state.global_step)

    def on_train_end(self, args, state, control, **kwargs):
        self._recorder.close()
