"""What a model is trained on: one `Task` for recording, attribution and analysis."""

from .binary import BinaryTask
from .classification import ClassificationTask, ProbabilitiesTask
from .clip import CLIPPairsTask
from .coupling import CoupledBatchError, check_independent
from .custom import CustomTask
from .inference import InferredTask, TaskUnclearError, infer_task
from .margins import margin
from .multilabel import MultilabelTask
from .names import TASKS, as_task
from .regression import RegressionTask
from .segmentation import SegmentationTask
from .task import COLUMNS, Task
from .tokens import (
    LanguageModelingTask,
    MaskedLanguageModelingTask,
    SequenceToSequenceTask,
    TokenClassificationTask,
)

__all__ = [
    "COLUMNS",
    "TASKS",
    "BinaryTask",
    "CLIPPairsTask",
    "ClassificationTask",
    "CoupledBatchError",
    "CustomTask",
    "InferredTask",
    "LanguageModelingTask",
    "MaskedLanguageModelingTask",
    "MultilabelTask",
    "ProbabilitiesTask",
    "RegressionTask",
    "SegmentationTask",
    "SequenceToSequenceTask",
    "Task",
    "TaskUnclearError",
    "TokenClassificationTask",
    "as_task",
    "check_independent",
    "infer_task",
    "margin",
]
