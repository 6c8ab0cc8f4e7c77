"""Which task a model is trained on, where its class, answers and labels leave no doubt."""

from __future__ import annotations

from typing import Any, NoReturn

import torch

from ..errors import DataError, SettingError
from .answers import last_operation, logits_of
from .binary import BinaryTask
from .classification import ClassificationTask
from .model_kinds import bare, kind_of
from .multilabel import MultilabelTask
from .parts import labels_of, tokens_of
from .regression import RegressionTask
from .segmentation import SegmentationTask
from .task import Task, answer_of, answer_place
from .tokens import (
    LanguageModelingTask,
    MaskedLanguageModelingTask,
    SequenceToSequenceTask,
    TokenClassificationTask,
)


class TaskUnclearError(SettingError, DataError):
    """What was trained cannot be told from model and labels; the message has the choices."""


def infer_task(model: Any, prediction: Any, batch: Any) -> Task:
    """The task of a model, from its class, what it answered and the labels of a batch.

    The class of a Hugging Face model says it; otherwise the shapes and types of answer and labels
    do, if they fit one task only.

    Parameters
    ----------
    prediction : what the model returned for the batch

    Raises
    ------
    TaskUnclearError
        Several tasks are possible, or none.
    """
    place = None if model is None else answer_place(model, batch, prediction)
    task = _infer(model, prediction, place, batch)
    task._place = place
    return task


def _infer(model: Any, prediction: Any, place: int | None, batch: Any) -> Task:
    kind = None if model is None else kind_of(model)
    if kind in _OF_MODELS:
        return _OF_MODELS[kind](model)
    if kind is not None:
        raise TaskUnclearError(
            f"{type(bare(model)).__name__} is a model for {kind}, for which there is no task of "
            f"that name. Say what is trained: task=CustomTask(output=..., loss=...), or one of "
            f"those by name."
        )
    prediction, labels = logits_of(prediction, place), labels_of(batch)
    if labels is None:
        _ask(
            "there are no labels",
            "task='language_modeling' where the model predicts the next of its input tokens",
            "label= to say where the labels are",
            "task=CustomTask(output=..., loss=...)",
        )
    if not torch.is_tensor(labels):
        _ask(f"labels are {type(labels).__name__}, not a tensor", "label= to make a tensor of them")
    return _by_shape(prediction, labels, batch)


def _by_shape(prediction: torch.Tensor, labels: torch.Tensor, batch: Any) -> Task:
    real = labels.is_floating_point()
    n, told = len(prediction), f"answers of shape {tuple(prediction.shape)} with "
    told += f"{str(labels.dtype).removeprefix('torch.')} labels of shape {tuple(labels.shape)}"
    column = labels.numel() == n and len(labels) == n
    if prediction.numel() == n and column:
        return _of_one_number(labels, real, last_operation(prediction), told)
    if prediction.ndim == 2 and column and not real:
        return ClassificationTask()
    if prediction.ndim == 2 and labels.shape == prediction.shape:
        return _of_as_many_labels(labels, real, last_operation(prediction), told)
    tokens = (n, *prediction.shape[1:2]), (n, *prediction.shape[2:3])  # before or after classes
    if prediction.ndim == 3 and not real and tuple(labels.shape) in tokens:
        return _of_tokens(prediction, labels, batch, told)
    if prediction.ndim == 4 and labels.shape in _pixels(prediction) and not real:
        return SegmentationTask()
    if real and labels.shape == prediction.shape and not _zero_or_one(labels):
        return RegressionTask()
    _ask(
        told,
        "task='classification': logits (example, class), integer labels (example,)",
        "task='regression': a target for each number that the model predicts",
        "task='segmentation': logits (example, class, height, width)",
        "task=CustomTask(output=..., loss=...)",
    )
    raise AssertionError


def _of_one_number(labels, real: bool, made_by: str, told: str) -> Task:
    values = set(torch.unique(labels).tolist()) - {-100}
    binary = values <= {0, 1} or values <= {-1, 1}
    if not binary:
        return RegressionTask()
    if not real and made_by != "Sigmoid":
        return BinaryTask()
    _ask(
        f"{told} that are only {sorted(values)}",
        _by_logits("BinaryTask", made_by),
        "task='regression': trained by the squared error",
    )
    raise AssertionError


def _by_logits(kind: str, made_by: str) -> str:
    """How to say that binary cross-entropy was taken: of a logit, or of what a sigmoid gives."""
    if made_by == "Sigmoid":
        return f"task={kind}(sigmoid=True): the model ends in a sigmoid, trained by BCELoss"
    name = {"BinaryTask": "binary", "MultilabelTask": "multilabel"}[kind]
    return f"task={name!r}: answers are logits, trained by binary cross-entropy (of each label)"


