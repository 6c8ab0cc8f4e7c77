"""What the model answers now against what the record says that it answered then.

The record holds the output of every test example at every epoch, as the recorder saw it. A model
of the same weights, on the same inputs, says the same: where it does not, the inputs, their
preprocessing, the labels, the activation or the weights are others, and every score would be
about another model.
"""

from __future__ import annotations

import numpy as np
import torch

from ...checkpoints.loading import load_into
from ...checkpoints.store import load_weights, saved_epochs
from ...data.served import Served
from ...errors import DataError, SettingError
from ...tasks import TASKS, Task
from ..gradients.watching import undisturbed

#: of the largest output: what another size of batch, another device or float32 may change
_ROOM = {
    torch.float64: 1e-5,
    torch.float32: 1e-3,
    torch.float16: 3e-2,
    torch.bfloat16: 1e-1,
}
#: at most this many test examples are compared
EXAMPLES = 256
AS_RECORDED = "as recorded"
#: what the record says of outputs that are those of the checkpoint
AFTERWARDS = "with the weights of this epoch"


class OutputsDifferError(DataError):
    """The model does not answer as the record says that it did."""


def check_outputs(model, task: Task, data: Served, run, epoch: int, split: str = "test") -> str:
    """Compare the outputs of some examples with those in the record at an epoch.

    Parameters
    ----------
    model : holding the weights of the epoch
    task : Task
        What is attributed; compared where it is the recorded one.
    data : Served
    epoch : int
        At which `dynamics/<split>` has a row.

    Returns
    -------
    str
        "as recorded", or why nothing was compared.

    Raises
    ------
    OutputsDifferError
        Shows three examples and the usual causes.
    """
    row = run[f"dynamics/{split}"].sel(epoch=epoch)
    if data.augmented:
        return f"not compared: {split} examples differ from one reading to the next"
    measured = _recorded_task(task, run)
    if measured is None:
        return f"not compared: the record's task is {run.attrs['task'].get('told')}"
    column = measured.output_column
    if column not in row:
        return f"not compared: the record has no {column!r}"
    known = np.intersect1d(data.ids, row[split].values)
    if not len(known):
        return f"not compared: none of the {split} examples is in the record"
    chosen = known[np.linspace(0, len(known) - 1, min(EXAMPLES, len(known))).round().astype(int)]
    ids, now = _outputs(model, measured, data.subset(np.unique(chosen)), column)
    then = row[column].sel({split: ids}).values.astype(np.float64)
    both = np.isfinite(then) & np.isfinite(now)
    if not both.any():
        return "not compared: the record's outputs are not finite"
    size = max(float(np.abs(then[both]).max()), 1.0)
    off = np.abs(now - then)
    wrong = np.flatnonzero(both & (off > _room(model) * size))
    if len(wrong):
        _refuse(run, epoch, split, ids, now, then, wrong[np.argsort(-off[wrong], kind="stable")])
    return AS_RECORDED


def compared(
    attributor, served: dict[str, Served | None], run, epochs: list[int], outputs: str
) -> str:
    """What the comparison at the first, a middle and the last of some epochs says, in words.

    The words are of the test examples. Training examples are compared too, at the last recorded
    epoch, where the record has their outputs with its weights and not from while it was trained.
    The attributor's model holds the weights of one of the epochs afterwards.

    Parameters
    ----------
    served : train and test examples; test is left out where none were given, None where the task
        reads whole batches
    outputs : "check" or "unchecked"
        As the user asks.

    Raises
    ------
    OutputsDifferError
        At one of them the model does not answer as recorded.
    """
    if outputs == "unchecked":
        return "unchecked: the model may be another than the recorded one"
    if outputs != "check":
        raise SettingError(f"outputs={outputs!r} must be 'check' or 'unchecked'.")
    said = {
        split: _compared(attributor, split, data, run, epochs) for split, data in served.items()
    }
    return said.get("test", "not compared: no test= examples were given")


def _compared(attributor, split: str, data: Served | None, run, epochs: list[int]) -> str:
    if data is None:
        return "not compared: the task reads whole batches"
    group = f"dynamics/{split}"
    recorded = run[group]["epoch"].values if group in run else ()
    if split == "train":
        # the last row alone is known to be of its checkpoint, whatever epochs are asked for
        attrs = run[group].attrs if group in run else {}
        epochs = list(saved_epochs(run)) if attrs.get("measured") == AFTERWARDS else []
        recorded = [epoch for epoch in recorded if epoch == attrs.get("last_measured")]
    epochs = [epoch for epoch in epochs if epoch in recorded]
    if not epochs:
        return "not compared: the record has no outputs of these epochs"
    said = []
    for epoch in sorted({epochs[0], epochs[len(epochs) // 2], epochs[-1]}):
        load_into(attributor.model, load_weights(run, epoch))
        said.append(check_outputs(attributor.model, attributor.task, data, run, epoch, split))
    return next((words for words in said if words != AS_RECORDED), AS_RECORDED)


def _recorded_task(task: Task, run) -> Task | None:
    """The task that was recorded: that of the scores, or one that its name makes; None: unknown."""
    told = run.attrs.get("task")
    if not isinstance(told, dict):
        return task if task.output_column == "margin" else None
    if told.get("digest") == task.digest():
        return task
    made = TASKS.get(str(told.get("name")))
    made = None if made is None else made()
    return made if made is not None and made.digest() == told.get("digest") else None


def _outputs(model, task: Task, test: Served, column: str) -> tuple[np.ndarray, np.ndarray]:
    parameter = next(iter(model.parameters()))
    ids, values = [], []
    with undisturbed(model), torch.no_grad():
        for batch in test:
            batch = batch.to(parameter.device, parameter.dtype.to_real())
            prediction = task.predict(model, batch)
            task.check(prediction, batch)
            values.append(task.measures(prediction, batch)[column].double().cpu().numpy())
            ids.append(batch.ids)
    return np.concatenate(ids), np.concatenate(values)


def _room(model) -> float:
    dtypes = {p.dtype for p in model.parameters() if p.is_floating_point()}
    return max((_ROOM.get(dtype, 1e-3) for dtype in dtypes), default=1e-3)


def _refuse(run, epoch, split, ids, now, then, wrong) -> None:
    shown = "; ".join(
        f"{split} example {ids[i]}: {then[i]:.4g} in the record, {now[i]:.4g} now"
        for i in wrong[:3]
    )
    raise OutputsDifferError(
        f"The model does not answer as the record says it did at {run.time_unit} {epoch}, for "
        f"{len(wrong)} of {len(ids)} {split} examples compared: {shown}. Scores would be about "
        f"another model. Usual causes: other inputs or another preprocessing of them (a random "
        f"one too), other labels, another activation or setting of the model than it was trained "
        f"with, weights that were changed after recording, probabilities where logits were "
        f"recorded. For a "
        f"model that is meant to differ: attribute(..., outputs='unchecked')."
    )
