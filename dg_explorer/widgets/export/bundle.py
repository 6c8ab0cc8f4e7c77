"""The board's script and styles as a browser gets them."""

from __future__ import annotations

import os
from pathlib import Path

STATIC = Path(__file__).parents[1] / "static"


def _read(name: str) -> str | Path:
    """The text of a file; its path where somebody works on the front end.

    anywidget watches a path for changes, and so keeps every widget that was ever made from it.
    """
    path = STATIC / name
    return path if os.environ.get("ANYWIDGET_HMR") else path.read_text(encoding="utf-8")


SCRIPT, STYLE = _read("board.js"), _read("board.css")
