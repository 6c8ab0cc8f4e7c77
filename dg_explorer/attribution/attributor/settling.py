"""Which task scores are about, before anything is computed: said, inferred, or the recorded one."""

from __future__ import annotations

import torch

from ...data.batch import calling
from ...errors import SettingError
from ...tasks import TASKS, InferredTask, as_task
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


def take_recorded_task(attributor, run) -> None:
    """Attribute the task that was recorded, where none is given and its name is all there is to it.

    A few test examples may fit several tasks: counts of 0 and 1 are classes, too.
    """
    told = run.attrs.get("task")
    if not isinstance(attributor.task, InferredTask) or not isinstance(told, dict):
        return
    if told.get("name") in TASKS:
        recorded = as_task(told["name"])
        if recorded.digest() == told.get("digest"):
            attributor.task = recorded


def check_trained(attributor, run) -> None:
    """See that the parameters with gradients are those that were trained, unless `layers` says.

    Raises
    ------
    SettingError
        A layer was frozen while the run was recorded and is not now, or the reverse.
    """
    frozen = run.attrs.get("frozen")
    of_features = hasattr(attributor, "layer")
    if of_features or attributor.layers is not None or not isinstance(frozen, list):
        return
    now = {name: p.requires_grad for name, p in attributor.model.named_parameters()}
    if not set(frozen) <= set(now):  # the names are those of another wrapper
        return
    for was, names in (
        ("frozen", [name for name in frozen if now[name]]),
        ("trained", [name for name, has in now.items() if not has and name not in frozen]),
    ):
        if names:
            is_now = "are not now" if was == "frozen" else "are frozen now"
            raise SettingError(
                f"{', '.join(names[:4])}{' ...' if len(names) > 4 else ''} were {was} while this "
                f"run was recorded and {is_now}: scores would be of other parameters than those "
                f"that were trained. Set requires_grad_({was == 'trained'}) on them as then, or "
                f"say which layers to attribute: layers=[...]."
            )


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
