"""The states of torch's, NumPy's and Python's global random generators, taken and put back."""

from __future__ import annotations

import random
from contextlib import contextmanager

import numpy as np
import torch


def rng_state() -> dict:
    """The states of all global generators, as tensors, arrays and plain values."""
    numpy_state = np.random.get_state()  # noqa: NPY002 - the global one is what training uses
    state = {"torch": torch.get_rng_state(), "numpy": numpy_state, "python": random.getstate()}
    # 625 numbers are an array, not 625 lines of JSON
    version, numbers, gauss = state["python"]
    state["python"] = (version, np.array(numbers, dtype=np.int64), gauss)
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore_rng(state: dict) -> None:
    """Put all global generators back where `rng_state` found them."""
    torch.set_rng_state(state["torch"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers.tolist()), gauss))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


@contextmanager
def untouched_rng():
    """Whatever the block draws, the training after it draws as if the block had not been."""
    state = rng_state()
    try:
        yield
    finally:
        restore_rng(state)
