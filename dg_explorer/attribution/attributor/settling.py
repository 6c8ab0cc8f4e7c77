"""Which task scores are about, before anything is computed: said, inferred, or the recorded one."""

from __future__ import annotations

import torch

from ...data.batch import calling
from ...errors import SettingError
from ...tasks import InferredTask
from ..gradients.watching import undisturbed


def settled(attributor, data, run=None):
    """The attributor, once its task is settled: given, or inferred from the data.

    Parameters
    ----------
    data : its first examples tell, where the task is to be inferred
    run : Run, optional
        What it recorded must be the task that is inferred.

    Raises
    ------
    TaskUnclearError
        The examples could mean several tasks.
    SettingError
        The model's class contradicts the task; or the run recorded another one.
    """
    task = attributor.task
    task.check_model(attributor.model)
    if not isinstance(task, InferredTask):
        return attributor
    if not task.is_settled:
        model = attributor.model
        batch, _ = next(iter(attributor.batches(data, 16, model)))
        trained = [name for name, p in model.named_parameters() if p.requires_grad]
        # in the graph, so that a softmax or a sigmoid at the end is seen
        with undisturbed(model, trained), torch.enable_grad():
            prediction = task.predict(model, batch)
            task.check(prediction, batch)
    told = None if run is None else run.attrs.get("task")
    if isinstance(told, dict) and told.get("digest") != task.digest():
        raise SettingError(
            f"This run recorded the task {told.get('told')}, and without task= "
            f"{task.settled!r} would be attributed. Pass the task= that was recorded, or "
            f"task={task.name!r} where that is meant."
        )
    return attributor


def check_taken(attributor, **given) -> None:
    """See that the model takes the examples that were given, before anything is compared.

    Parameters
    ----------
    **given : data by the name of its argument; None is passed over

    Raises
    ------
    DataError
        Names the argument, what its examples hold, and what the model says.
    """
    model = attributor.model
    for argument, data in given.items():
        if data is None:
            continue
        batch, _ = next(iter(attributor.batches(data, 2, model)))
        with undisturbed(model), torch.no_grad(), calling(batch, argument):
            attributor.task.predict(model, batch)
