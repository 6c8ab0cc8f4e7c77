"""A few shapes and words, drawn twice: as SVG, and as PNG where untrusted SVG is not shown."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from xml.sax.saxutils import escape

PAPER, INK, MUTED, FAINT = "#ffffff", "#1b1f24", "#5a6472", "#e1e5ea"
_SCALE = 2  # pixels of the PNG for each unit: sharp on most screens
_ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}


@dataclass(frozen=True)
class Words:
    """A line of text with its foot at (x, y)."""

    x: float
    y: float
    text: str
    size: int = 12
    colour: str = INK
    bold: bool = False
    anchor: str = "start"


@dataclass(frozen=True)
class Stroke:
    """A line through points."""

    points: Sequence[tuple[float, float]]
    colour: str
    width: float = 1


@dataclass(frozen=True)
class Box:
    """A filled rectangle."""

    x: float
    y: float
    width: float
    height: float
    colour: str


Shape = Words | Stroke | Box


def as_svg(shapes: Sequence[Shape], width: int, height: int) -> str:
    """The shapes as one SVG element; text is escaped."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'font-family="system-ui,sans-serif"><rect width="{width}" height="{height}" '
        f'fill="{PAPER}"/>'
    ]
    for shape in shapes:
        if isinstance(shape, Words):
            weight = ' font-weight="600"' if shape.bold else ""
            parts.append(
                f'<text x="{shape.x:.1f}" y="{shape.y:.1f}" font-size="{shape.size}"{weight} '
                f'fill="{shape.colour}" text-anchor="{shape.anchor}">{escape(shape.text)}</text>'
            )
        elif isinstance(shape, Box):
            parts.append(
                f'<rect x="{shape.x:.1f}" y="{shape.y:.1f}" width="{shape.width:.1f}" '
                f'height="{shape.height:.1f}" fill="{shape.colour}"/>'
            )
        elif len(shape.points) > 1:
            line = "L".join(f"{x:.1f},{y:.1f}" for x, y in shape.points)
            parts.append(
                f'<path d="M{line}" fill="none" stroke="{shape.colour}" '
                f'stroke-width="{shape.width}"/>'
            )
    return "".join([*parts, "</svg>"])


def as_png(shapes: Sequence[Shape], width: int, height: int) -> str:
    """The shapes as a PNG, in base64 as Jupyter's messages carry it."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (width * _SCALE, height * _SCALE), PAPER)
    pen = ImageDraw.Draw(image)
    for shape in shapes:
        if isinstance(shape, Words):
            at = (shape.x * _SCALE, shape.y * _SCALE)
            settings = {"font": _font(shape.size * _SCALE), "anchor": _ANCHORS[shape.anchor]}
            for nudge in (0, 0.8) if shape.bold else (0,):
                pen.text((at[0] + nudge, at[1]), shape.text, fill=shape.colour, **settings)
        elif isinstance(shape, Box):
            x, y = shape.x * _SCALE, shape.y * _SCALE
            ends = (x + shape.width * _SCALE, y + shape.height * _SCALE)
            pen.rectangle((x, y, *ends), fill=shape.colour)
        elif len(shape.points) > 1:
            points = [(x * _SCALE, y * _SCALE) for x, y in shape.points]
            pen.line(points, fill=shape.colour, width=round(shape.width * _SCALE), joint="curve")
    out = io.BytesIO()
    image.quantize(64).save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode()


@cache
def _font(size: int):
    from PIL import ImageFont

    try:
        return ImageFont.truetype("DejaVuSans.ttf", size)  # most scripts, where it is installed
    except OSError:
        return ImageFont.load_default(size)
