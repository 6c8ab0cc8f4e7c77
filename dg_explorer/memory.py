"""Running out of memory, said in terms of settings."""

from __future__ import annotations

from contextlib import ContextDecorator

import torch

from .errors import DGExplorerError


class OutOfMemoryError(DGExplorerError, MemoryError):
    """Memory ran out; the message says which settings to lower."""


class memory_advice(ContextDecorator):
    """Turn a failed allocation inside the block into `OutOfMemoryError` with advice.

    Parameters
    ----------
    lower : str
        What to do about it, such as "Lower batch_size".
    """

    def __init__(self, lower: str):
        self.lower = lower

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error is not None and not isinstance(error, OutOfMemoryError) and ran_out(error):
            where = "GPU" if isinstance(error, torch.OutOfMemoryError) else "main"
            told = (str(error).splitlines() or [type(error).__name__])[0]
            raise OutOfMemoryError(f"The {where} memory ran out ({told}). {self.lower}.") from error


def ran_out(error: BaseException) -> bool:
    """Whether an error is a failed allocation: torch's, NumPy's or Python's own."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    # torch has no class of its own for a failed allocation in main memory
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
