"""Tasks live in `dg_explorer.tasks`; these names stay importable from here."""

from ..tasks import (
    TASKS,
    ClassificationTask,
    CustomTask,
    LanguageModelingTask,
    RegressionTask,
    Task,
    as_task,
    margin,
)
from ..tasks.parts import parts_of as split_batch

__all__ = [
    "TASKS",
    "ClassificationTask",
    "CustomTask",
    "LanguageModelingTask",
    "RegressionTask",
    "Task",
    "as_task",
    "margin",
    "split_batch",
]
