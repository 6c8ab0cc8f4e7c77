"""The TRAK library's import path for model outputs."""

from ..attribution.traker.model_outputs import (
    MODEL_OUTPUTS,
    AbstractModelOutput,
    CLIPModelOutput,
    ImageClassificationModelOutput,
    IterativeImageClassificationModelOutput,
    TextClassificationModelOutput,
)

TASK_TO_MODELOUT = MODEL_OUTPUTS

__all__ = [
    "TASK_TO_MODELOUT",
    "AbstractModelOutput",
    "CLIPModelOutput",
    "ImageClassificationModelOutput",
    "IterativeImageClassificationModelOutput",
    "TextClassificationModelOutput",
]
