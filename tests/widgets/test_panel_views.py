"""Each view alone, and several runs beside each other."""

from __future__ import annotations

import numpy as np
import pytest

import dg_explorer as dg
from dg_explorer.errors import SettingError
from dg_explorer.testing import tiny_run
from dg_explorer.widgets.reading.blocks import unpack

ALONE = ["FeatureEvolution", "DynamicsMap", "TransitionView", "GradientFlow", "BiasView"]


@pytest.fixture(scope="module")
def run():
    return tiny_run()


@pytest.mark.parametrize("name", ALONE)
def test_a_view_alone_shows_itself_and_nothing_else_of_the_board(run, name):
    view = getattr(dg, name)(run)
    assert 0 < len(view._views) <= 2
    assert set(view._views) <= {"timeline", view._views[-1]}
    assert repr(view) == f"{name}({run!r})"


@pytest.mark.parametrize("name", ALONE)
def test_a_view_alone_has_a_figure_for_papers(run, name):
    go = pytest.importorskip("plotly.graph_objects")
    figure = getattr(dg, name)(run).to_plotly()
    assert isinstance(figure, go.Figure)
    assert len(figure.data) > 0


def test_the_figure_of_a_transition_is_of_the_brushed_moments(run):
    view = dg.TransitionView(run, range=(10, 40))
    assert "between epoch 10 and 40" in view.to_plotly().layout.title.text


def test_a_comparison_puts_runs_of_different_length_on_one_axis(run):
    other = tiny_run(1, epochs=30, every=2)
    view = dg.RunComparison({"short": run, "long": other})
    _, blocks = unpack(view._preview)
    assert blocks["comparison/names"] == ["short", "long"]
    curves = blocks["comparison/curve/test_accuracy"]
    for row, each in zip(curves, (run, other), strict=True):
        recorded = each["metrics"]["test_accuracy"].values
        np.testing.assert_allclose(row[[0, -1]], recorded[[0, -1]], rtol=1e-6)
    assert blocks["comparison/fact/last_epoch"].tolist() == [55, 58]


def test_a_comparison_is_a_page_of_its_own(run, tmp_path):
    path = dg.RunComparison({"<b>one</b>": run}).to_html(tmp_path / "runs.html")
    text = path.read_text()
    assert "<b>one</b>" not in text
    assert "http://" not in text.replace("http://www.w3.org/", "")


def test_a_comparison_of_nothing_is_refused():
    with pytest.raises(SettingError, match="dict of runs"):
        dg.RunComparison({})
