"""What models return, read as logits: tensors, tuples, dicts, Hugging Face outputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from ..errors import DataError

#: names of the entry that holds the answer, in the order in which they are looked for
KEYS = ("logits", "prediction_logits", "output", "outputs", "prediction", "predictions", "out")
# how autograd names the steps that move numbers but do not change them
_MOVES = (
    "View", "Reshape", "UnsafeView", "Squeeze", "Unsqueeze", "Select", "Slice", "Transpose",
    "Permute", "Expand", "Clone", "ToCopy", "Alias", "T", "Index", "Flatten",
)  # fmt: skip


def logits_of(answer: Any, place: int | None = None) -> torch.Tensor:
    """The answer of a model as one tensor, in at least single precision.

    A tensor is taken as it is; of a Hugging Face output, a dict or a dataclass the entry `logits`
    (or another of `KEYS`), of these and of a tuple or list the only tensor of numbers.

    Parameters
    ----------
    place : int, optional
        Which entry of a tuple or list it is, where there are several: see `place_of`.

    Raises
    ------
    DataError
        Several entries could be meant, or there are no real numbers.
    """
    found = _entry(answer, place)
    if not torch.is_tensor(found):
        raise DataError(
            f"The model returns {type(answer).__name__} without a tensor that could be the "
            f"answer. Say which it is: CustomTask(predict=lambda model, batch: ...)."
        )
    if found.is_complex():
        raise DataError(
            "The model answers with complex numbers, and a loss needs real ones. Say how it reads "
            "them: CustomTask(predict=lambda model, batch: model(batch[0]).abs(), ...)."
        )
    if not found.is_floating_point():
        raise DataError(
            f"The model's answers are whole numbers ({found.dtype}), which no loss has a slope "
            f"by: classes that were chosen already (argmax)? Give the logits."
        )
    if found.ndim == 0:  # one number for one example, of a model that squeezes its answers
        found = found.reshape(1)
    return found.float() if found.dtype in (torch.float16, torch.bfloat16) else found


def _entry(answer: Any, place: int | None) -> Any:
    if torch.is_tensor(answer):
        return answer
    if dataclasses.is_dataclass(answer) and not isinstance(answer, Mapping):
        answer = {field.name: getattr(answer, field.name) for field in dataclasses.fields(answer)}
    if isinstance(answer, Mapping):
        for key in KEYS:
            if torch.is_tensor(answer.get(key)):
                return answer[key]
        tensors = {k: v for k, v in answer.items() if torch.is_tensor(v) and v.is_floating_point()}
        if len(tensors) == 1:
            return next(iter(tensors.values()))
        raise DataError(
            f"The model returns a dict with {', '.join(map(str, answer))}, and it is not plain "
            f"which entry is the answer. Call it 'logits', or say it: forward=lambda model, "
            f"batch: model(batch[0])['...']."
        )
    for key in KEYS:
        if torch.is_tensor(getattr(answer, key, None)):
            return getattr(answer, key)
    if isinstance(answer, (tuple, list)) and answer:
        several = places_in(answer)
        if place in several:
            return answer[place]
        if len(several) > 1:
            shapes = ", ".join(str(tuple(answer[i].shape)) for i in several)
            raise DataError(
                f"The model returns {len(several)} tensors, of shapes {shapes}, and it is not "
                f"plain which is the answer. Say it: forward=lambda model, batch: "
                f"model(batch[0])[{several[-1]}], in the recorder and wherever data are given."
            )
        return answer[several[0]] if several else _entry(answer[0], None)
    return None


def places_in(answer: Any) -> list[int]:
    """Which entries of a tuple or list without names could be the answer: tensors of real numbers.

    A single number is a loss.
    """
    named = any(torch.is_tensor(getattr(answer, key, None)) for key in KEYS)
    if named or not isinstance(answer, (tuple, list)):
        return []
    return [
        i for i, x in enumerate(answer) if torch.is_tensor(x) and x.ndim and x.is_floating_point()
    ]


def place_of(model: Any, ask: Callable, answer: Any, first: bool) -> int | None:
    """Which entry of a tuple or list is the answer, where the model's own graph shows it.

    An entry that only passes another one on, without weights, says no more than that one; one
    that another is made from by weights is a state on the way to it. What is left must be one.

    Parameters
    ----------
    ask : function () -> what the model returns
    first : bool
        The answer is the first: the model's library puts it there, or the training was seen to.

    Returns
    -------
    int, or None where there is no choice or no way to tell
    """
    several = places_in(answer)
    if len(several) < 2:
        return None
    if first:
        return several[0]
    if not isinstance(model, nn.Module):
        return None
    frozen = [p for p in model.parameters() if not p.requires_grad and p.is_floating_point()]
    try:
        for parameter in frozen:
            parameter.requires_grad_(True)
        with torch.inference_mode(False), torch.enable_grad():
            nodes = {i: entry.grad_fn for i, entry in enumerate(ask()) if i in several}
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
    nodes = {i: node for i, node in nodes.items() if node is not None}
    behind = {i: _behind(node, set(nodes.values()) - {node}) for i, node in nodes.items()}
    made = [i for i, (_, weights) in behind.items() if weights]
    passed = {node for i in made for node in behind[i][0]}
    last = [i for i in made if nodes[i] not in passed]
    return last[0] if len(last) == 1 else None


def _behind(node: Any, stops: set) -> tuple[set, bool]:
    """Which of `stops` a step is made from, and whether weights come in on the way from them."""
    met, weights, seen, todo = set(), False, {node}, [node]
    while todo:
        for before, _ in todo.pop().next_functions:
            if before is None or before in seen:
                continue
            seen.add(before)
            weights |= type(before).__name__ == "AccumulateGrad"
            if before in stops:
                met.add(before)
            else:
                todo.append(before)
    return met, weights


def last_operation(prediction: Any) -> str:
    """What made a tensor, as autograd names it ("Softmax", "Addmm"); "" where there is no graph."""
    node = getattr(prediction, "grad_fn", None)
    while node is not None:
        name = type(node).__name__.partition("Backward")[0]
        if name.lstrip("_") not in _MOVES or not node.next_functions:
            return name
        node = node.next_functions[0][0]
    return ""


def are_probabilities(prediction: torch.Tensor) -> bool:
    """Whether each row (the last axis) is a distribution: in [0, 1], with sum one.

    Two rows or more, and not all of them one-hot: logits do that by accident only.
    """
    rows = prediction.detach().reshape(-1, prediction.shape[-1])
    if prediction.shape[-1] < 2 or len(rows) < 2:
        return False
    # the first row alone decides nearly always
    if not _distributions(rows[:1]) or not _distributions(rows):
        return False
    return bool(((rows > 0) & (rows < 1)).any())


def _distributions(rows: torch.Tensor) -> bool:
    off = (rows.double().sum(-1) - 1).abs().max()
    room = 4 * rows.shape[-1] ** 0.5 * torch.finfo(rows.dtype).eps
    return bool((off <= max(room, 1e-6)) & (rows.min() >= 0) & (rows.max() <= 1))


def refuse_probabilities(prediction: torch.Tensor, wanted: str) -> None:
    """`DataError` where the answers of a model end in a softmax but are read as logits."""
    if last_operation(prediction) == "Softmax" or are_probabilities(prediction):
        raise DataError(
            f"The model answers with probabilities (each row is in [0, 1] and sums to one), but "
            f"{wanted} reads logits: with a softmax of a softmax every loss and score would be "
            f"wrong. Leave the Softmax out of the model, or pass task='probabilities' where the "
            f"training loss was that of these probabilities. If cross-entropy was really taken "
            f"of them: ClassificationTask(softmax_twice=True)."
        )


def refuse_sigmoid(prediction: torch.Tensor, task: Any) -> None:
    """`DataError` where the answers of a model end in a sigmoid but are read as logits."""
    if last_operation(prediction) == "Sigmoid":
        raise DataError(
            f"The model ends in a sigmoid, so it answers with probabilities, but {task.name} reads "
            f"logits. Pass task={type(task).__name__}(sigmoid=True) where it was trained on these "
            f"probabilities, as by BCELoss; or leave the Sigmoid out and train with "
            f"binary_cross_entropy_with_logits."
        )


def log_odds(p: torch.Tensor) -> torch.Tensor:
    """log p/(1-p) of probabilities; infinite for what is none, NaN for NaN.

    As `BCELoss` has it, what rounded to 0 or 1 stands for -100 or 100, and has no gradient.
    """
    inside = (p > 0) & (p < 1)
    safe = torch.where(inside, p, 0.5)
    none = torch.where(p.isnan(), torch.nan, torch.inf)
    ends = torch.where(p == 1, 100.0, torch.where(p == 0, -100.0, none))
    return torch.where(inside, safe.log() - torch.log1p(-safe), ends.to(p.dtype))


def check_log_odds(prediction: torch.Tensor, task: Any) -> None:
    """`DataError` where `log_odds` was taken of what are no probabilities."""
    if bool(prediction.isinf().any()):
        raise DataError(
            f"{type(task).__name__}(sigmoid=True) expects answers between 0 and 1, and the model "
            f"gave others. For logits: task={task.name!r}."
        )
