"""Figures show the numbers they were given, name their units, and need nothing from outside."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import pytest
import xarray as xr

from dg_explorer.analysis import (
    add_bias,
    add_cartography,
    add_feature_measures,
    add_memorization,
    add_projections,
    add_transitions,
    compare_runs,
    gradient_flags,
)
from dg_explorer.errors import SettingError
from dg_explorer.figures import (
    bias_figure,
    cartography_figure,
    comparison_figure,
    critical_examples_figure,
    feature_evolution_figure,
    feature_measures_figure,
    gradient_flow_figure,
    learning_dynamics_figure,
    memorization_figure,
    removal_figure,
    save_figure,
)
from dg_explorer.figures.style import COLOURS, theme_colours
from dg_explorer.testing import tiny_run


def removal_curves():
    rise = np.linspace(0, 1, 5)
    return xr.Dataset(
        {
            "with_all": ("epoch", rise),
            "without_chosen": ("epoch", rise / 2),
            "without_random": (("draw", "epoch"), np.array([rise, rise * 0.9])),
        },
        {"epoch": range(5)},
        {"n_removed": 3},
    )


def change():
    return xr.Dataset(
        {"change": ("train", np.array([0.5, -2.0, 3.0, 0.1]))},
        {"train": [100, 101, 102, 103]},
        {"pre_epoch": 5, "post_epoch": 50},
    )


@pytest.fixture(scope="module")
def run():
    return tiny_run()


@pytest.fixture(scope="module")
def light(run):
    return every_figure(run)


def every_figure(run, theme="light") -> dict[str, go.Figure]:
    gradients = run["gradients"].load()
    return {
        "bias": bias_figure(add_bias(run), theme=theme),
        "cartography": cartography_figure(add_cartography(run), theme=theme),
        "comparison": comparison_figure(compare_runs({"a": run, "b": run}), theme=theme),
        "critical": critical_examples_figure(change(), theme=theme),
        "features": feature_evolution_figure(add_projections(run, "hidden"), theme=theme),
        "measures": feature_measures_figure(add_feature_measures(run, "hidden"), theme=theme),
        "gradients": gradient_flow_figure(gradients, flags=gradient_flags(gradients), theme=theme),
        "learning": learning_dynamics_figure(
            add_cartography(run), run["dynamics/train"].load(), theme=theme
        ),
        "memorization": memorization_figure(
            add_memorization(run), add_transitions(run), theme=theme
        ),
        "removal": removal_figure(removal_curves(), theme=theme),
    }


def test_every_figure_has_a_title_and_every_axis_says_what_it_measures(light):
    for name, figure in light.items():
        assert len(figure.layout.title.text.split()) >= 3, name
        axes = [a for a in figure.layout if a.startswith(("xaxis", "yaxis"))]
        for axis in axes:
            assert figure.layout[axis].title.text, (name, axis)


def test_colours_are_those_of_okabe_and_ito_and_lines_differ_by_dash_too(light):
    for name, figure in light.items():
        lines = [t for t in figure.data if t.type == "scatter" and t.line.color]
        assert all(t.line.color in COLOURS for t in lines), name
        by_axis: dict = {}
        for trace in lines:
            if trace.mode != "markers":
                by_axis.setdefault(trace.xaxis, []).append((trace.line.dash, trace.name))
        for looks in by_axis.values():
            dashes = [dash for dash, _ in looks]
            assert len(set(dashes)) == len(dashes), (name, looks)


def test_the_dark_theme_changes_the_look_and_not_the_data(run, light):
    dark = every_figure(run, "dark")
    for name in light:
        assert dark[name].layout.paper_bgcolor == theme_colours("dark")["paper"]
        assert light[name].layout.paper_bgcolor == theme_colours("light")["paper"]
        assert len(light[name].data) == len(dark[name].data)
    with pytest.raises(SettingError, match="'light' or 'dark'"):
        memorization_figure(add_memorization(run), theme="sepia")


def test_the_timeline_shows_the_recorded_curves_and_marks_the_found_times(run):
    transitions = add_transitions(run)
    figure = memorization_figure(add_memorization(run), transitions, time_unit="epoch")
    curve = next(t for t in figure.data if t.name == "test accuracy")
    np.testing.assert_allclose(curve.y, run["metrics"]["test_accuracy"])
    np.testing.assert_array_equal(curve.x, run["metrics"]["epoch"])
    marks = {s.x0 for s in figure.layout.shapes if s.type == "line"}
    assert marks == {float(transitions[k]) for k in ("t_memorized", "t50", "t95")}
    assert "Memorized by epoch 20, understood by 40: 2.0 times" in figure.layout.title.text


def test_the_map_shows_every_example_once_with_its_id(run):
    table = add_cartography(run)
    figure = cartography_figure(table)
    shown = {text.split("<br>")[0] for t in figure.data for text in t.text}
    assert shown == {f"train {i}" for i in table["train"].values}
    for trace in figure.data:
        for x, text in zip(trace.x, trace.text):
            example = int(text.split("<br>")[0].split()[1])
            assert x == table["variability"].sel(train=example).item()


def test_features_play_one_frame_an_epoch_within_fixed_ranges(run):
    projection = add_projections(run, "hidden")
    figure = feature_evolution_figure(projection)
    assert [f.name for f in figure.frames] == [f"{e:g}" for e in projection["epoch"].values]
    first = np.concatenate([t.x for t in figure.frames[0].data])
    np.testing.assert_allclose(np.sort(first), np.sort(projection["position"].values[0, :, 0]))
    low, high = figure.layout.xaxis.range
    assert low < projection["position"].values[..., 0].min()
    assert high > projection["position"].values[..., 0].max()


def test_influence_that_grew_stands_above_influence_that_shrank():
    figure = critical_examples_figure(change(), names={102: "7 + 2 = 9"}, k=2)
    assert list(figure.data[0].x) == [3.0, 0.5, 0.1, -2.0]
    assert figure.data[0].y[0] == "7 + 2 = 9"


def test_marked_cells_are_those_that_were_flagged():
    norm = np.array([[1.0, 1e-6], [1.0, 1.0], [np.nan, 1.0]])
    gradients = xr.Dataset(
        {"norm": (("epoch", "layer"), norm)}, {"epoch": [0, 1, 2], "layer": ["a", "b"]}
    )
    figure = gradient_flow_figure(gradients, flags=gradient_flags(gradients))
    marked = {t.name: (list(t.x), list(t.y)) for t in figure.data if t.type == "scatter"}
    assert marked == {"vanishing": (["0"], ["b"]), "not finite": (["2"], ["a"])}


def test_text_from_a_dataset_is_shown_and_never_read_as_markup():
    attack = "<img src=x onerror=alert(1)>"
    figure = critical_examples_figure(change(), names={102: attack}, k=2)
    assert figure.data[0].y[0] == "&lt;img src=x onerror=alert(1)&gt;"


def test_the_page_is_self_contained_and_says_why_there_are_no_images(tmp_path, monkeypatch):
    monkeypatch.setattr("dg_explorer.figures.saving._why_no_images", lambda: "no kaleido")
    figure = save_figure(removal_figure(removal_curves()), tmp_path / "new", "removal")
    page = (tmp_path / "new" / "removal.html").read_text()
    assert "Retrained without 3 chosen examples" in page
    assert 'src="http' not in page
    assert figure.layout.meta == {"files": ["removal.html"], "images": "no kaleido"}


def test_images_are_written_beside_the_page_and_a_broken_browser_costs_only_them(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("dg_explorer.figures.saving._why_no_images", lambda: None)
    asked = []
    monkeypatch.setattr("plotly.io.write_images", lambda f, names, **k: asked.extend(names))
    save_figure(go.Figure(), tmp_path, "x")
    assert [name.rpartition(".")[2] for name in asked] == ["png", "svg", "pdf"]

    def broken(*_, **__):
        raise RuntimeError("no browser")

    monkeypatch.setattr("plotly.io.write_images", broken)
    figure = save_figure(go.Figure(), tmp_path, "y")
    assert (tmp_path / "y.html").exists()
    assert figure.layout.meta["images"] == "RuntimeError: no browser"


def test_nothing_is_written_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_figure(go.Figure(), None, "x")
    assert list(tmp_path.iterdir()) == []
