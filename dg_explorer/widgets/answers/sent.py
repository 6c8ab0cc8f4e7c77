"""What Python sends to the board, described once: `frontend/src/data/sent.ts` is made of this.

    python -m dg_explorer.widgets.answers.sent > frontend/src/data/sent.ts

A name with a part in angle brackets stands for as many blocks as there are such things.
"""

from __future__ import annotations

import re
from typing import Literal, NotRequired, TypedDict, get_args, get_origin, get_type_hints

from . import panels


class Mark(TypedDict):
    """A moment on the timeline; `low` and `high` are its 95 % interval."""

    kind: Literal["memorized", "onset", "half", "generalized"]
    epoch: float
    label: str
    low: NotRequired[float]
    high: NotRequired[float]


class Method(TypedDict):
    """A method with scores; `unit` is "" where that is not known."""

    id: str
    label: str
    about: str
    unit: str


class Question(TypedDict):
    """A question that was asked of the finished run, "set/question", and what answers it."""

    id: str
    about: str
    methods: list[str]


class Count(TypedDict):
    """Examples of each split."""

    train: int
    test: int


class Attrs(TypedDict):
    """What the first container says in words and single numbers."""

    name: str
    about: str
    unit: Literal["epoch", "step"]
    count: Count
    chunk: int
    methods: list[Method]
    marks: list[Mark]
    layers: list[str]
    queries: NotRequired[list[Question]]
    has_dynamics_train: bool
    has_dynamics_test: bool
    has_map: bool
    has_course: bool
    has_gradients: bool
    has_groups: bool
    has_validity: bool
    has_removal: bool
    has_comparison: NotRequired[bool]


#: traits of a board that the browser reads, and their types there
TRAITS = {
    "_preview": "DataView",
    "_more": "DataView",
    "_lights": "DataView",
    "_selection": "Record<string, unknown>",
    "_views": "string[]",
    "_error": "string",
    "_still": "string",
    "_asked": "unknown[]",
    "_job": "Record<string, unknown>",
}

#: family of answers -> name of a block -> "numbers" or "strings"
BLOCKS: dict[str, dict[str, str]] = {
    "preview": {
        **dict.fromkeys(("epochs", "label_counts", "metrics/epoch", "metrics/<name>"), "numbers"),
        **dict.fromkeys(("classes", "groups"), "strings"),
        **dict.fromkeys(("scores/<method>/epoch", "light/<method>/epoch"), "numbers"),
        "light/<method>/level": "numbers",
        **dict.fromkeys(("light/<method>/text", "light/<method>/detail"), "strings"),
    },
    "examples": {
        **dict.fromkeys(("id", "label", "group", "thumbnail", "flag/<name>"), "numbers"),
        **dict.fromkeys(("first_learned", "memorization"), "numbers"),
        **dict.fromkeys(("name", "text", "cell/<name>"), "strings"),
    },
    "dynamics": dict.fromkeys(("epoch", "margin", "prediction", "correct"), "numbers"),
    "scores": dict.fromkeys(
        ("train", "position", "score", "scale", "top", "counts", "cut", "floor")
        + ("exposure/share", "exposure/edge", "exposure/at"),
        "numbers",
    ),
    "query": dict.fromkeys(
        ("epoch", "train", "position", "score", "scale", "top", "counts", "cut", "floor"), "numbers"
    ),
    "row": dict.fromkeys(("scale", "score"), "numbers"),
    **panels.BLOCKS,
    "comparison": {
        **dict.fromkeys(("comparison/names", "comparison/units"), "strings"),
        **dict.fromkeys(("comparison/percent", "comparison/curve/<name>"), "numbers"),
        "comparison/fact/<name>": "numbers",
    },
}


def kind_of(family: str, name: str) -> str | None:
    """Whether a block of a family is "numbers" or "strings"; None where it has no such block."""
    if name in BLOCKS[family]:
        return BLOCKS[family][name]
    for pattern, kind in BLOCKS[family].items():
        parts = (".+" if part.startswith("<") else re.escape(part) for part in _parts(pattern))
        if re.fullmatch("".join(parts), name):
            return kind
    return None


def typescript() -> str:
    """The TypeScript that says the same."""
    lines = [
        "// Made by `python -m dg_explorer.widgets.answers.sent`; change that file, not this one.",
        "",
    ]
    for kind in (Mark, Method, Question, Count, Attrs):
        about = " ".join((kind.__doc__ or "").split())
        lines += [f"/** {about} */", f"export interface {kind.__name__} {{"]
        for name, hint in get_type_hints(kind, include_extras=True).items():
            optional = get_origin(hint) is NotRequired
            told = _typescript_of(get_args(hint)[0] if optional else hint)
            lines.append(f"  {name}{'?' if optional else ''}: {told};")
        lines += ["}", ""]
    lines += ["/** Traits of a board. */", "export interface Traits {"]
    lines += [f"  {name}: {told};" for name, told in TRAITS.items()] + ["}", ""]
    lines += [
        "/** The names of the blocks of each family of answers. */",
        "export interface Sent {",
    ]
    for family, blocks in BLOCKS.items():
        names = [_literal(name) for name in blocks]
        whole = f"  {family}: {' | '.join(names)};"
        # as the formatter of the front end writes it
        lines += [whole] if len(whole) <= 100 else [f"  {family}:", *(f"    | {n}" for n in names)]
        lines[-1] = lines[-1].removesuffix(";") + ";"
    return "\n".join([*lines, "}", ""])


def _parts(pattern: str) -> list[str]:
    return [part for part in re.split(r"(<\w+>)", pattern) if part]


def _literal(pattern: str) -> str:
    if "<" not in pattern:
        return f'"{pattern}"'
    return "`" + "".join("${string}" if p.startswith("<") else p for p in _parts(pattern)) + "`"


def _typescript_of(hint) -> str:
    if get_origin(hint) is Literal:
        return " | ".join(f'"{value}"' for value in get_args(hint))
    if get_origin(hint) is list:
        return f"{_typescript_of(get_args(hint)[0])}[]"
    return {str: "string", int: "number", float: "number", bool: "boolean"}.get(hint, "") or (
        hint.__name__
    )


if __name__ == "__main__":
    print(typescript(), end="")
