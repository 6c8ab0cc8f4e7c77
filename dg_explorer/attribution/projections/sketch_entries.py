"""What is random in a factored sketch: signs, columns to begin at, and maps to fewer channels."""

from __future__ import annotations

import zlib

import torch
import torch.nn.functional as F

CHANNELS = 64  # most channels kept on each side of a layer
FEW = 16  # a side with so few channels is left as it is; above that at most half are kept


class SketchEntries:
    """The random numbers of one sketch, drawn when first asked for and kept.

    They depend on the name and the shape of a parameter and on the seed, and on nothing else.
    `like` is a tensor of the precision and on the device that they are for.
    """

    def __init__(self, dim: int, seed: int):
        self.dim, self.seed = dim, seed
        self._made: dict = {}

    def _kept(self, make, *key, like):
        key = (make.__name__, *key, like.dtype, like.device)
        if key not in self._made:
            self._made[key] = make(*key[1:-2], like)
        return self._made[key]

    def signs(self, name: str, entries: int, width: int, like) -> tuple[torch.Tensor, int]:
        """A sign for each entry of a parameter, and the column its first entry falls on."""
        return self._kept(self._signs, name, entries, width, like=like)

    def _signs(self, name, entries, width, like):
        s, t, shift = self.signs_of_rows(name, -(-entries // width), width, like)
        rows = max(1, self.dim // width)
        signs = s[:, None] * t.repeat_interleave(rows, 0)[: len(s)]
        return signs.flatten()[:entries].contiguous(), shift

    def signs_of_rows(self, name: str, outputs: int, width: int, like):
        """Signs as products: of an output, and of an input in its block of outputs.

        Two entries that share a column are of different blocks, so the signs of any two such
        pairs are independent, and the error is that of independent signs.

        Returns
        -------
        s : shape (outputs,);  t : shape (block, width);  shift : int
            The sign of entry (o, i) is s[o] t[o // rows, i], with `dim // width` rows a block. The
            columns start somewhere else for each parameter, so that small ones do not pile up.
        """
        return self._kept(self._signs_of_rows, name, outputs, width, like=like)

    def _signs_of_rows(self, name, outputs, width, like):
        generator = self._generator(name, "signs")
        made = []
        for shape in ((outputs,), (-(-outputs // max(1, self.dim // width)), width)):
            bits = torch.randint(0, 2, shape, generator=generator, dtype=torch.int8)
            made.append((2 * bits - 1).to(like.dtype).to(like.device))
        return *made, int(torch.randint(0, self.dim, (), generator=generator))

    def signs_by_row(self, name: str, outputs: int, width: int, like) -> torch.Tensor:
        """The signs ordered by row of a block, contiguous, shape (row, block, width)."""
        return self._kept(self._signs_by_row, name, outputs, width, like=like)

    def _signs_by_row(self, name, outputs, width, like):
        signs, _ = self.signs(name, outputs * width, width, like)
        rows = self.dim // width
        padded = F.pad(signs, (0, -outputs % rows * width))
        return padded.view(-1, rows, width).transpose(0, 1).contiguous()

    def channels(self, name: str, shape, like):
        """Maps of outputs and inputs to fewer channels, None for a side that is small enough."""
        return self._kept(self._channels, name, tuple(shape[:2]), like=like)

    def _channels(self, name, shape, like):
        return tuple(self._map(name, side, size, like) for side, size in zip("oi", shape))

    def _map(self, name, side, size, like):
        kept = min(CHANNELS, max(FEW, size // 2))
        if size <= kept:
            return None
        entries = torch.randn(size, kept, generator=self._generator(name, side))
        if size <= 1 << 13:  # orthogonal directions disturb inner products less
            entries = torch.linalg.qr(entries).Q * (size / kept) ** 0.5
        else:
            entries = entries / kept**0.5
        return entries.to(like.dtype).to(like.device)

    def _generator(self, name: str, use: str) -> torch.Generator:
        key = zlib.crc32(f"sketch/{use}/{self.seed}/{name}".encode())
        return torch.Generator().manual_seed(key)
