"""Evaluation mode for a block, and each module's own mode afterwards."""

from __future__ import annotations

from contextlib import contextmanager


@contextmanager
def evaluating(model):
    """Evaluation mode inside the block; each module gets its own mode back, frozen ones too."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