def _of_as_many_labels(labels, real: bool, made_by: str, told: str) -> Task:
    if real and not _zero_or_one(labels):
        rows = labels.sum(1)
        if bool((labels >= 0).all()) and bool(((rows - 1).abs() < 1e-5).all()):
            _ask(
                f"{told} with rows that sum to one",
                "label=lambda batch: batch[-1].argmax(1) with task='classification' if soft labels "
                "may be taken as hard ones",
                "task='regression': trained by the squared error",
                "task=CustomTask(output=..., loss=...) for cross-entropy with soft labels",
            )
        return RegressionTask()
    if bool(((labels == 1).sum(1) == 1).all()) and _zero_or_one(labels):
        _ask(
            f"{told} with one 1 in each row (one-hot)",
            _by_logits("MultilabelTask", made_by),
            "task='regression': the squared error of each",
            "label=lambda batch: batch[-1].argmax(1) with task='classification'",
        )
    if (real or made_by == "Sigmoid") and labels.shape[1] > 0:
        _ask(
            f"{told} that are only 0 and 1",
            _by_logits("MultilabelTask", made_by),
            "task='regression': the squared error of each",
        )
    return MultilabelTask()


def _of_tokens(prediction, labels, batch, told: str) -> Task:
    tokens = tokens_of(batch)
    counts = labels != -100
    if tokens is not None and tokens.shape == labels.shape and int(counts.sum()) >= 8:
        here = labels.to(tokens.device)
        mask = counts.to(tokens.device)
        same = bool((here == tokens)[mask].all())
        following = bool((here[:, :-1] == tokens[:, 1:])[mask[:, :-1]].all())
        if following != same and (following or bool(counts.all())):
            return LanguageModelingTask(shifted=following)
    _ask(
        f"{told}, one a token",
        "task='language_modeling': predicts the next token (labels are shifted here, or in pairs "
        "(tokens, targets) already)",
        "task='masked_language_modeling' or 'token_classification': labels at their own positions",
        "task='sequence_to_sequence': the labels are a decoder's",
    )
    raise AssertionError


def _pixels(prediction) -> tuple:
    n, _, height, width = prediction.shape
    return (n, height, width), (n, 1, height, width)


def _zero_or_one(labels) -> bool:
    return bool(((labels == 0) | (labels == 1)).all())


def _ask(told: str, *choices: str) -> NoReturn:
    raise TaskUnclearError(
        f"It is not plain what was trained: {told}. Say it: " + "; or ".join(choices) + "."
    )


def _segmentation(model) -> Task:
    ignore = getattr(bare(model).config, "semantic_loss_ignore_index", None)
    return SegmentationTask(ignore=(-100,) if ignore is None else (-100, ignore))


# labels of transformers' models count wherever they are not -100, at padding too
_OF_MODELS = {
    "classification": lambda model: ClassificationTask(),
    "regression": lambda model: RegressionTask(),
    "multilabel": lambda model: MultilabelTask(),
    "language_modeling": lambda model: LanguageModelingTask(shifted=False, padding="count"),
    "masked_language_modeling": lambda model: MaskedLanguageModelingTask(padding="count"),
    "token_classification": lambda model: TokenClassificationTask(padding="count"),
    "sequence_to_sequence": lambda model: SequenceToSequenceTask(padding="count"),
    "segmentation": _segmentation,
}


class InferredTask(Task):
    """The task that model and labels speak for, settled by the first batch and kept."""

    def __init__(self):
        self._settled: Task | None = None

    @property
    def settled(self) -> Task:
        """The task inferred; `TaskUnclearError` before any batch was seen."""
        if self._settled is None:
            raise TaskUnclearError("The task is inferred from the first batch, and none was seen.")
        return self._settled

    @property
    def is_settled(self) -> bool:
        """Whether a batch has said what the task is."""
        return self._settled is not None

    def settle(self, model: Any, answer: Any, batch: Any) -> Task:
        """Infer the task from the first batch; later ones change nothing."""
        if self._settled is None:
            self._settled = infer_task(model, answer, batch)
            self._settled._first = self.__dict__.get("_first", False)
        return self._settled

    def predict(self, model, batch):
        if self._settled is not None:
            return self._settled.predict(model, batch)
        kind = kind_of(model)
        if kind in _OF_MODELS:
            settled = self._settled = _OF_MODELS[kind](model)
            return settled.predict(model, batch)
        answer = answer_of(model, batch)
        return self.settle(model, answer, batch).taken(model, batch, answer)

    def __getattribute__(self, name):
        own = ("_settled", "settled", "is_settled", "settle", "predict", "check_model")
        if name in own or name.startswith("__"):
            return object.__getattribute__(self, name)
        settled = object.__getattribute__(self, "_settled")
        if settled is not None:
            return getattr(settled, name)
        if name == "name":
            return "inferred"
        return object.__getattribute__(self, name)

    def __repr__(self) -> str:
        return "InferredTask()" if self._settled is None else f"InferredTask of {self._settled!r}"
