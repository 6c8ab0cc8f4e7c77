"""A task by its name."""

from __future__ import annotations

from ..errors import SettingError
from .binary import BinaryTask
from .classification import ClassificationTask, ProbabilitiesTask
from .clip import CLIPPairsTask
from .custom import CustomTask
from .inference import InferredTask
from .multilabel import MultilabelTask
from .regression import RegressionTask
from .segmentation import SegmentationTask
from .task import Task
from .tokens import (
    LanguageModelingTask,
    MaskedLanguageModelingTask,
    SequenceToSequenceTask,
    TokenClassificationTask,
)

TASKS: dict[str, type[Task]] = {
    "classification": ClassificationTask,
    "image_classification": ClassificationTask,
    "iterative_image_classification": ClassificationTask,
    "text_classification": ClassificationTask,
    "probabilities": ProbabilitiesTask,
    "binary": BinaryTask,
    "multilabel": MultilabelTask,
    "regression": RegressionTask,
    "language_modeling": LanguageModelingTask,
    "masked_language_modeling": MaskedLanguageModelingTask,
    "token_classification": TokenClassificationTask,
    "sequence_to_sequence": SequenceToSequenceTask,
    "segmentation": SegmentationTask,
    "clip": CLIPPairsTask,
}


def as_task(task: object = None) -> Task:
    """A task by name, a task object, a pair (loss, output) of functions; None to infer it.

    Raises
    ------
    SettingError
        No task has this name.
    """
    if isinstance(task, Task):
        return task
    if task is None:
        return InferredTask()
    if isinstance(task, str) and task in TASKS:
        return TASKS[task]()
    if isinstance(task, tuple) and len(task) == 2 and all(map(callable, task)):
        return CustomTask(loss=task[0], output=task[1])
    raise SettingError(
        f"No task {task!r}; there are {', '.join(sorted(TASKS))}. "
        f"Or pass a Task object, or a pair (loss, output) of functions of (prediction, batch)."
    )
