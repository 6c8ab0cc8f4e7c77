"""Dataset cartography as blocks: how sure the model is of each training example, how it wavers."""

from __future__ import annotations

import numpy as np

from ...analysis.examples.cartography import history
from ..reading.blocks import Block
from .evolution import memorization, quantised
from .sources import Sources

REGIONS = ("easy", "ambiguous", "hard")
SUSPECTS = 12


def dynamics_map(sources: Sources, rest: str = "") -> dict[str, Block]:
    """One value a training example, in the order of the table.

    position (1, train, 2) as uint16: variability and confidence within `bounds` (low and high
    of each); region as a code among easy, ambiguous, hard, -1 where
    never seen; forgetting; first_learned, -1 for never; correctness; mean_loss; suspects: rows
    of the highest mean loss, worst first.
    """
    chart = charted(sources)
    spot, bounds = _spread(chart["variability"].values, chart["confidence"].values)
    loss = chart["mean_loss"].values
    learned = chart["first_learned"].values
    region = chart["region"].values.astype(str)
    codes = np.full(len(region), -1, np.int8)
    for code, name in enumerate(REGIONS):
        codes[region == name] = code
    ranked = np.argsort(np.where(np.isfinite(loss), -loss, np.inf), kind="stable")
    out: dict[str, Block] = {
        "id": chart["train"].values,
        "position": quantised(spot, np.zeros(2), 1.0)[None],
        "bounds": bounds.astype(np.float32),
        "region": codes,
        "forgetting": np.minimum(chart["forgetting_events"].values, 32767).astype(np.int16),
        "first_learned": np.where(np.isfinite(learned), learned, -1).astype(np.int32),
        "correctness": chart["correctness"].values.astype(np.float16),
        "mean_loss": loss.astype(np.float32),
        "suspects": ranked[: min(SUSPECTS, int(np.isfinite(loss).sum()))].astype(np.int32),
        "n_epochs": np.array([chart.attrs.get("n_epochs", 0)], np.int32),
    }
    known = memorization(sources, np.asarray(out["id"]))
    if known is not None:
        out["memorization"] = known.astype(np.float32)
    return out


def _spread(variability: np.ndarray, confidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both in 0..1 of what they span, with a little air; and what that is."""
    found, bounds = [], []
    for values, most in ((variability, 0.5), (confidence, 1.0)):
        known = values[np.isfinite(values)]
        low, high = (known.min(), known.max()) if len(known) else (0.0, most)
        # a tenth of the axis at least, so that noise does not fill the map
        air = max(0.04 * (high - low), (0.1 * most - (high - low)) / 2)
        low, high = max(0.0, low - air), min(most, high + air)
        found.append((values - low) / (high - low))
        bounds += [low, high]
    return np.stack(found, -1), np.array(bounds)


def charted(sources: Sources):
    """The record's cartography, or the same measures from the recorded dynamics."""
    reader = sources.reader
    if "cartography" not in sources.kept:
        if reader.has("analyses/cartography"):
            chart = reader.group("analyses/cartography")
        else:
            chart = history(reader.group("dynamics/train"), "train")
        sources.kept["cartography"] = chart.reindex(
            train=reader.ids("train"), fill_value={"forgetting_events": 0, "region": ""}
        )
    return sources.kept["cartography"]


def has_dynamics_map(sources: Sources) -> bool:
    """Whether the record has what the map is drawn from."""
    reader = sources.reader
    if reader.has("analyses/cartography"):
        return True
    return reader.has("dynamics/train") and "correct" in reader.group("dynamics/train")
