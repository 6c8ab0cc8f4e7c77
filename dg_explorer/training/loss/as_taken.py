"""`AsTaken`: the loss of a pass by the very operations of transformers' and TRL's trainers.

A loss of the same value rounds otherwise, and a replay is to end at the same bits. Derivatives
come from the task's own loss of each example, with which this one is compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from inspect import signature
from typing import Any

import numpy as np
import torch

from ...arguments import Brief
from ...tasks.answers import logits_of
from ...tasks.model_kinds import bare

# Weights found by comparison are no nearer to one over a whole number.
NEAR = 1e-4


class AsTaken(Brief):
    """How a trainer takes the loss of a pass.

    Parameters
    ----------
    way : "smoothed", "head" or "model"
        Labels smoothed by transformers' `LabelSmoother`; in the head itself, by TRL, of a model
        that returns no logits; by the model's own `loss_function`.
    items : bool
        Divided by the labels of the whole step, and not by those of the pass.
    smoothing : float
        The share of a label that is spread over all classes.
    shift : bool
        Whether a label belongs to the position before it.
    """

    def __init__(self, way: str, *, items: bool, smoothing: float = 0.0, shift: bool = True):
        self.way, self.items, self.smoothing, self.shift = way, items, smoothing, shift

    def returned(self, model, inputs: torch.Tensor, labels: torch.Tensor) -> Any:
        """What the model returns for a pass as it was taken."""
        if self.way == "head":
            return model(inputs, labels=labels, use_cache=False, fused_lm_head=True)
        return model(inputs)

    def loss(self, model, returned, labels: torch.Tensor, weights: np.ndarray) -> torch.Tensor:
        """The loss of the pass.

        Parameters
        ----------
        weights : float array, shape (example,)
            Of the summed loss of each example, in the loss of the step.
        """
        divisor = 1 / float(np.median(weights))
        items = None
        if self.items and abs(divisor - round(divisor)) < NEAR * divisor:
            items = torch.tensor(round(divisor), device=labels.device)
        if self.way == "head":
            total = (-returned.log_probs).sum()
            return total / divisor if items is None else total / items.clamp(min=1)
        answers = logits_of(returned)
        if isinstance(returned, Mapping) and "columns" in returned:  # no wider than it was
            begin, end = returned["columns"]
            answers, labels = (part[:, begin:end].contiguous() for part in (answers, labels))
        if self.way == "smoothed":
            smooth = import_module("transformers.trainer_pt_utils").LabelSmoother(self.smoothing)
            if "num_items_in_batch" not in signature(smooth.__call__).parameters:  # before 5.15
                items = None
            more = {} if items is None else {"num_items_in_batch": items}
            loss = smooth({"logits": answers}, labels, shift_labels=self.shift, **more)
        else:
            loss = bare(model).loss_function(
                logits=answers,
                labels=labels,
                vocab_size=answers.shape[-1],
                num_items_in_batch=items,
            )
        if items is not None:
            return loss
        trained = int((labels[:, 1:] if self.shift else labels).ne(-100).sum())
        return divided(loss, trained / divisor)


def divided(mean: torch.Tensor, factor: float) -> torch.Tensor:
    """A mean times a factor, which is mostly one over a number of batches."""
    parts = 1 / factor if factor else 0.0
    if parts >= 0.5 and abs(parts - round(parts)) < NEAR * parts:
        return mean if round(parts) == 1 else mean / round(parts)
    return mean * factor


def as_taken(trainer: Mapping, model, labels: torch.Tensor, smoothing: float) -> AsTaken | None:
    """The way of the trainer that the record names; None for a mean that any loop takes alike.

    Parameters
    ----------
    trainer : what `TrainerFacts.told` gave; empty of a loop of one's own
    """
    if trainer.get("name") not in ("transformers.Trainer", "trl.SFTTrainer"):
        return None
    more = trainer.get("more", {})
    items = bool(more.get("accepts_loss_kwargs"))
    inner = bare(model)
    if smoothing:
        shift = bool(more.get("shifts_smoothed"))
        return AsTaken("smoothed", items=items, smoothing=smoothing, shift=shift)
    if trainer["name"] == "trl.SFTTrainer" and takes_loss_in_head(inner):
        return AsTaken("head", items=items)
    of_tokens = labels.ndim == 2 and getattr(inner, "loss_type", None) == "ForCausalLM"
    if of_tokens:  # in single precision, whatever the model's is
        return AsTaken("model", items=items)
    return None


def takes_loss_in_head(model) -> bool:
    """Whether TRL has given a model a head that takes the loss."""
    own = vars(bare(model))
    forward = own.get("forward", own.get("forward_in_place"))
    code = getattr(getattr(forward, "__func__", forward), "__code__", None)
    return code is not None and "fused_lm_head" in code.co_varnames[: code.co_argcount + 8]
