"""The signs of a Rademacher projection, made and multiplied where the gradients are.

On a GPU no matrix is drawn on the processor, copied or kept: each sign is a function of (key,
row, column), computed by the thread that needs it. The numbers are those of `random_entries`, so
that features made on different devices belong together.
`python -m benchmarks.check_gpu` checks that on the GPU at hand.
"""

from __future__ import annotations

import importlib.util
from functools import cache

import torch

MASK = 0xFFFFFFFF
GOLDEN = 0x9E3779B9
ROWS = 1024  # rows of signs held at a time where there is no Triton


def mix_tensor(x: torch.Tensor) -> torch.Tensor:
    """`random_entries.mix` on int64 tensors that hold numbers below 2^32."""
    # a product may overflow, but never in the 32 bits that are kept
    x = x ^ (x >> 16)
    x = (x * 0x7FEB352D) & MASK
    x = x ^ (x >> 15)
    x = (x * 0x846CA68B) & MASK
    return x ^ (x >> 16)


def signs(
    key: int, start: int, stop: int, dim: int, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Entries +1 or -1, float32, shape (stop - start, dim), as `random_entries.rademacher`."""
    rows = mix_tensor((torch.arange(start, stop, device=device) & MASK) ^ key)
    column = torch.arange(dim, device=device)
    words = mix_tensor(
        rows[:, None] ^ mix_tensor((torch.arange(-(-dim // 32), device=device) + GOLDEN) & MASK)
    )
    bits = (words[:, column // 32] >> (column % 32)) & 1
    return bits.float().mul_(2).sub_(1)


def add_projected(block: torch.Tensor, key: int, start: int, out: torch.Tensor) -> None:
    """Add block @ signs to `out`, in place.

    Parameters
    ----------
    block : shape (example, row), columns `start`... of one parameter's gradient
    out : shape (example, dim)
    """
    if block.is_cuda and block.dtype == torch.float32 and has_triton():
        from .triton_signs import launch

        launch(block, key, start, out)
        return
    for first in range(0, block.shape[1], ROWS):
        part = block[:, first : first + ROWS]
        begin = start + first
        made = signs(key, begin, begin + part.shape[1], out.shape[1], block.device)
        out.addmm_(part, made.to(block))


@cache
def has_triton() -> bool:
    """Whether Triton is installed; it comes with torch's builds for GPUs."""
    return importlib.util.find_spec("triton") is not None
