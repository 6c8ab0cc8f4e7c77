"""Examples that see each other: found by splitting a batch two ways."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils._pytree import tree_flatten

from ...errors import SettingError
from .examples import length, some
from .watching import undisturbed

#: relative difference that rounding explains
ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 0.02, torch.bfloat16: 0.1}


class UnsupportedModelError(SettingError):
    """Per-example gradients of this model cannot be had correctly."""


class CoupledExamplesError(UnsupportedModelError):
    """What a model says of an example depends on the rest of the batch."""


def check_apart(model: nn.Module, task, probes) -> None:
    """Refuse a model or a loss whose answer to an example depends on the rest of its batch.

    Raises
    ------
    CoupledExamplesError
        Says whether it is the output or the loss, and names the layers that may be the reason.
    """
    for batch in probes:
        n = length(batch)
        if n == 1:
            continue
        try:
            whole = _answers(model, task, batch)
            halves = [_answers(model, task, some(batch, s)) for s in (slice(0, 1), slice(1, n))]
        except ValueError as error:
            if "more than 1 value per channel" in str(error):
                raise CoupledExamplesError(_message("output", None, model)) from error
            raise
        for what, (values, scale) in whole.items():
            parts = torch.cat([half[what][0] for half in halves])
            if parts.shape != values.shape:
                continue
            scale = max(float(values.norm()), scale)
            off = float((values - parts).norm()) / (scale + 1e-300)
            allowed = ROUNDING.get(next(iter(model.parameters())).dtype, 1e-4)
            if off > allowed:
                raise CoupledExamplesError(_message(what, off, model))


def _answers(model, task, batch) -> dict[str, tuple[torch.Tensor, float]]:
    """Output and loss of each example, float64, and how large the numbers are they come from."""
    with undisturbed(model), torch.no_grad():
        prediction = task.predict(model, batch)
        task.check(prediction, batch)
        floats = [
            leaf.double()
            for leaf in tree_flatten(prediction)[0]
            if torch.is_tensor(leaf) and leaf.is_floating_point() and leaf.numel()
        ]
        scale = max((float(leaf.abs().max()) for leaf in floats), default=0.0)
        found = {"output": (task.output(prediction, batch).double(), 0.0)}
        try:
            loss = task.loss(prediction, batch)
        except (SettingError, NotImplementedError):
            return found
        if loss.ndim == 1 and len(loss) == length(batch):
            # the loss of a sure answer is the difference of large numbers: judged by those
            found["loss"] = (loss.double(), scale * len(loss) ** 0.5)
    return found


def _message(what: str, off: float | None, model) -> str:
    by = "" if off is None else f" by {off:.1e}"
    batch_norms = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None
    ]
    told = (
        f"The {what} of an example depends on the rest of its batch: for the same examples in one "
        f"batch and in two it differs{by}. Examples of a batch see each other, so none has a "
        f"gradient of its own. "
    )
    if batch_norms:
        return told + (
            f"{batch_norms[0]!r} normalises by the batch, since it keeps no running statistics: "
            f"build it with track_running_stats=True and run some batches in training mode, or "
            f"take a GroupNorm."
        )
    if what == "loss":
        return told + (
            "A contrastive loss is such a loss: attribute a loss with fixed negatives by "
            "CustomTask(loss=...)."
        )
    return told + "Normalise over features instead of over the batch."
