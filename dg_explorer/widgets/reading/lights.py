"""The validity light: how far the scores on screen may be believed, in plain words."""

from __future__ import annotations

import re
import textwrap

import numpy as np

from ...evaluation import Light, validity_light
from ...evaluation.light import Evidence
from ...training.proof_table import GROUP
from .blocks import Block
from .reader import RunReader

# codes of the browser
_LEVELS = {"red": 0, "amber": 1, "green": 2, "grey": 3}


def lights(reader: RunReader) -> dict[str, Block]:
    """Blocks `light/<method>/...`, at each epoch from which on the light is another one: epoch,
    level, text, detail; and `light/<method>/any/...` of other starts, where some were tried.

    Nothing where the record holds no check: the board then says that nothing was checked.
    """
    kinds = ("metasmoothness", "derivative_error", "lds")
    checks = [check for kind in kinds for check in reader.run.checks(kind)]
    if not checks and not reader.has(GROUP):
        return {}
    evidence = Evidence(reader.run)
    out: dict[str, Block] = {}
    for method in reader.methods:
        epochs = evidence.changes(method)
        found = [evidence.light(int(epoch), method) for epoch in epochs]
        out |= {
            f"light/{method}/epoch": epochs,
            f"light/{method}/level": np.array([_LEVELS[f.colour] for f in found], np.int8),
            f"light/{method}/text": [_short(f) for f in found],
            f"light/{method}/detail": [
                " ".join((*f.reasons, _elsewhere(evidence, int(epoch), method)))
                for epoch, f in zip(epochs, found, strict=True)
            ],
        }
        anywhere = [evidence.light(int(epoch), method, "any") for epoch in epochs]
        if any(f.colour != "grey" for f in anywhere):
            out |= {
                f"light/{method}/any/epoch": epochs,
                f"light/{method}/any/level": np.array(
                    [_LEVELS[f.colour] for f in anywhere], np.int8
                ),
                f"light/{method}/any/text": [_beyond(f) for f in anywhere],
                f"light/{method}/any/detail": [" ".join(f.reasons) for f in anywhere],
            }
    return out


def light_of(reader: RunReader, method: str | None, epoch: float) -> Light:
    """The light of a method's scores at a moment."""
    return validity_light(reader.run, round(epoch), method=method)


def as_attrs(light: Light) -> dict[str, str]:
    """The light as attrs of a table: its colour and its reasons in words."""
    return {"validity": light.colour, "validity_reasons": " ".join(light.reasons)}


def stamped(figure, light: Light):
    """A plotly figure that says under its axes how far its scores may be believed."""
    words = {"grey": "These scores were not checked here."}.get(
        light.colour, " ".join(light.reasons)
    )
    figure.add_annotation(
        text=f"Validity {light.colour}. {'<br>'.join(textwrap.wrap(words, 110))}",
        **{"xref": "paper", "yref": "paper", "x": 0, "y": 0, "xanchor": "left", "yanchor": "top"},
        **{"yshift": -46, "showarrow": False, "align": "left", "font": {"size": 11}},
    )
    margin = figure.layout.margin
    figure.update_layout(meta=as_attrs(light), margin_b=(margin.b or 80) + 40)
    return figure


def _elsewhere(evidence: Evidence, epoch: int, method: str) -> str:
    """Whether the scores hold for the data, or for this start only, in words."""
    light = evidence.light(epoch, method, "any")
    said = light.reasons[0] if light.colour == "grey" else " ".join(light.reasons)
    return f"From other starts, {light.colour}: {said}"


def _beyond(light: Light) -> str:
    """What is known of other starts, shortly."""
    if light.colour == "grey":
        return "not tried here"
    measured = ", ".join(f"{name} {value:.2f}" for name, value in light.measured.items())
    return f"{light.colour}{f', {measured}' if measured else ''}"


def _short(light) -> str:
    if light.colour == "grey":
        return "validity not measured here"
    measured = ", ".join(f"{name} {value:.2f}" for name, value in light.measured.items())
    reasons = " ".join(light.reasons)
    segments = re.search(r"\d+ of \d+ segments", reasons)
    parts = [
        measured,
        f"{segments[0]} proved" if segments else "",
        "not measured here" if "not measured here" in reasons else "",
        "older than its data" if " older than " in reasons else "",
    ]
    said = ", ".join(part for part in parts if part)
    return f"validity {light.colour}{f': {said}' if said else ''}"
