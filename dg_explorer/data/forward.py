"""How a model is asked: in evaluation mode, as its code says, by a user's own `forward=`.

What a `forward=` returns is the prediction, or (prediction, labels).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from contextvars import ContextVar

import numpy as np
import torch
from torch import nn

from .batch import Batch
from .draws import PrivateDraws
from .leaves import is_array

_ASIDE: ContextVar[bool] = ContextVar("aside", default=False)


@contextmanager
def in_own_precision() -> Iterator[None]:
    """Without the caller's autocast: it rounds, and keeps weights over the steps it spans."""
    with ExitStack() as stack:
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


@contextmanager
def evaluating(model):
    """Evaluation mode inside the block; each module gets its own mode back, frozen ones too.

    An autocast that the caller is in does not count, one that the model enters does. Transformers
    take no fast path meanwhile: there, layers between give tensors without sizes, and positions
    that are padded come out as zeros.
    """
    modes = [(module, module.training) for module in model.modules()]
    fast = torch.backends.mha.get_fastpath_enabled()
    model.eval()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with in_own_precision():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for module, mode in modes:
            module.training = mode


def compiled(module: nn.Module) -> bool:
    """Whether a module runs as torch.compile made it, by its wrapper or in place."""
    return hasattr(module, "_orig_mod") or module.__dict__.get("_compiled_call_impl") is not None


def as_written(model: nn.Module):
    """A block in which a compiled model runs as its code says: what is compiled calls no hook."""
    if any(map(compiled, model.modules())):
        return torch.compiler.set_stance("force_eager")
    return nullcontext()


@contextmanager
def aside() -> Iterator[None]:
    """A block in which a model is asked about itself: what listens to its layers does not hear."""
    before = _ASIDE.set(True)
    try:
        yield
    finally:
        _ASIDE.reset(before)


def asked_aside() -> bool:
    """Whether a model is being asked about itself, as by `aside`."""
    return _ASIDE.get()


class Prediction:
    """The prediction of a user's forward, without the labels that it may return beside it."""

    def __init__(self, forward: Callable):
        self.forward = forward

    def __call__(self, model, raw):
        answer = self.forward(model, raw)
        return answer[0] if is_pair(answer) else answer


class Labels:
    """The labels that a user's forward returns beside its prediction."""

    def __init__(self, forward: Callable, model):
        self.forward, self.model = forward, model

    def __call__(self, raw):
        return _answer(self.forward, self.model, raw)[1]


def is_pair(answer) -> bool:
    """Whether a forward returned (prediction, labels)."""
    return type(answer) in (tuple, list) and len(answer) == 2


def label_of_forward(forward: Callable, model, batch: Batch):
    """Where the labels are that a forward returns; None where it returns the prediction alone.

    Returns
    -------
    The entry of the batch that they equal, else a function that asks the forward.
    """
    answer = _answer(forward, model, batch.raw)
    if not is_pair(answer):
        return None
    labels, raw = answer[1], batch.raw
    if isinstance(raw, Mapping):
        places = list(raw)
    else:
        places = list(range(len(raw))) if isinstance(raw, (tuple, list)) else []
    for place in places:
        entry = raw[place]
        if is_array(entry) and is_array(labels) and _same(entry, labels):
            return place
    return Labels(forward, model)


def _answer(forward: Callable, model, raw):
    """What a forward says of a batch, leaving the model and the generators as they were."""
    parameter = next((p for p in model.parameters() if p.is_floating_point()), None)
    if parameter is not None:
        batch = Batch((), {}, None, np.empty(0), raw)
        raw = batch.to(parameter.device, parameter.dtype).raw
    with PrivateDraws()(), evaluating(model), torch.no_grad():
        return forward(model, raw)


def _same(entry, labels) -> bool:
    entry, labels = (torch.as_tensor(a).detach().cpu() for a in (entry, labels))
    return (
        entry.shape == labels.shape
        and entry.is_floating_point() == labels.is_floating_point()
        and bool((entry == labels).all())
    )
