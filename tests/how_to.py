"""Follows a page of docs/how-to in a copy of the repository, as a reader would."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
STEP = re.compile(
    r"^(?:New, `(?P<new>[^`]+)`|In `(?P<old>[^`]+)`, after the line `(?P<anchor>[^\n]+)`):"
    r"\n\n```\w+\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


def follow(page: str, copy: Path) -> set[str]:
    """Do what a page says in `copy`, a copy of the repository; the files that it touched."""
    touched = set()
    for step in STEP.finditer((ROOT / "docs" / "how-to" / page).read_text()):
        path = copy / (step["new"] or step["old"])
        if step["new"]:
            assert not path.exists(), f"{page} calls {step['new']} new"
            path.write_text(step["text"])
        else:
            text, line = path.read_text(), step["anchor"] + "\n"
            assert text.count("\n" + line) == 1, f"{page}: {line!r} in {step['old']}"
            path.write_text(text.replace("\n" + line, "\n" + line + step["text"]))
        touched.add(step["new"] or step["old"])
    assert touched, f"{page} names no file"
    return touched


def code_to_try(page: str) -> str:
    """The example under "Try it" on a page."""
    text = (ROOT / "docs" / "how-to" / page).read_text()
    return re.search(r"\*\*Try it.*?```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[1]


def copy_of(*folders: str, to: Path) -> Path:
    """A copy of these folders of the repository, without what was installed or built there."""
    left_out = shutil.ignore_patterns("__pycache__", "node_modules", ".tests")
    for folder in folders:
        shutil.copytree(ROOT / folder, to / folder, ignore=left_out)
    return to
