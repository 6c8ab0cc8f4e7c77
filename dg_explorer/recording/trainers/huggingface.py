"""`HuggingFaceRecorder`: a callback that makes `transformers.Trainer` write a run's record."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path
from typing import Any

import transformers

from ...arguments import checked
from ...errors import SettingError
from ...record.run import Run
from ..recorder import NO_TRAIN, Recorder
from ..trainer_facts import TrainerFacts
from .drawn import Drawn
from .refused import refuse

STREAM = "an iterable dataset, whose order nobody draws (give one with __len__ and __getitem__)"


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
        accumulation, clipping, schedules and parameter groups are recorded too, and what a replay
        cannot follow is refused by its name before the training.
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
        if replay:
            refuse("transformers.Trainer", _in_the_way(args, model) | {STREAM: _streams(loader)})
        self._recorder = Recorder(self.run, model, optimizer, **self._settings)
        self.run = self._recorder.run
        by_epoch = self.run.time_unit == "epoch"
        if by_epoch:
            self._check_whole(args, state, loader)
        if self._settings["train"] is None and "train_examples" in self.run:
            warnings.warn(NO_TRAIN, stacklevel=2)
        self._recorder.steps_taken = state.global_step
        self._recorder.begin_after(int(state.epoch or 0) if by_epoch else state.global_step)
        if replay:
            self._recorder.trained_by(_facts(args, model))
            steps = max(1, -(-len(loader) // args.gradient_accumulation_steps))
            skip = state.global_step % steps * args.gradient_accumulation_steps
            self._drawn = Drawn(loader, self._settings["train"], skip=skip)

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
        self._recorder.close()
        if self._drawn is not None:
            self._drawn.close()


def _streams(loader) -> bool:
    """Whether the trainer's examples come without a length, in an order that nobody draws."""
    try:
        return len(loader) < 0
    except TypeError:
        return True


def _in_the_way(args, model) -> dict[str, bool]:
    """What an exact replay cannot follow, by name, and whether this training has it."""
    trl = _of_trl(args)
    return {
        "fp16=True (its scaled loss and the steps that it skips; bf16=True is followed)": args.fp16,
        "label_smoothing_factor (another loss than the model's; in a loop of your own it can be "
        "followed: training_of_run(..., loss=))": args.label_smoothing_factor > 0,
        trl: bool(trl),
        "neftune_noise_alpha (noise on the embeddings)": bool(args.neftune_noise_alpha),
        "deepspeed": bool(args.deepspeed),
        "fsdp": bool(args.fsdp),
        "a data-parallel model on several devices (n_gpu above 1)": args.n_gpu > 1,
        "optim_target_modules (projected gradients)": bool(args.optim_target_modules),
    }


def _of_trl(args) -> str:
    """The settings of a trainer of TRL, and what to do instead of it; "" for others.

    Its `SFTTrainer` takes the loss in pieces inside the model's head, which then returns no logits
    that could be compared; those for preferences and rewards train on losses of their own.
    """
    kinds = [k for k in type(args).__mro__ if k.__module__.split(".")[0] == "trl"]
    names = [k.__name__ for k in kinds if not k.__name__.startswith("_")]
    if not names:
        return ""
    if "SFTConfig" in names:
        return (
            f"TRL's {names[0]} (it returns no logits; transformers.Trainer on the tokenized rows, "
            f"with labels, takes the same steps and is followed)"
        )
    return f"TRL's {names[0]} (a loss of its own, which is no mean over examples)"


def _facts(args, model) -> TrainerFacts:
    """What decides the weight of an example in this trainer."""
    own = model.get_base_model() if hasattr(model, "get_base_model") else model
    takes = inspect.signature(own.forward).parameters.values()
    keywords = any(p.kind == inspect.Parameter.VAR_KEYWORD for p in takes)
    return TrainerFacts(
        name="transformers.Trainer",
        accumulate=args.gradient_accumulation_steps,
        clip={"norm": float(args.max_grad_norm)} if args.max_grad_norm else {},
        more={
            "transformers": transformers.__version__,
            "model": type(own).__name__,
            "loss_type": getattr(own, "loss_type", None),
            "accepts_loss_kwargs": bool(getattr(own, "accepts_loss_kwargs", keywords)),
            "label_smoothing_factor": args.label_smoothing_factor,
        },
    )
