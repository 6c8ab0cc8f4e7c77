"""A picture of a board where no widget runs (GitHub, nbviewer): the timeline as a small SVG."""

from __future__ import annotations

from xml.sax.saxutils import escape

import numpy as np

from ..reading.marks import marks
from ..reading.reader import RunReader

_W, _H, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 210, 52, 16, 44, 170
_LINES = (
    ("train_accuracy", "#0072B2", "train accuracy"),
    ("test_accuracy", "#C44F00", "test accuracy"),
)


def still(reader: RunReader, title: str) -> str:
    """An SVG of the accuracies over training with the run's marks; text is escaped."""
    epochs = reader.epochs
    first, last = (int(epochs[0]), int(epochs[-1])) if len(epochs) else (0, 1)
    extent = max(last - first, 1)

    def x(value: float) -> float:
        return _LEFT + (value - first) / extent * (_W - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _BOTTOM - value * (_BOTTOM - _TOP)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_W} {_H}" width="{_W}" '
        f'font-family="system-ui,sans-serif" font-size="11" fill="#5a6472">',
        f'<rect width="{_W}" height="{_H}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="20" font-size="14" font-weight="600" fill="#1b1f24">'
        f"{escape(title)}</text>",
    ]
    for value in (0, 0.5, 1):
        parts.append(
            f'<path d="M{_LEFT},{y(value):.1f}H{_W - _RIGHT}" stroke="#e1e5ea"/>'
            f'<text x="{_LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.0%}</text>'
        )
    for mark in marks(reader):
        at = x(mark["epoch"])
        parts.append(
            f'<path d="M{at:.1f},{_TOP}V{_BOTTOM}" stroke="#5a6472" stroke-dasharray="2 3"/>'
            f'<text x="{at:.1f}" y="{_TOP - 6}" text-anchor="middle">'
            f"{escape(mark['label'])} {mark['epoch']:,}</text>"
        )
    drawn = 0
    if reader.has("metrics"):
        metrics = reader.group("metrics")
        when = metrics["epoch"].values
        for name, colour, label in _LINES:
            if name in metrics:
                values = metrics[name].values
                keep = np.isfinite(values)
                line = "L".join(f"{x(e):.1f},{y(v):.1f}" for e, v in zip(when[keep], values[keep]))
                parts.append(f'<path d="M{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
                at = _W - _RIGHT - 200 + 104 * drawn
                parts.append(f'<text x="{at}" y="20" fill="{colour}">{label}</text>')
                drawn += 1
    for value, anchor in ((first, "start"), (last, "end")):
        parts.append(
            f'<text x="{x(value):.1f}" y="{_BOTTOM + 18}" text-anchor="{anchor}">'
            f"{reader.run.time_unit} {value:,}</text>"
        )
    parts.append(
        f'<text x="{_W / 2}" y="{_H - 8}" text-anchor="middle">'
        "a still of the board: run the notebook, or use to_html, to explore it</text></svg>"
    )
    return "".join(parts)
