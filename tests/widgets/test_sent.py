"""What Python sends to the board is what it says it sends, and what the front end reads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest

from dg_explorer.testing import tiny_run
from dg_explorer.widgets.answers import panels
from dg_explorer.widgets.answers.preview import preview
from dg_explorer.widgets.answers.sent import BLOCKS, TRAITS, Attrs, kind_of, typescript
from dg_explorer.widgets.answers.serve import FAMILIES, answer
from dg_explorer.widgets.answers.sources import Sources
from dg_explorer.widgets.board.explorer import Explorer
from dg_explorer.widgets.reading.blocks import unpack
from dg_explorer.widgets.reading.faces import Faces
from dg_explorer.widgets.reading.reader import RunReader

FRONTEND = Path(__file__).parents[2] / "frontend" / "src"
READS = re.compile(r"\.(?:numbers|maybe|strings|grid)\(\s*(\"[^\"]+\"|`[^`]+`)")


@pytest.fixture(scope="module")
def sources() -> Sources:
    reader = RunReader(tiny_run())
    return Sources(reader, Faces(reader))


def check(family: str, blocks: dict) -> None:
    for name, block in blocks.items():
        kind = "numbers" if isinstance(block, np.ndarray) else "strings"
        if not isinstance(block, bytes):
            assert kind_of(family, name) == kind, f"{family}: {name} is {kind}"


def test_the_types_of_the_front_end_are_made_of_the_description():
    assert (FRONTEND / "data" / "sent.ts").read_text() == typescript()


def test_every_family_of_answers_is_described():
    assert set(FAMILIES) <= set(BLOCKS)


def test_every_answer_holds_what_is_described(sources):
    keys = [*panels.keys(sources, everything=True), "examples/train/0", "dynamics/train"]
    method = next(iter(sources.reader.methods))
    keys += [f"{family}/{method}/{sources.reader.ids('test')[0]}" for family in ("scores", "row")]
    for key in keys:
        check(key.partition("/")[0], unpack(answer(sources, key))[1])


def test_the_first_container_holds_what_is_described(sources):
    attrs, blocks = unpack(preview(sources))
    check("preview", {name: b for name, b in blocks.items() if not isinstance(b, bytes)})
    hints = get_type_hints(Attrs, include_extras=True)
    assert set(attrs) <= set(hints)
    assert {name for name in set(hints) - set(attrs)} <= {"has_comparison"}  # of several runs


def test_every_trait_that_a_board_sends_is_described():
    own = {name for name in Explorer.class_trait_names(sync=True) if name.startswith("_")}
    there = {
        name for one in Explorer.__mro__ for name in vars(one) if "dg_explorer" in one.__module__
    }
    assert own & there - {"_esm", "_css"} == set(TRAITS)


def test_the_front_end_reads_only_blocks_that_are_described():
    named = {name for blocks in BLOCKS.values() for name in blocks}
    patterns = [re.sub(r"<\w+>", "\0", name) for name in named]
    for file in FRONTEND.rglob("*.ts"):
        for literal in READS.findall(file.read_text()):
            # a part that is put in at run time may stand for anything
            wanted = re.sub(r"\\\$\\\{.*?\\\}", ".+", re.escape(literal[1:-1]))
            assert any(re.fullmatch(wanted, p) for p in patterns), f"{file.name}: {literal}"
