"""The Triton kernel behind `random_signs.add_projected`: signs are made in registers.

Imported only where the gradients are on a GPU and Triton is installed.
"""

from __future__ import annotations

import torch
import triton  # pyright: ignore[reportMissingImports]: comes with torch for GPUs only
import triton.language as tl  # pyright: ignore[reportMissingImports]

EXAMPLES, COLUMNS, ROWS = 16, 128, 32  # of a tile; products need at least 16 of each


@triton.jit
def _mix(x):
    x = x ^ (x >> 16)
    x = x * 0x7FEB352D
    x = x ^ (x >> 15)
    x = x * 0x846CA68B
    return x ^ (x >> 16)


# a key or start of 1 must stay a number, not become a constant of the program
@triton.jit(do_not_specialize=["key", "start"])
def _add_projected(
    block, out, key, start, n, rows, dim, block_stride, out_stride,
    EXAMPLES: tl.constexpr, COLUMNS: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    example = tl.program_id(0) * EXAMPLES + tl.arange(0, EXAMPLES)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    word = _mix((column // 32).to(tl.uint32) + 0x9E3779B9)
    shift = (column % 32).to(tl.uint32)
    total = tl.zeros((EXAMPLES, COLUMNS), dtype=tl.float32)
    for first in range(0, rows, ROWS):
        row = first + tl.arange(0, ROWS)
        place = _mix((start.to(tl.int64) + row).to(tl.uint32) ^ key.to(tl.uint32))
        bits = (_mix(place[:, None] ^ word[None, :]) >> shift[None, :]) & 1
        signs = bits.to(tl.float32) * 2 - 1
        inside = (example[:, None] < n) & (row[None, :] < rows)
        at = example[:, None].to(tl.int64) * block_stride + row[None, :]
        values = tl.load(block + at, mask=inside, other=0.0)
        total += tl.dot(values, signs, input_precision="ieee")
    inside = (example[:, None] < n) & (column[None, :] < dim)
    at = example[:, None].to(tl.int64) * out_stride + column[None, :]
    tl.store(out + at, tl.load(out + at, mask=inside, other=0.0) + total, mask=inside)


def launch(block: torch.Tensor, key: int, start: int, out: torch.Tensor) -> None:
    """Add block @ signs to `out` in place; both float32, rows contiguous, on one GPU."""
    block = block if block.stride(1) == 1 else block.contiguous()
    n, rows = block.shape
    grid = triton.cdiv(n, EXAMPLES), triton.cdiv(out.shape[1], COLUMNS)
    _add_projected[grid](  # pyright: ignore[reportIndexIssue]: a kernel, launched on a grid
        block, out, key, start, n, rows, out.shape[1], block.stride(0), out.stride(0),
        EXAMPLES=EXAMPLES, COLUMNS=COLUMNS, ROWS=ROWS,
    )  # fmt: skip
