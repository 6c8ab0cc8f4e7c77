"""`HuggingFaceRecorder`: a callback that makes `transformers.Trainer` write a run's record."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import transformers

from ...arguments import checked
from ...errors import SettingError
from ...record.run import Run
from ..recorder import NO_TRAIN, Recorder
from .drawn import Drawn
from .refused import refuse
from .transformers_facts import facts_of, in_the_way


class HuggingFaceRecorder(transformers.TrainerCallback):
    """Records a model that `transformers.Trainer` trains.

    ::

        recorder = HuggingFaceRecorder(run, train=with_ids(train), test=with_ids(test))
        Trainer(model, args, train_dataset=train, callbacks=[recorder]).train()

    Trainer drops columns that the model does not take, ids among them, so training examples are
    evaluated at each recorded epoch instead of being followed from batch to batch; what is in
    a step is read off what the loader's sampler draws. Only whole
    epochs are recorded as epochs; a training that ends inside one says so before it begins.
    Resumed from a checkpoint of the trainer's, the run goes on there, and rows beyond it are
    replaced.

    Parameters
    ----------
    run : Run
        With `time_unit="epoch"`, a row at the end of each epoch; with "step", every
        `every` optimizer steps. None in all but the first of several processes.
    train, test : Dataset or DataLoader
        Of dicts with `labels`, as the model takes them; evaluated whole.
    every : int
        Epochs or steps from one row to the next.
    **settings
        As for `Recorder`: layers, checkpoint_every, gradient_every ... With `replay=True`
        accumulation, clipping, schedules, parameter groups and smoothed labels are recorded too,
        also of TRL's `SFTTrainer`, and what a replay cannot follow is refused by its name before
        the training.
    """

    @checked
    def __init__(
        self, run: Run | str | Path | None, *, train=None, test=None, every: int = 1, **settings
    ):
        self.run: Any = run
        self.every = every
        self._settings = {"train": train, "test": test, **settings}
        self._recorder: Any = None  # a Recorder, once the training begins
        self._drawn: Drawn | None = None

    def on_train_begin(self, args, state, control, model=None, optimizer=None, **kwargs):
        # accelerate wraps the optimizer; hooks belong on the one that steps
        optimizer = getattr(optimizer, "optimizer", optimizer)
        loader: Any = kwargs.get("train_dataloader")
        replay = self._settings.get("replay")
        again = self._end()  # a trainer that tries once more with smaller batches
        task = self._settings.get("task")
        if replay:
            tried = again and bool(optimizer is not None and optimizer.state)
            words = (
                "a second try of auto_find_batch_size (transformers takes it from the weights and "
                "the optimizer's memory that the first try left; set per_device_train_batch_size)"
            )
            refuse("transformers.Trainer", in_the_way(args, model, loader, task) | {words: tried})
        self._recorder = Recorder(self.run, model, optimizer, **self._settings)
        self.run = self._recorder.run
        by_epoch = self.run.time_unit == "epoch"
        if by_epoch:
            self._check_whole(args, state, loader)
        if self._settings["train"] is None and "train_examples" in self.run:
            warnings.warn(NO_TRAIN, stacklevel=2)
        self._recorder.steps_taken = state.global_step
        after = int(state.epoch or 0) if by_epoch else state.global_step
        self._recorder.begin_after(after, again=again or state.global_step > 0)
        if replay:
            self._recorder.trained_by(facts_of(args, model))
            steps = max(1, -(-len(loader) // args.gradient_accumulation_steps))
            skip = state.global_step % steps * args.gradient_accumulation_steps
            skip = 0 if args.ignore_data_skip else skip
            self._drawn = Drawn(loader, self._settings["train"], skip=skip)
            self._drawn.check(self._recorder.served("train"))

    def on_step_begin(self, args, state, control, **kwargs):
        self._name_batch()

    def on_substep_end(self, args, state, control, **kwargs):
        self._name_batch()  # the next one of the same step

    def _name_batch(self) -> None:
        if self._drawn is not None:
            self._recorder.next_batch(self._drawn.next())

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
            self._recorder.close()
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
        self._end()

    def _end(self) -> bool:
        """Stop watching; whether anything was watched."""
        recorder, drawn = self._recorder, self._drawn
        self._recorder = self._drawn = None
        if recorder is not None:
            recorder.close()
        if drawn is not None:
            drawn.close()
        return recorder is not None
