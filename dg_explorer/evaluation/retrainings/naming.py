"""Which training it is: a short name of all that determines what retraining gives."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch

from ...training.step.generic import OptimizerStep
from ...training.training import Training


def digest_of(training: Training) -> str:
    """A short name of all that determines a training, but for the weights of its examples."""
    told = hashlib.sha256(bytes_of(training.start().theta))
    for tensor in ("inputs", "labels", "test_inputs", "test_labels", "weights"):
        value = getattr(training, tensor)
        told.update(b"-" if value is None else repr(value.dtype).encode() + bytes_of(value))
    n_steps = max(1, sum(len(training.batches(e) or [None]) for e in range(training.n_epochs)))
    optimizer = training.optimizer
    if isinstance(optimizer, OptimizerStep):
        rule: Any = optimizer.description()
    else:
        rule = {k: _plain(v) for k, v in vars(optimizer).items() if k != "lr"}
    for step in range(n_steps):
        told.update(np.asarray(optimizer.lr_at(step, n_steps), float).tobytes())
    told.update(repr((rule, training.n_epochs, training.batch_size, training.seed)).encode())
    for epoch in training.order or ():
        for batch in epoch:
            told.update(np.asarray(batch, np.int64).tobytes() + b"|")
    for slots in training.slot_weights if training.slot_weights is not None else ():
        told.update(np.asarray(slots, float).tobytes())
    for function in (training.loss, training.output):
        told.update(repr(_written(function)).encode())
    return told.hexdigest()[:24]


def _written(function) -> tuple:
    """What a function does, as far as its code, constants and closure tell."""
    code = getattr(function, "__code__", None)
    if code is None:
        return (name_of_function(function),)
    constants = [c for c in code.co_consts if isinstance(c, (int, float, str, tuple))]
    held = [_plain(cell.cell_contents) for cell in function.__closure__ or ()]
    plain = [value for value in held if isinstance(value, (int, float, str, tuple))]
    return name_of_function(function), code.co_code, code.co_names, constants, plain


def _plain(value):
    return bytes_of(value).hex() if torch.is_tensor(value) else value


def name_of_function(function) -> str:
    """Module and name of a function."""
    module = getattr(function, "__module__", "")
    return f"{module}.{getattr(function, '__qualname__', type(function).__name__)}"


def bytes_of(tensor: torch.Tensor) -> bytes:
    """The bytes of a tensor's values."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
