"""The board's further views, as the browser asks for them: scatter and tabs."""

from __future__ import annotations

from collections.abc import Callable

from ..reading.blocks import Block
from . import (
    bias,
    dynamics_map,
    evolution,
    gradient_flow,
    removal,
    transition,
    validity,
)
from .sources import Sources

FAMILIES: dict[str, Callable[[Sources, str], dict[str, Block]]] = {
    "projection": evolution.header,
    "positions": evolution.positions,
    "map": dynamics_map.dynamics_map,
    "course": transition.course_blocks,
    "properties": transition.property_blocks,
    "gradients": gradient_flow.gradient_flow,
    "accuracy": bias.group_accuracy,
    "bias": bias.group_scores,
    "validity": validity.validity,
    "removal": removal.removal,
}
#: what each answer holds: name of a block -> "numbers" or "strings" (see `sent`)
BLOCKS: dict[str, dict[str, str]] = {
    "projection": {
        **dict.fromkeys(("epoch", "split", "chunk", "frame", "id", "place"), "numbers"),
        **dict.fromkeys(("label", "group", "memorization"), "numbers"),
        "about": "strings",
    },
    "positions": {"position": "numbers"},
    "map": dict.fromkeys(
        ("id", "position", "bounds", "region", "forgetting", "first_learned", "correctness")
        + ("mean_loss", "suspects", "n_epochs", "memorization"),
        "numbers",
    ),
    "course": dict.fromkeys(
        ("epoch", "mean", "scale", "plain_mean", "plain_scale", "flips", "tests"), "numbers"
    ),
    "properties": {
        **dict.fromkeys(("id", "code/<name>"), "numbers"),
        **dict.fromkeys(("names", "kinds/<name>"), "strings"),
    },
    "gradients": {
        **dict.fromkeys(("epoch", "flag", "<measure>"), "numbers"),
        "layer": "strings",
    },
    "accuracy": dict.fromkeys(("epoch", "accuracy", "count"), "numbers"),
    "bias": dict.fromkeys(("epoch", "mean"), "numbers"),
    "validity": {
        **dict.fromkeys(("names", "about", "method", "said"), "strings"),
        **dict.fromkeys(("curve/<number>/epoch", "curve/<number>/value"), "numbers"),
        **dict.fromkeys(("curve/<number>/low", "curve/<number>/high"), "numbers"),
    },
    "removal": dict.fromkeys(
        ("test", "epoch", "removed", "draws", "change", "low", "high", "predicted/<method>"),
        "numbers",
    ),
}
_EAGER_VALUES = 20_000_000  # prepared when a board opens; beyond, when a view asks
_EAGER_POSITIONS = 800_000  # bytes


# every view of the board, and what it reads
READS: dict[str, tuple[str, ...]] = {
    "head": (),
    "timeline": (),
    "gallery": ("examples/test", "dynamics/test"),
    "influencers": ("examples", "scores", "removal"),
    "evolution": ("projection", "positions", "dynamics", "examples", "scores"),
    "map": ("map", "examples/train"),
    "transition": ("course", "properties", "examples/train"),
    "gradients": ("gradients",),
    "bias": ("accuracy", "bias"),
    "validity": ("validity",),
}


def wanted(key: str, views: tuple[str, ...]) -> bool:
    """Whether any of the views reads a key; every key is where no views are named."""
    if not views or any(view not in READS for view in views):  # a comparison of runs
        return True
    return any(f"{key}/".startswith(f"{stem}/") for view in views for stem in READS[view])


def facts(sources: Sources) -> dict[str, bool]:
    """What the record holds for these views: attrs of the preview."""
    reader = sources.reader
    dense = any("train" in reader.scores(method).dims for method in reader.methods)
    return {
        "has_map": dynamics_map.has_dynamics_map(sources),
        "has_course": dense,
        "has_gradients": reader.has("gradients"),
        "has_groups": bias.has_groups(sources),
        "has_validity": bool(validity.groups(sources)),
        "has_removal": removal.has_removal(sources),
    }


def keys(sources: Sources, *, everything: bool) -> list[str]:
    """Keys worth sending with the preview, small and wanted first.

    `everything` for a saved page; else only what is small and quick to prepare.
    """
    reader, has = sources.reader, facts(sources)
    out = ["gradients/all"] if has["has_gradients"] else []
    for number, layer in enumerate(reader.family("projections/")):
        sizes = reader.sizes(f"projections/{layer}")
        size = sizes["epoch"] * sizes["example"] * 4
        if everything or (number == 0 and size <= _EAGER_POSITIONS):
            out.append(f"projection/{layer}")
            out += [f"positions/{i}/{layer}" for i in range(evolution.chunks(sources, layer))]
    if everything or len(reader.ids("train")) <= 20_000:
        out += ["map/train"] if has["has_map"] else []
        out += ["properties/train"]
        out += ["dynamics/train"] if reader.has("dynamics/train") and everything else []
    out += ["validity/all"] if has["has_validity"] else []
    out += ["removal/all"] if has["has_removal"] else []
    if has["has_groups"] and reader.has("dynamics/test"):
        out += ["accuracy/test"]
    for method in reader.methods:
        data = reader.scores(method)
        if "train" in data.dims and (everything or data["score"].size <= _EAGER_VALUES):
            out.append(f"course/{method}")
            out += [f"bias/{method}"] if has["has_groups"] else []
    return out
