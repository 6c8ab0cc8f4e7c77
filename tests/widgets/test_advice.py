"""Every call that the board tells people to make is one they can make."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import dg_explorer as dg

SOURCES = Path(__file__).parents[2] / "frontend" / "src"
CALLS = re.findall(
    r"^  \w+: ['\"](.*)['\"],$",
    (SOURCES / "ui" / "advice.ts").read_text(encoding="utf-8"),
    re.M,
)


@pytest.mark.parametrize("call", CALLS)
def test_the_advised_call_fits_its_function(call):
    asked = ast.parse(call, mode="eval").body
    given = [a for a in asked.args if not (isinstance(a, ast.Constant) and a.value is ...)]
    signature = inspect.signature(getattr(dg, asked.func.id))
    signature.bind_partial(*given, **{word.arg: None for word in asked.keywords})


def test_no_call_is_advised_elsewhere():
    others = [path for path in SOURCES.rglob("*.ts") if path.name != "advice.ts"]
    found = {m for p in others for m in re.findall(r"\w+\(run, \w[^)]*=[^)]*\)", p.read_text())}
    assert CALLS
    assert not found
