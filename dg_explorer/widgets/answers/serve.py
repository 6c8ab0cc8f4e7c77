"""What the browser may ask for by key, and the blocks that answer it.

A key is `family/member...`; a family is one function of the board's sources and the rest of the
key. Views of the browser read through keys only, so that a saved page can hold the same answers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..reading.blocks import Block, pack, smallest_int
from . import panels
from .sources import Sources
from .trajectories import trajectories_of, trajectories_of_question


def _examples(sources: Sources, rest: str) -> dict[str, Block]:
    split, _, number = rest.partition("/")
    return sources.faces.chunk(split, int(number))


def _dynamics(sources: Sources, split: str) -> dict[str, Block]:
    reader = sources.reader
    data = reader.group(f"dynamics/{split}").sel({split: reader.ids(split)})
    out: dict[str, Block] = {"epoch": data["epoch"].values}
    if "margin" in data:
        out["margin"] = np.clip(data["margin"].values, -6e4, 6e4).astype(np.float16)
    if "prediction" in data:
        out["prediction"] = smallest_int(reader.class_codes(data["prediction"].values))
    if "correct" in data:
        out["correct"] = data["correct"].values.astype(np.uint8)
    return out


def _scores(sources: Sources, rest: str) -> dict[str, Block]:
    method, _, test = rest.rpartition("/")
    return trajectories_of(sources.reader, method, int(test), sources.k, brief=sources.brief)


def _query(sources: Sources, rest: str) -> dict[str, Block]:
    number, _, method = rest.partition("/")
    asked = sources.reader.asked[int(number)]
    return trajectories_of_question(sources.reader, method, asked, sources.k, brief=sources.brief)


def _row(sources: Sources, rest: str) -> dict[str, Block]:
    """All scores of one test example, (epoch, train) in the order of the training table."""
    reader = sources.reader
    method, _, test = rest.rpartition("/")
    data = reader.scores(method)
    if "train" not in data.dims:
        raise KeyError("Only the top scores of this method are recorded, not every score.")
    scores = data["score"].sel(test=int(test)).reindex(train=reader.ids("train")).values
    scale = np.nanmax(np.where(np.isfinite(scores), np.abs(scores), np.nan), axis=1, initial=0)
    unit = np.where(scale > 0, scale, 1)[:, None]
    return {"scale": scale.astype(np.float32), "score": (scores / unit).astype(np.float16)}


FAMILIES: dict[str, Callable[[Sources, str], dict[str, Block]]] = {
    "examples": _examples,
    "dynamics": _dynamics,
    "scores": _scores,
    "query": _query,
    "row": _row,
    **panels.FAMILIES,
}

# read every score of a method to answer with a little: made once, for the board and its page
_KEPT = ("course", "bias")
# may take seconds of a large run: what is asked meanwhile is answered first
SLOW = (*_KEPT, "map")


def answer(sources: Sources, key: str) -> bytes:
    """The container a key stands for."""
    family, _, rest = key.partition("/")
    if family not in FAMILIES:
        raise KeyError(f"The board asked for {key!r}; there are {', '.join(FAMILIES)}.")
    if family not in _KEPT:
        return pack(FAMILIES[family](sources, rest))
    if key not in sources.kept:
        sources.kept[key] = pack(FAMILIES[family](sources, rest))
    return sources.kept[key]
