"""A picture of a board where no widget runs (GitHub, nbviewer, a reopened notebook).

The title, the timeline, the selected test example with the training examples that helped and
hurt most, and the date.
"""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np

from ..reading import tables
from ..reading.lights import light_of
from ..reading.marks import marks
from ..reading.reader import RunReader
from ..reading.selection import Selection
from .drawing import FAINT, INK, MUTED, Box, Shape, Stroke, Words

WIDTH = 700
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 20, 62, 160
_ROW, _ROWS, _MOST_CHARACTERS = 19, 3, 40
_LINES = (
    ("train_accuracy", "#0072B2", "train accuracy"),
    ("test_accuracy", "#C44F00", "test accuracy"),
)
_SIDES = {"helped": ("#007A59", "Helped most"), "hurt": ("#A8487F", "Hurt most")}
_NEUTRAL = {"helped": "Scored highest", "hurt": "Scored lowest"}


def still(reader: RunReader, title: str, now: Selection) -> tuple[list[Shape], int]:
    """The shapes of the picture, 700 wide, and its height."""
    shapes: list[Shape] = [Words(_LEFT, 24, _cut(title, 70), 15, INK, bold=True)]
    shapes += _timeline(reader, now)
    y = _BOTTOM + 46
    listed = _influencers(reader, now, y)
    if listed:
        shapes += listed
        y += 22 + _ROW * _ROWS + 26
    today = datetime.date.today().isoformat()
    foot = f"A still of {today}. Run the cell, or write the board with to_html, to explore it."
    return [*shapes, Words(_LEFT, y, foot, 11, MUTED)], y + 14


def _timeline(reader: RunReader, now: Selection) -> list[Shape]:
    epochs = reader.epochs
    first, last = (int(epochs[0]), int(epochs[-1])) if len(epochs) else (0, 1)
    extent = max(last - first, 1)

    def x(value: float) -> float:
        return _LEFT + (value - first) / extent * (WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _BOTTOM - min(1.0, max(0.0, value)) * (_BOTTOM - _TOP)

    shapes: list[Shape] = []
    for value in (0, 0.5, 1):
        shapes.append(Stroke([(_LEFT, y(value)), (WIDTH - _RIGHT, y(value))], FAINT))
        shapes.append(Words(_LEFT - 6, y(value) + 4, f"{value:.0%}", 11, MUTED, anchor="end"))
    room = -np.inf
    for mark in marks(reader):
        at = x(mark["epoch"])
        shapes.append(Stroke([(at, _TOP), (at, _BOTTOM)], "#C4CAD2"))
        text = f"{mark['label']} {mark['epoch']:,}"
        if at - room > 6.5 * len(text) and at < WIDTH - _RIGHT - 30:
            shapes.append(Words(at, _TOP - 6, text, 11, MUTED, anchor="middle"))
            room = at
    key = WIDTH - _RIGHT
    if reader.has("metrics"):
        metrics = reader.group("metrics")
        when = metrics["epoch"].values
        for name, colour, label in reversed(_LINES):
            if name in metrics:
                values = metrics[name].values
                keep = np.isfinite(values)
                line = [(x(e), y(v)) for e, v in zip(when[keep], values[keep])]
                shapes.append(Stroke(line, colour, 2))
                shapes.append(Words(key, 24, label, 12, colour, anchor="end"))
                key -= 100
    unit = reader.run.time_unit
    shapes.append(Words(_LEFT, _BOTTOM + 18, f"{unit} {first:,}", 11, MUTED))
    shapes.append(Words(WIDTH - _RIGHT, _BOTTOM + 18, f"{unit} {last:,}", 11, MUTED, anchor="end"))
    at = x(now.epoch)
    shapes.append(Stroke([(at, _TOP), (at, _BOTTOM + 6)], INK, 1.5))
    if 90 < at < WIDTH - 90:
        shapes.append(Words(at, _BOTTOM + 18, f"{unit} {now.epoch:,g}", 11, INK, True, "middle"))
    return shapes


def _influencers(reader: RunReader, now: Selection, top: float) -> list[Shape]:
    method = now.method or next(iter(reader.methods), None)
    if method is None or now.test is None:
        return []
    try:
        epoch = tables.score_epoch(reader, method, None, now.epoch)
        frame = tables.top_influencers(reader, method, now.test, epoch, _ROWS)
    except KeyError:
        return []  # no scores of this test example
    light = light_of(reader, method, epoch)
    checked = "not checked by retraining" if light.colour == "grey" else f"validity {light.colour}"
    name = _name(reader, "test", now.test)
    about = f"{reader.method_name(method)} at {reader.run.time_unit} {epoch:,}, {checked}"
    shapes: list[Shape] = [
        Words(_LEFT, top, f"Test example {name}", 13, INK, bold=True),
        Words(WIDTH - _RIGHT, top, about, 11, MUTED, anchor="end"),
    ]
    largest = float(np.abs(np.asarray(frame["score"])).max()) if len(frame) else 0.0
    for column, (side, (colour, words)) in enumerate(_SIDES.items()):
        left = _LEFT + column * (WIDTH - _LEFT) / 2
        words = _NEUTRAL[side] if light.colour == "red" else words
        shapes.append(Words(left, top + 22, words, 12, colour, bold=True))
        rows: Any = frame[frame["side"] == side].itertuples(index=False)
        for rank, row in enumerate(rows):
            y = top + 22 + _ROW * (rank + 1)
            shapes.append(Words(left, y, f"{rank + 1}", 11, MUTED))
            shapes.append(Words(left + 16, y, _name(reader, "train", row.train), 12))
            share = abs(float(row.score)) / largest if largest else 0
            shapes.append(Box(left + 210, y - 9, max(1.0, 84 * share), 8, colour))
    return shapes


def _name(reader: RunReader, split: str, id_: int) -> str:
    table = reader.group(f"{split}_examples") if reader.has(f"{split}_examples") else None
    if table is not None and "text" in table:
        text = " ".join(str(table["text"].sel({split: id_}).values).split())
        if text and len(text) <= _MOST_CHARACTERS - 16:
            return text
        return f"#{id_} {_cut(text, _MOST_CHARACTERS - 16)}"
    if table is not None and "label" in table:
        code = reader.class_codes(table["label"].sel({split: id_}).values.reshape(1))[0]
        return _cut(f"#{id_} {reader.classes[code] if code >= 0 else ''}".strip(), 30)
    return f"#{id_}"


def _cut(text: str, most: int) -> str:
    """At most this many characters, cut in the middle: what differs may stand at either end."""
    if len(text) <= most:
        return text
    return f"{text[: most - 9]}…{text[-8:]}"
