"""What a board is sent at once, and what a saved page holds: everything that fits a budget."""

from __future__ import annotations

import time

import numpy as np

from . import panels
from .blocks import Block, pack
from .faces import CHUNK
from .lights import lights
from .marks import marks
from .selection import Selection
from .serve import Sources, answer

LIVE_BYTES = 1_900_000  # in a trait, and so in a saved notebook
_TRAVELLING_VALUES = 20_000_000  # 80 MB; beyond, what the scatter only colours by stays behind
_TRAVELLING_FACES = 200_000  # of training examples; of more only a part would fit, at random
_EAGER_SECONDS = 0.3  # spent on scores before anybody asked for them; the rest is on demand


def preview(
    sources: Sources,
    *,
    budget: int | None = LIVE_BYTES,
    first: Selection | None = None,
    scores: int | None = None,
) -> bytes:
    """The container a board starts from.

    Parameters
    ----------
    budget : bytes the answers inside may take, most useful first; None for all of them
    first : the selection whose scores come before the others
    scores : of how many test examples, the selected one first; None for all of them
    """
    blocks, attrs = _core(sources)
    spent = sum(_size(block) for block in blocks.values())
    until, left = None, np.inf if scores is None else scores
    full = set()  # families of which one answer did not fit: the others are about as large
    for key in _keys(sources, first or Selection(), everything=budget is None):
        family = key.rpartition("/")[0]
        if family in full:
            continue
        if key.startswith("scores/"):
            if not left:
                break
            left -= 1
        if budget is not None and key.startswith("scores/"):
            until = until or time.monotonic() + _EAGER_SECONDS
            if time.monotonic() > until:
                break
        if budget is not None and spent >= budget:
            break
        try:
            container = answer(sources, key)
        except KeyError:
            continue  # no scores for this test example: the board says so when it is chosen
        if budget is not None and spent + len(container) > budget:
            full.add(family)
            continue
        blocks[key] = container
        spent += len(container)
    return pack(blocks, attrs)


def _core(sources: Sources) -> tuple[dict[str, Block], dict]:
    reader, faces = sources.reader, sources.faces
    blocks: dict[str, Block] = {
        "epochs": reader.epochs,
        "classes": reader.classes,
        "groups": faces.groups,
    }
    if reader.has("metrics"):
        metrics = reader.group("metrics")
        blocks["metrics/epoch"] = metrics["epoch"].values
        for name in metrics.data_vars:
            if metrics[name].dims == ("epoch",) and metrics[name].dtype.kind in "fiu":
                blocks[f"metrics/{name}"] = metrics[name].values.astype(np.float32)
    methods = []
    for method in reader.methods:
        data = reader.scores(method)
        blocks[f"scores/{method}/epoch"] = data["epoch"].values
        about = data.attrs.get("output", "")
        methods.append(
            {"id": method, "label": reader.method_name(method), "about": f"attributes the {about}"}
        )
    blocks |= lights(reader)
    counts = {split: len(reader.ids(split)) for split in ("train", "test")}
    attrs = {
        "name": str((reader.run.attrs.get("config") or {}).get("title") or reader.run.name),
        "about": about_run(reader, counts),
        "unit": reader.run.time_unit,
        "count": counts,
        "chunk": CHUNK,
        "methods": methods,
        "marks": marks(reader),
        "layers": reader.family("projections/"),
        "has_dynamics_test": reader.has("dynamics/test"),
        "has_dynamics_train": _travels(reader, "dynamics/train"),
        **panels.facts(sources),
    }
    return blocks, attrs


def _travels(reader, group: str) -> bool:
    """Whether a group is there, and small enough for every board to be sent all of it."""
    if not reader.has(group):
        return False
    sizes = reader.group(group).sizes
    return int(np.prod([*sizes.values()])) <= _TRAVELLING_VALUES


def about_run(reader, counts: dict) -> str:
    """One line under the title: what was trained on what."""
    config = reader.run.attrs.get("config") or {}
    parts = [str(config[key]) for key in ("about", "task", "description") if config.get(key)][:1]
    parts.append(f"{counts['train']:,} train, {counts['test']:,} test")
    parts += [str(config[key]) for key in ("model", "architecture") if config.get(key)][:1]
    if n := config.get("parameters") or config.get("n_parameters"):
        parts.append(f"{n:,} parameters" if isinstance(n, int) else f"{n} parameters")
    return " · ".join(parts)


def _keys(sources: Sources, first: Selection, *, everything: bool) -> list[str]:
    reader, faces = sources.reader, sources.faces
    keys = [f"examples/test/{i}" for i in range(faces.chunks("test"))]
    keys += ["dynamics/test"] if reader.has("dynamics/test") else []
    if everything or len(reader.ids("train")) <= _TRAVELLING_FACES:
        keys += [f"examples/train/{i}" for i in range(faces.chunks("train"))]
    keys += panels.keys(sources, everything=everything)
    for name in sorted(reader.methods, key=lambda m: m != first.method):
        tests = reader.scores(name)["test"].values
        keys += [f"scores/{name}/{test}" for test in sorted(tests, key=lambda t: t != first.test)]
    return [key for key in keys if panels.wanted(key, sources.views)]


def _size(block: Block) -> int:
    if isinstance(block, bytes):
        return len(block)
    return block.nbytes if isinstance(block, np.ndarray) else sum(4 + 2 * len(s) for s in block)
