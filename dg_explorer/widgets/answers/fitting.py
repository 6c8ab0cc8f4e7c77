"""How many training examples a saved page can keep of each test example and stay small."""

from __future__ import annotations

import gzip
from dataclasses import replace

import numpy as np

from ..reading.blocks import pack
from . import panels
from .preview import preview
from .serve import answer
from .sources import Sources

PAGE_BYTES = 4_700_000
MOST, LEAST = 8, 4
_SAMPLED = 12  # test examples whose size stands for the others'


def fitting_k(sources: Sources, limit: int = PAGE_BYTES) -> int:
    """The largest k, from 8 down to 4, with which the page is expected to fit into `limit` bytes.

    Estimated from a few test examples, since making all of them for each k takes seconds.
    """
    reader = sources.reader
    tests = [(m, t) for m in reader.methods for t in reader.scores(m)["test"].values]
    if not tests or not panels.wanted("scores/", sources.views):
        return MOST
    chosen = np.unique(np.linspace(0, len(tests) - 1, min(_SAMPLED, len(tests))).astype(int))
    rest = _sent(preview(sources, everything=True, scores=0)) + 300_000  # the bundle and styles
    for k in range(MOST, LEAST, -1):
        some = pack(
            {
                f"{m}/{t}": answer(replace(sources, k=k, brief=True), f"scores/{m}/{t}")
                for m, t in (tests[i] for i in chosen)
            }
        )
        if rest + _sent(some) * len(tests) / len(chosen) <= limit:
            return k
    return LEAST


def _sent(container: bytes) -> int:
    """Bytes of a container in a page: compressed, then base64."""
    return len(gzip.compress(container, 6)) * 4 // 3
