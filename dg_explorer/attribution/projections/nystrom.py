"""Nystrom features: exact kernel columns of a few training examples, the landmarks.

With K_mm the kernel of the landmarks and k_m(x) an example's kernel with them, the feature
K_mm^(-1/2) k_m(x) has inner products that are exact wherever one side is a landmark, and close
between examples that resemble some. At equal width that is nearer to the exact kernel than any
random projection, and only the landmarks' gradients are held.
"""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch

from ...data.batch import Batch, joined
from ...data.leaves import leaves
from ...errors import DataError, SettingError
from ..gradients.capture import Capture
from ..gradients.factors import Factor
from ..gradients.joining import compact, concatenate
from .kernel import gram

# directions in which the landmarks vary by less than this share of the most are rounding
NEGLIGIBLE = 1e-6
TOGETHER = 64  # landmarks in a pass


@dataclass
class Nystrom:
    """Which examples are the landmarks, and the features of each checkpoint made with them.

    Landmarks are drawn at random, but by what an example is and not where it stands: so the
    same ones are drawn from a training set in any order, batch size or process.

    Parameters
    ----------
    dim : int
        Most landmarks; fewer where there are fewer examples, and then scores are exact.
    seed : int

    References
    ----------
    Williams & Seeger (2001), "Using the Nystrom Method to Speed Up Kernel Machines", NeurIPS.
    """

    dim: int
    seed: int = 0
    kind: str = field(default="nystrom", init=False)
    _examples: list = field(default_factory=list, init=False, compare=False, repr=False)
    _made: dict = field(default_factory=dict, init=False, compare=False, repr=False)

    def __post_init__(self):
        if isinstance(self.dim, bool) or not isinstance(self.dim, int) or self.dim < 1:
            raise SettingError(f"There must be at least 1 landmark, not {self.dim!r}.")
        if not isinstance(self.seed, int):
            raise SettingError(f"The seed of the landmarks is an integer, not {self.seed!r}.")

    def __str__(self) -> str:
        return f"nystrom projection to {self.dim}, seed {self.seed}"

    @property
    def chosen(self) -> bool:
        """Whether there are landmarks."""
        return bool(self._examples)

    def choose(self, batches: Iterable[Batch]) -> None:
        """Draw the landmarks from batches of training examples, in one pass."""
        kept: list[tuple[int, int, object]] = []
        place = 0
        for batch in batches:
            for i in range(len(batch)):
                example = batch.take(slice(i, i + 1))
                place += 1
                # the heap's first entry is the largest key kept
                entry = (-_key(example, self.seed), -place, example)
                if len(kept) < self.dim:
                    heapq.heappush(kept, entry)
                elif entry[:2] > kept[0][:2]:
                    heapq.heapreplace(kept, entry)
        if not kept:
            raise DataError("The loader is empty: there is no example to be a landmark.")
        self._examples = [example for *_, example in sorted(kept, key=lambda e: e[:2])]
        self._made = {}

    def at(self, capture: Capture, digest: str, outputs) -> NystromFeatures:
        """The map to features at one checkpoint, remembered by its digest."""
        if not self.chosen:
            raise SettingError(
                "Nystrom features need landmarks. Call compute_train_features first, or give "
                "landmarks=train_dataset."
            )
        if digest not in self._made:
            parts = [capture(batch, outputs).factors[0] for batch in _together(self._examples)]
            layers = [compact(f) for f in concatenate(parts)]
            name = zlib.crc32(repr([_key(e, 0) for e in self._examples]).encode())
            self._made[digest] = NystromFeatures(layers, self.dim, f"{self}, landmarks {name:08x}")
        return self._made[digest]

    def made_at(self, digest: str) -> NystromFeatures:
        """The map of a checkpoint that had its features computed before."""
        if digest not in self._made:
            raise SettingError("There are no landmarks at these weights: compute features first.")
        return self._made[digest]


class NystromFeatures:
    """The map from gradients, as factors of each layer, to features of one checkpoint.

    Parameters
    ----------
    landmarks : factors of each layer, one example a landmark
    dim : int
        Width of the features; columns past the number of landmarks are zero.
    name : str
    """

    def __init__(self, landmarks: list[Factor], dim: int, name: str):
        self.landmarks, self.dim, self.name = landmarks, dim, name
        values, vectors = torch.linalg.eigh(gram(landmarks).double())
        keep = values > NEGLIGIBLE * values[-1].clamp(min=1e-300)
        self.root = vectors[:, keep] / values[keep].sqrt()

    def __str__(self) -> str:
        return self.name

    def __call__(self, layers: list[Factor]) -> torch.Tensor:
        """Features, float64, shape (example, dim)."""
        return self._padded(gram(layers, self.landmarks).double() @ self.root)

    def matrix(self, names: Iterable[str]) -> torch.Tensor:
        """The map written out, float64, shape (dim, gradient entries): for small models."""
        found = {k: v for f in self.landmarks for k, v in f.gradients().items()}
        flat = torch.cat([found[name].flatten(1) for name in names], 1)
        return self._padded(flat.double().T @ self.root).T

    def _padded(self, rows: torch.Tensor) -> torch.Tensor:
        missing = self.dim - rows.shape[1]
        return torch.cat([rows, rows.new_zeros(len(rows), missing)], 1)


def _key(example, seed: int) -> int:
    """A number that depends on an example's content and the seed alone, evenly spread."""
    crc = zlib.crc32(seed.to_bytes(8, "little", signed=True))
    for _, leaf in leaves(example.raw):
        if torch.is_tensor(leaf):
            raw = leaf.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            crc = zlib.crc32(raw.numpy().data, crc)
    # crc of similar inputs differ in few bits: spread them
    return int(np.random.SeedSequence([crc]).generate_state(1)[0])


def _together(examples: list[Batch]) -> list[Batch]:
    """Examples of one shape as batches; otherwise one by one."""
    starts = range(0, len(examples), TOGETHER)
    found = [joined(examples[start : start + TOGETHER]) for start in starts]
    whole = [batch for batch in found if batch is not None]
    return whole if len(whole) == len(found) else examples
