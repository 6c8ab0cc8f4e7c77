"""What is set on a board does something, or is refused with what there is."""

import re
from pathlib import Path

import pytest

import dg_explorer as dg
from dg_explorer.errors import SettingError
from dg_explorer.testing import tiny_run
from dg_explorer.widgets.reading.selection import CHOICES

VIEWS = Path(__file__).parents[2] / "frontend" / "src" / "views"
RUN = tiny_run(seed=0)
MAKERS = {
    "explore": dg.explore,
    "influence": dg.InfluenceExplorer,
    "timeline": dg.MemorizationTimeline,
    "comparison": lambda run: dg.RunComparison({"one": run}),
}


@pytest.mark.parametrize("view", MAKERS)
@pytest.mark.parametrize("name", ["epoch", "selected", "run", "selection", "runs", "refresh", "xs"])
def test_an_attribute_that_nothing_reads_is_refused(view, name):
    with pytest.raises(SettingError, match=r"board.selection|layout|explore\(|RunComparison\("):
        setattr(MAKERS[view](RUN), name, 0)


@pytest.mark.parametrize(
    ("field", "value", "there"),
    [
        ("epoch", 10.5, "whole number"),
        ("epoch", None, "whole number"),
        ("test", True, "whole number"),
        ("selected", 3, r"\[1, 2\]"),
        ("range", (0, 10, 20), "two epochs"),
        ("filter", "right-ish", "'flipped'"),
        ("sort", "loss", "'hardest'"),
        ("colour", "margin", "'influence'"),
        ("colour", "memorization", "'influence'"),
        ("layer", "head", "there are"),
        ("label", "17", "there are"),
        ("group", "nobody", "there are"),
        ("tab", "film", "'validity'"),
        ("search", 3, "a text"),
    ],
)
def test_a_field_of_the_selection_takes_what_the_run_has(field, value, there):
    board = dg.explore(RUN)
    before = board.selection.value
    with pytest.raises(SettingError, match=there):
        setattr(board.selection, field, value)
    assert board.selection.value == before


def test_what_the_browser_chose_is_not_held_against_python():
    board = dg.explore(RUN)
    board.set_state({"_selection": {**board.selection.value.to_wire(), "label": "gone"}})
    board.selection.epoch = int(RUN["metrics"]["epoch"][0])
    assert board.selection.label == "gone"


def test_the_lists_are_those_of_the_front_end():
    def listed(file, name):
        text = (VIEWS / file).read_text().split(f"export const {name} = [")[1].split("] as")[0]
        return re.findall(r'\["([a-z-]+)",', text)

    assert [*listed("gallery/filter.ts", "FILTERS"), "selected"] == list(CHOICES["filter"])
    assert listed("gallery/filter.ts", "SORTS") == list(CHOICES["sort"])
    assert listed("evolution/colouring.ts", "COLOURS") == list(CHOICES["colour"])
    tabs = [p for p in VIEWS.rglob("*.ts") if 'slot: "tabs"' in p.read_text()]
    assert {re.search(r'name: "(\w+)"', p.read_text())[1] for p in tabs} == set(CHOICES["tab"])
