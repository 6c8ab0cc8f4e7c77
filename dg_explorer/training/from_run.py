"""The training that a run recorded, as a function again, and how much of it is proved."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._pytree import tree_flatten

from ..arguments import checked
from ..checkpoints.loading import copied, load_into
from ..checkpoints.several import each_of
from ..checkpoints.store import load_initial
from ..data.batch import Batch
from ..data.leaves import shapes
from ..data.served import Served
from ..errors import DataError, SettingError
from ..record.run import as_run
from ..tasks import TASKS, ClassificationTask, InferredTask, SequenceToSequenceTask, Task, as_task
from ..tasks.model_kinds import bare
from ..tasks.positions import IGNORED
from .loss.as_taken import as_taken
from .loss.known_losses import OfTask, SmoothedOfTask, cross_entropy
from .loss.trained_loss import WEIGHT_RULES, Denominators, TrainedLossError, trained_loss
from .own_steps import OwnSteps
from .proof import LibraryChangedError, prove_replay
from .recorded_steps import (
    REMAINING,
    OptimizerStateMissingError,
    RecordedRates,
    ReplayMissingError,
    recorded_steps,
    steps_at_epochs,
)
from .several_inputs import Layout, as_wide, taking_one_tensor, widest
from .step.choose import step_from_torch
from .step.generic import GradientChange, OptimizerStep, ThetaChange
from .training import Training, margin

__all__ = [
    "LibraryChangedError",
    "OptimizerStateMissingError",
    "ReplayMissingError",
    "training_of_run",
]


@checked
def training_of_run(
    run,
    model: nn.Module,
    *,
    train,
    test,
    task=None,
    loss: Callable | None = None,
    output: Callable | None = None,
    forward=None,
    label=None,
    optimizer: Callable | Sequence[Callable | None] | None = None,
    change_gradient: GradientChange | None = None,
    change_theta: ThetaChange | None = None,
    verify: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Training:
    """The recorded training of a run, from its replay log, initial state and optimizer settings.

    Every segment between two checkpoints is taken again, by the model's own modules and torch's
    own optimizer, and compared with what was recorded. This costs one training, once: the proof
    stays in the record.

    Parameters
    ----------
    run : Run
        Recorded with ``Recorder(..., replay=True)``.
    model : module
        The model that was trained; its weights do not matter and are not changed.
    train, test : datasets
        The examples that were trained on and evaluated, with their ids if they have any.
    task : str or Task, optional
        What was trained; default what the record says: its loss, with the weights of examples
        that the recorder found, and its output.
    loss : callable ``(answers, labels) -> (example,)``, optional
        Another loss that was trained, whose mean over the step's examples it was.
    output : callable ``(answers, labels) -> (example,)``, optional
        Something else to attribute than the task's output.
    forward, label : optional
        Which entries of a batch are inputs, and which is the label, as for `Recorder`; several
        inputs lie side by side in the `inputs` of the result.
    optimizer : class, or callable ``parameter groups -> optimizer``, optional
        Of a training stepped by an optimizer that is none of torch's. Its steps are tried, and
        compared with finite differences. Of several optimizers a list, with None for torch's.
    change_gradient, change_theta : callables, optional
        What the training did between backward and step, and to the weights after it; see
        `OptimizerStep`. Default: the clipping of a trainer that the record names.
    verify : bool
        Without it nothing is taken again; scores then say how much of the replay is proved.
    progress : callable ``(steps taken again, steps)``, optional

    Returns
    -------
    Training
        An epoch of it is an optimizer step; ``labels_of_epochs`` names those that the run
        recorded.

    Raises
    ------
    ReplayMissingError
        If the order of examples or the initial state is not in the record, or
        (`OptimizerStateMissingError`) the optimizer's state; the message says what is missing
        and which methods remain.
    TrainedLossError
        If another loss was trained and `loss` is not given.
    NotDeterministicError
        If a replayed segment ends at other weights than were recorded; `LibraryChangedError`
        if the version of torch is another one, too.
    """
    run = as_run(run)
    if not isinstance(model, nn.Module):
        raise SettingError(f"model must be a torch module, not {type(model).__name__}.")
    for name, value in (("loss", loss), ("output", output)):
        if value is not None and not callable(value):
            raise SettingError(f"{name}={value!r}: a function of (answers, labels).")
    how = {"forward": forward, "label": label}
    weight = next((p for p in model.parameters() if p.is_floating_point()), None)
    precision = None if weight is None else weight.dtype  # in which inputs are evaluated, too
    batches, test_batches = (
        [
            batch.to("cpu", precision)
            for batch in Served.of(data, split=split, run=run, model=model, by_position=True, **how)
        ]
        for split, data in (("train", train), ("test", test))
    )
    task = _task(run, task, model, batches[0])
    batches, test_batches = (
        _readable(part, task, model, loss is None or output is None)
        for part in (batches, test_batches)
    )
    width = max(widest(batches), widest(test_batches))
    batches, test_batches = as_wide(batches, width), as_wide(test_batches, width)
    layout = _layout(batches, "training")
    if _layout(test_batches, "test") != layout:
        raise ReplayMissingError(
            f"A replay takes inputs of one shape; training and test examples differ. {REMAINING}"
        )
    inputs, labels, train_ids = _tensors(batches, layout)
    test_inputs, test_labels, test_ids = _tensors(test_batches, layout)
    model = taking_one_tensor(model, layout)
    steps, start = _start(run, model, train_ids, labels, optimizer)
    if loss is not None and steps.weights is not None:
        raise TrainedLossError(
            "The recorder found weights of examples in the trained loss, in units of the "
            "cross-entropy; with another loss= they mean nothing. Leave loss= out."
        )
    smoothing = _check_loss(run) if loss is None else 0.0
    if loss is None or output is None:
        alone, _ = task.by_labels(batches[0])
        plain = isinstance(task, ClassificationTask)
        if smoothing:
            loss = SmoothedOfTask(alone, smoothing)
        loss = loss or (cross_entropy if plain else OfTask(alone, "loss"))
        output = output or (margin if plain else OfTask(alone, "output"))
    change_gradient = change_gradient or steps.clip
    if steps.draws is not None:
        start.train()
    for name in steps.resting:
        start.get_submodule(name).eval()
    rule = _rule(steps, start, optimizer, change_gradient, change_theta)
    whole = as_taken(steps.trainer, start, labels, smoothing)
    own = OwnSteps(copied(start), steps, inputs, labels, loss, rule, optimizer, whole)
    if steps.precisions is not None:  # frozen weights may be in half precision themselves
        start.to(next(p.dtype for n, p in start.named_parameters() if n in steps.trained))
    if steps.cut and (_padded_before(batches) or own.follows_padding()):
        raise ReplayMissingError(
            f"Each batch was padded to its longest example, and what the model answers to an "
            f"example depends on that: padding stands before the tokens, or the model reads it. "
            f"Pad behind the tokens (tokenizer.padding_side='right'), or all examples to one width "
            f"before the training. {REMAINING}"
        )
    proof = prove_replay(run, own, rule, take=verify, progress=progress)
    taken = steps_at_epochs(run)
    labels_of_epochs = {n: epoch for epoch, n in taken.items() if n <= len(steps)}
    everyone = np.arange(len(train_ids))
    full = steps.weights is None and steps.draws is None
    full = full and all(
        len(b) == len(everyone) and np.array_equal(np.sort(b), everyone) for b in steps.batches
    )
    return Training(
        model=lambda seed: copied(start),
        inputs=inputs,
        labels=labels,
        test_inputs=test_inputs,
        test_labels=test_labels,
        optimizer=rule,
        n_epochs=len(steps),
        batch_size=None if full else max(len(batch) for batch in steps.batches),
        order=None if full else [[batch] for batch in steps.batches],
        slot_weights=steps.weights,
        record_at=tuple(sorted(s for s in labels_of_epochs if s > 0)),
        loss=loss,
        output=output,
        train_ids=train_ids,
        test_ids=test_ids,
        labels_of_epochs=labels_of_epochs,
        one_start=True,
        carried=steps.trained,
        draws=steps.draws,
        mixed="" if steps.precisions is None else steps.precisions.words,
        denominators=_denominators(steps, task, labels),
        own=own,
        proof=proof,
    )


def _padded_before(batches: list[Batch]) -> bool:
    """Whether some padding stands before the tokens of an example."""
    masks = [batch.keywords.get("attention_mask") for batch in batches]
    return any(bool((m[:, 0] == 0).any()) for m in masks if torch.is_tensor(m) and m.ndim == 2)


def _start(run, model, train_ids, labels, optimizer):
    """The recorded steps, and the model before the first of them."""
    initial: Any = None
    names: list[str] = []
    if "replay" in run:
        initial = load_initial(run)
        names = initial.parameters
    steps = recorded_steps(run, train_ids, labels.numpy(), names)
    start = _plain_passes(copied(model))
    load_into(start, initial.weights)
    state = {} if initial.optimizer is None else initial.optimizer.get("state", {})
    if state and not _as_made(state, steps.optimizer_for(start, optimizer).state_dict()["state"]):
        raise OptimizerStateMissingError(
            "The optimizer had taken steps before recording began, so the start of this training "
            f"is not in the record. Create the optimizer anew before Recorder. {REMAINING}"
        )
    return steps, start


def _plain_passes(model: nn.Module) -> nn.Module:
    """A model of transformers without gradient checkpointing, through which no derivative goes."""
    inner = bare(model)
    for name in ("activation", "gradient"):  # as versions call it
        if hasattr(type(inner), f"is_{name}_checkpointing"):
            if getattr(inner, f"is_{name}_checkpointing"):
                getattr(inner, f"{name}_checkpointing_disable")()
                inner.disable_input_require_grads()
            break
    return model


def _as_made(state: dict, made: dict) -> bool:
    """Whether what an optimizer remembers is what it has from the moment it is made (Adagrad)."""
    pairs, other = (tree_flatten(tree) for tree in (state, made))
    return pairs[1] == other[1] and all(
        torch.equal(torch.as_tensor(a).cpu(), torch.as_tensor(b).cpu())
        for a, b in zip(pairs[0], other[0], strict=True)
    )


def _rule(steps, start, optimizer, change_gradient, change_theta):
    """The rule of the recorded steps: by hand where the groups keep their ratio of rates."""
    named = [(name, p) for name, p in start.named_parameters() if name in steps.trained]
    made = steps.optimizer_for(start, optimizer)
    changes: dict = {"change_gradient": change_gradient, "change_theta": change_theta}
    each = each_of(made)
    ratio = np.nanmax(steps.rates, axis=0) / (np.nanmax(steps.rates[:, 0]) or 1.0)
    if len(each) == 1 and np.allclose(steps.rates, steps.rates[:, :1] * ratio, rtol=1e-9, atol=0):
        rule = step_from_torch(made, named, lr=RecordedRates(steps.rates[:, 0]), **changes)
        if not rule.generic:
            return rule
    rates = RecordedRates(steps.rates)
    return OptimizerStep(each, named, lr=rates, turns=steps.turns, **changes)


def _denominators(steps, task: Task, labels: torch.Tensor) -> Denominators:
    """By what the losses of the recorded steps were divided."""
    over = {WEIGHT_RULES[rule] for rule in steps.rules}
    counts = np.ones(len(labels)) if steps.counts is None else steps.counts
    if set(steps.rules) == {"1/N'"}:  # its first label adds to what a sequence is divided by
        counts = counts + (labels[:, 0] != IGNORED).numpy()
    if steps.micro is None:
        over = {"step"} if over or steps.weights is None else set()
    return Denominators(counts, over.pop() if len(over) == 1 else None, steps.micro)


def _check_loss(run) -> float:
    """By how much labels were smoothed; refused where it is not known which loss was trained."""
    found = trained_loss(run)
    if found is not None and found.smoothing:
        return found.smoothing
    if found is not None and found.kind in ("answers", "other"):
        smoothed = re.search(r"label smoothing ([\d.e-]+\d)", found.words)
        here = smoothed and (
            "; here loss=functools.partial(torch.nn.functional.cross_entropy, reduction='none', "
            f"label_smoothing={smoothed[1]})"
        )
        raise TrainedLossError(
            f"{found.words} Pass loss= with the loss that was trained, a function of (answers, "
            f"labels) that gives one number an example{here or ''}. {REMAINING}"
        )
    return 0.0


def _task(run, task, model: nn.Module, batch: Batch) -> Task:
    """What was trained: as it is given, or as the record and the model say."""
    told = run.attrs.get("task")
    told = told if isinstance(told, dict) else {}
    task = as_task(task)
    if isinstance(task, InferredTask):
        if told.get("name") in TASKS and TASKS[told["name"]]().digest() == told.get("digest"):
            return TASKS[told["name"]]()
        if not told or told["name"] == "custom":
            return ClassificationTask()  # what earlier versions took it for
        with torch.no_grad():
            task.predict(model, batch)
        task = task.settled
    if told and task.digest() != told.get("digest"):
        raise SettingError(
            f"The run records the task {told.get('told')}, and {task!r} would be taken here. Pass "
            f"task= as to the recorder."
        )
    return task


def _readable(batches: list[Batch], task: Task, model, by_task: bool) -> list[Batch]:
    """The examples of a split, each with tensors of its own as inputs and label."""
    found = []
    for batch in batches:
        if isinstance(task, SequenceToSequenceTask) and batch.forward is None:
            made = task.decoder_inputs(model, batch)
            batch = replace(batch, keywords=batch.keywords | made)
        if by_task and batch.forward is None:
            batch = replace(batch, labels=task.by_labels(batch)[1])
        found.append(batch)
        if batch.forward is not None or not torch.is_tensor(batch.labels):
            raise ReplayMissingError(
                f"A replay calls the model with the inputs of an example and compares with its "
                f"label, a tensor; the batches hold {shapes(batch.raw)}. Say with label= where "
                f"the labels are, and with forward= which entries are inputs (a key, a place or a "
                f"list of them). {REMAINING}"
            )
    return found


def _layout(batches: list[Batch], split: str) -> Layout:
    """How the inputs lie in an example; the same in all of a split."""
    try:
        found = {Layout.of(batch) for batch in batches}
    except DataError as error:
        raise ReplayMissingError(f"{error} {REMAINING}") from error
    if len(found) > 1:
        raise ReplayMissingError(
            f"A replay takes inputs of one shape, and those of the {split} examples differ. "
            f"{REMAINING}"
        )
    return found.pop()


def _tensors(batches: list[Batch], layout: Layout):
    """Inputs and labels as two tensors, and ids."""
    if layout.plain:
        inputs = torch.cat([batch.inputs[0] for batch in batches])
    else:
        inputs = layout.packed(batches)
    labels = torch.cat([batch.labels for batch in batches])
    return inputs, labels, np.concatenate([batch.ids for batch in batches])
