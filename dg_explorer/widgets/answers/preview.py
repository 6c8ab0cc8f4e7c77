"""What a board is sent at once, and what a saved page holds: everything that fits a budget."""

from __future__ import annotations

import gzip
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from ..reading.blocks import Block, pack, unpack
from ..reading.faces import CHUNK
from ..reading.lights import lights
from ..reading.marks import marks
from ..reading.selection import Selection
from . import panels
from .serve import answer
from .sources import Sources

PAGE_BYTES = 4_700_000
MOST, LEAST = 8, 4
_SAMPLED = 12  # test examples that stand for the others' size
LIVE_BYTES = 1_900_000  # in a trait, and so in a saved notebook
_TRAVELLING_VALUES = 20_000_000  # 80 MB; beyond, what the scatter only colours by stays behind
_TRAVELLING_FACES = 200_000  # of training examples; of more only a part would fit, at random
_SHOWN = 8  # influencers on each side
_FEW = 20_000  # training examples, sent with all their faces at once
_EAGER_SECONDS = 0.5  # spent on scores before anybody asked for them; the rest is on demand


def preview(
    sources: Sources,
    *,
    first: Selection | None = None,
    everything: bool = False,
    scores: int | None = None,
) -> bytes:
    """The container a board starts from: what its first picture needs, or all there is.

    Parameters
    ----------
    first : the selection with the scores that come before the others
    everything : for a saved page
    scores : of how many test examples a saved page holds them, the selected one first; None: all
    """
    blocks, attrs = _core(sources)
    first = first or Selection()
    keys = _keys(sources, first, everything=everything)
    if everything:
        _fill(blocks, sources, keys, scores=scores)
    else:
        urgent = sorted(
            filter(_urgent(sources, first), keys),
            key=lambda key: key.startswith(("examples/train/", "positions/")),  # what may not fit
        )
        _fill(blocks, sources, urgent, budget=LIVE_BYTES - _total(blocks))
        faces = _faces_of(sources, first, blocks)
        _fill(blocks, sources, faces, budget=LIVE_BYTES - _total(blocks))
    return pack(blocks, attrs)


def more(sources: Sources, *, first: Selection, held: bytes) -> bytes:
    """The answers a board will want next, as many as fit beside the preview it holds."""
    blocks, known = {}, unpack(held)[1]
    keys = [key for key in _keys(sources, first, everything=False) if key not in known]
    _fill(blocks, sources, keys, budget=LIVE_BYTES - len(held), seconds=_EAGER_SECONDS)
    return pack(blocks)


def _fill(
    blocks: dict[str, Block],
    sources: Sources,
    keys: Iterable[str],
    *,
    budget: float = math.inf,
    scores: int | None = None,
    seconds: float = math.inf,
) -> None:
    """Add answers until they take `budget` bytes; those of scores for this many test examples and
    `seconds` only."""
    until, left = None, math.inf if scores is None else scores
    full = set()  # families of which one answer did not fit: the others are about as large
    for key in keys:
        family = key.rpartition("/")[0]
        if family in full or key in blocks:
            continue
        if key.startswith("scores/"):
            until = until or time.monotonic() + seconds
            if not left or time.monotonic() > until:
                return
            left -= 1
        if budget <= 0:
            return
        try:
            container = answer(sources, key)
        except KeyError:
            continue  # no scores for this test example: the board says so when it is chosen
        if len(container) > budget:
            full.add(family)
            continue
        blocks[key] = container
        budget -= len(container)


def _urgent(sources: Sources, first: Selection) -> Callable[[str], bool]:
    """Which keys the first picture reads."""
    stems = ["examples/test/", "dynamics/test/", "projection/", "positions/"]
    stems.append(f"scores/{first.method}/{first.test}/")
    if len(sources.reader.ids("train")) <= _FEW:
        stems.append("examples/train/")
    return lambda key: f"{key}/".startswith(tuple(stems))


def _faces_of(sources: Sources, first: Selection, blocks: dict[str, Block]) -> list[str]:
    """The keys of the training examples that matter to the selected test example at the start."""
    held = blocks.get(f"scores/{first.method}/{first.test}")
    shown = panels.wanted("examples/train", sources.views)
    if not isinstance(held, bytes) or first.method is None or not shown:
        return []
    _, scores = unpack(held)
    epochs = sources.reader.scores(first.method)["epoch"].values
    if not len(epochs):
        return []
    position = np.asarray(scores["position"])
    at = np.asarray(scores["top"])[np.abs(epochs - first.epoch).argmin(), :, :_SHOWN]
    columns = at[at < len(position)]
    return [f"examples/train/{i}" for i in np.unique(position[columns] // CHUNK)]


def _total(blocks: dict[str, Block]) -> int:
    return sum(_size(block) for block in blocks.values())


def _core(sources: Sources) -> tuple[dict[str, Block], dict]:
    reader, faces = sources.reader, sources.faces
    blocks: dict[str, Block] = {
        "epochs": reader.epochs,
        "classes": reader.classes,
        "groups": faces.groups,
    }
    if len(reader.label_counts):
        blocks["label_counts"] = reader.label_counts
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
        known = {
            "id": method,
            "label": reader.method_name(method),
            "about": f"attributes the {about}",
        }
        methods.append({**known, "unit": str(data.attrs.get("unit", ""))})
    blocks |= lights(reader)
    counts = {split: len(reader.ids(split)) for split in ("train", "test")}
    attrs = {
        "name": str((reader.run.attrs.get("config") or {}).get("title") or reader.run.name),
        "about": about_run(reader, counts),
        "unit": reader.run.time_unit,
        "count": counts,
        "chunk": CHUNK,
        "methods": methods,
        "queries": _queries(reader),
        "marks": marks(reader),
        "layers": reader.family("projections/"),
        "has_dynamics_test": reader.has("dynamics/test"),
        "has_dynamics_train": _travels(reader, "dynamics/train"),
        **panels.facts(sources),
    }
    return blocks, attrs


def _queries(reader) -> list[dict]:
    """What was asked of the run later: each question with the methods that answer it."""
    found = []
    for asked in reader.asked:
        name, _, question = asked.partition("/")
        about = reader.group(f"queries/{name}").sel(query=question)
        methods = reader.family(f"queries/{name}/")
        found.append({"id": asked, "about": str(about["asked"].item()), "methods": methods})
    return found


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
    for number, asked in enumerate(reader.asked):
        methods = reader.family(f"queries/{asked.partition('/')[0]}/")
        keys += [f"query/{number}/{method}" for method in methods]
    return [key for key in keys if panels.wanted(key, sources.views)]


def _size(block: Block) -> int:
    if isinstance(block, bytes):
        return len(block)
    return block.nbytes if isinstance(block, np.ndarray) else sum(4 + 2 * len(s) for s in block)


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
