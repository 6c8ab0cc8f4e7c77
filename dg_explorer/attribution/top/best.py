"""The best of every row, kept while blocks of columns go by."""

from __future__ import annotations

import torch

WORTHWHILE = 256  # entries in a piece from which on cutting a row is quicker than sorting it


class Best:
    """The k largest values of each row seen so far, largest first, and where they stood.

    Parameters
    ----------
    rows, k : int
    like : tensor of the values' precision and device
    """

    def __init__(self, rows: int, k: int, like: torch.Tensor):
        self.k = k
        self.value = torch.empty(rows, 0, device=like.device, dtype=like.dtype)
        self.which = torch.empty(rows, 0, device=like.device, dtype=torch.int64)

    def add(self, found: torch.Tensor, start: int) -> None:
        """Take in a block of columns, shape (row, column), that begins at column `start`."""
        count = min(self.k, found.shape[1])
        if self.value.shape[1] == self.k and len(found):
            # few of a later block are among the best, and finding few is quicker
            count = min(count, int((found > self.value[:, -1:]).sum(1).max()))
        if count == 0:
            return
        value, place = found.topk(count, 1)
        value, place = torch.cat([self.value, value], 1), torch.cat([self.which, place + start], 1)
        self.value, order = value.topk(min(self.k, value.shape[1]), 1)
        self.which = place.gather(1, order)


def best_of_row(row: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k largest entries of one long row, largest first: values and places, shape (k,).

    The k largest lie in the k pieces of the row with the largest maxima, whatever the piece, so
    only those are sorted: finding the largest of many is slow, and finding a maximum is not.
    """
    pieces = 8 * k
    length = len(row) // pieces
    if length < WORTHWHILE:
        return row.topk(min(k, len(row)))
    cut = row[: pieces * length].view(pieces, length)
    near = cut.amax(1).topk(k).indices
    value = torch.cat([cut[near].flatten(), row[pieces * length :]])
    offset = torch.arange(length, device=row.device)
    rest = torch.arange(pieces * length, len(row), device=row.device)
    place = torch.cat([(near[:, None] * length + offset).flatten(), rest])
    value, order = value.topk(k)
    return value, place[order]
