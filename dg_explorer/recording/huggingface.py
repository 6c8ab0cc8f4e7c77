"""`HuggingFaceRecorder`: a callback that makes `transformers.Trainer` write a run's record."""

from __future__ import annotations

import warnings

from transformers import TrainerCallback

from ..arguments import checked
from ..errors import SettingError
from .recorder import NO_TRAIN, Recorder


class HuggingFaceRecorder(TrainerCallback):
    """Records a model that `transformers.Trainer` trains.

    ::

        recorder = HuggingFaceRecorder(run, train=with_ids(train), test=with_ids(test))
        Trainer(model, args, train_dataset=train, callbacks=[recorder]).train()

    Trainer drops columns that the model does not take, ids among them, so training examples are
    evaluated at each recorded epoch instead of being followed from batch to batch. Only whole
    epochs are recorded as epochs; a training that ends inside one says so before it begins.
    Resumed from a checkpoint of the trainer's, the run goes on there, and rows beyond it are
    replaced.

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

    @checked
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
        if self.run.time_unit == "epoch":
            self._check_whole(args, state, kwargs.get("train_dataloader"))
        if self._settings["train"] is None and "train_examples" in self.run:
            warnings.warn(NO_TRAIN, stacklevel=2)
        # accelerate wraps the optimizer; hooks belong on the one that steps
        optimizer = getattr(optimizer, "optimizer", optimizer)
        self._recorder = Recorder(self.run, model, optimizer, **self._settings)
        self._recorder.steps_taken = state.global_step
        by_epoch = self.run.time_unit == "epoch"
        self._recorder.begin_after(int(state.epoch or 0) if by_epoch else state.global_step)

    def on_epoch_end(self, args, state, control, **kwargs):
        epoch = round(state.epoch)
        whole = abs(state.epoch - epoch) < 1e-6  # this comes too where training stops inside one
        if self.run.time_unit == "epoch" and whole and epoch % self.every == 0:
            self._recorder.epoch(epoch)

    def on_step_end(self, args, state, control, **kwargs):
        if self.run.time_unit == "step" and state.global_step % self.every == 0:
            self._recorder.epoch(state.global_step)

    def _check_whole(self, args, state, loader) -> None:
        """Say before the training what of it a record by epochs will not hold."""
        try:
            batches = len(loader)
        except TypeError:  # None, or a stream without a length
            return
        steps = max(1, -(-batches // args.gradient_accumulation_steps))
        if state.max_steps < steps * self.every:
            raise SettingError(
                f"This training takes {state.max_steps} steps, and {self.every} "
                f"epoch{'s' * (self.every > 1)} would be {steps * self.every}: nothing would be "
                f"recorded. Make the run with Run.create(..., time_unit='step')."
            )
        if state.max_steps % steps:
            warnings.warn(
                f"This training ends inside an epoch (after {state.max_steps} steps, {steps} an "
                f"epoch); the record holds whole epochs, so not its end. "
                f"Run.create(..., time_unit='step') records moments by step.",
                stacklevel=3,
            )

    def on_train_end(self, args, state, control, **kwargs):
        self._recorder.close()
