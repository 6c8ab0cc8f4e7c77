"""Move each number that torch draws by 1e-7 of itself, and so the weights training starts from.

Python imports this at start where the folder is on `PYTHONPATH`; `tests/processors.py` puts it
there. `MOVED_WEIGHTS=n` chooses the n-th set of directions. Up or down is read from a bit of the
number itself, so equal draws move equally: whoever trains again from the same start still does.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
from functools import wraps

RELATIVE = 1e-7
FUNCTIONS = ("rand", "randn", "rand_like", "randn_like", "normal")
METHODS = ("normal_", "uniform_")


def move(torch, drawn):
    """Multiply float32 and float64 numbers by 1 + RELATIVE or 1 - RELATIVE, in place."""
    if drawn.dtype in (torch.float32, torch.float64) and not drawn.is_meta:
        with torch.no_grad():
            plain = drawn.detach()
            bits = plain.float().view(torch.int32) >> (2 + int(os.environ["MOVED_WEIGHTS"]))
            plain.mul_(1 + RELATIVE * (1 - 2 * (bits & 1)).to(plain.dtype))
    return drawn


def move_what_is_drawn(torch) -> None:
    def moved(draw):
        @wraps(draw)
        def drawing(*args, **kwargs):
            return move(torch, draw(*args, **kwargs))

        return drawing

    for name in FUNCTIONS:
        setattr(torch, name, moved(getattr(torch, name)))
    for name in METHODS:
        setattr(torch.Tensor, name, moved(getattr(torch.Tensor, name)))


class WhenTorchLoads(importlib.abc.MetaPathFinder):
    """Waits for torch, so that processes that never load it stay without it."""

    def find_spec(self, name, path=None, target=None):
        if name != "torch":
            return None
        # who only asks whether there is a torch gets a spec, too, and loads nothing
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_move(module):
                load(module)
                move_what_is_drawn(module)

            spec.loader.exec_module = load_and_move
        return spec


if os.environ.get("MOVED_WEIGHTS"):
    sys.meta_path.insert(0, WhenTorchLoads())
