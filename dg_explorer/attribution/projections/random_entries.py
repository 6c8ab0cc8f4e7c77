"""Entries of random projections, made from their position alone and never stored.

The entry at (row, column) of a parameter is a function of (seed, parameter name, row, column):
the same on every device, in any blocks, whichever other parameters are projected. Seeds come
from crc32, since Python's own hash differs from one process to the next.
"""

from __future__ import annotations

import zlib

import numpy as np

GAUSSIAN_ROWS = 256  # rows drawn together; part of what the matrix is


def stream(seed: int, name: str, use: str) -> int:
    """A 32-bit number that stands for one parameter's entries."""
    return zlib.crc32(f"{use}/{seed}/{name}".encode())


def mix(x: np.ndarray) -> np.ndarray:
    """A bijection of uint32 whose output bits look random (Wellons' lowbias32)."""
    x = x.astype(np.uint32)
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x7FEB352D)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x846CA68B)
    x ^= x >> np.uint32(16)
    return x


def words(key: int, start: int, stop: int, width: int) -> np.ndarray:
    """Random uint32, shape (stop - start, width), of the rows from `start` to `stop`."""
    rows = mix(np.arange(start, stop, dtype=np.uint64).astype(np.uint32) ^ np.uint32(key))
    columns = mix(np.arange(width, dtype=np.uint32) + np.uint32(0x9E3779B9))
    return mix(rows[:, None] ^ columns[None, :])


def rademacher(key: int, start: int, stop: int, dim: int) -> np.ndarray:
    """Entries +1 or -1, float32, shape (stop - start, dim)."""
    packed = words(key, start, stop, -(-dim // 32)).view(np.uint8)
    bits = np.unpackbits(packed, axis=1, count=dim, bitorder="little")
    signs = bits.astype(np.float32)
    signs *= 2
    signs -= 1
    return signs


def gaussian(key: int, start: int, stop: int, dim: int) -> np.ndarray:
    """Standard normal entries, float32, shape (stop - start, dim)."""
    first, last = start // GAUSSIAN_ROWS, -(-stop // GAUSSIAN_ROWS)
    blocks = [
        np.random.Generator(np.random.Philox(key=[key, block])).standard_normal(
            (GAUSSIAN_ROWS, dim), dtype=np.float32
        )
        for block in range(first, last)
    ]
    offset = first * GAUSSIAN_ROWS
    return np.concatenate(blocks)[start - offset : stop - offset]


def sparse(key: int, start: int, stop: int, dim: int, nonzeros: int):
    """Columns (int64) and signs (float32) of the nonzero entries, shape (rows, nonzeros).

    Each of the `nonzeros` falls into a range of columns of its own, so that none collide.
    """
    drawn = words(key, start, stop, nonzeros)
    edges = np.linspace(0, dim, nonzeros + 1).astype(np.int64)
    width = np.diff(edges)
    # the top 31 bits choose the column, the lowest the sign
    columns = edges[:-1] + ((drawn >> np.uint32(1)).astype(np.int64) * width >> 31)
    return columns, 1 - 2 * (drawn & np.uint32(1)).astype(np.float32)
