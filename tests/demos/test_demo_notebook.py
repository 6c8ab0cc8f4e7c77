"""The demo's notebook: one run throughout, every cell runs, the words give the run's figures."""

import contextlib
import io
import sys
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest

import dg_explorer as dg
from dg_explorer.cli import commands
from dg_explorer.demos import RECIPES, grokking
from dg_explorer.lab.cache_folder import cache_folder
from dg_explorer.lab.demo_notebook import STORIES, demo_notebook


def test_every_recipe_has_a_story():
    assert set(STORIES) == set(RECIPES)


@pytest.fixture(scope="module", params=["grokking", "mislabeled-digits", "spurious-digits"])
def demo(request, tmp_path_factory):
    """A recipe, the folder of its demo, the run, and the notebook."""
    folder = tmp_path_factory.mktemp("demo")
    made = dg.demos.make(request.param, folder / "run", progress=False)
    dg.complete(made.run, made.model(), made.train, made.test, moments=9, progress=False)
    return request.param, folder, made.run, demo_notebook(made.run, request.param)


@pytest.mark.second_ring(sample=1)
def test_every_cell_runs_on_the_one_run_of_which_the_words_tell(demo, monkeypatch):
    recipe, folder, run, notebook = demo
    nbformat.validate(notebook)
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    monkeypatch.chdir(folder)
    names: dict = {}
    with contextlib.redirect_stdout(io.StringIO()):
        for source in code:
            exec(compile(source, "cell", "exec"), names)
    assert "".join(code).count("run = ") == 1
    assert "demos.make" not in "".join(code)
    assert Path(names["run"].path).resolve() == (folder / "run").resolve()
    kinds = [cell.cell_type for cell in notebook.cells]
    assert kinds.index("code") < 3
    assert notebook.cells[kinds.index("code")].source.endswith("explorer")
    words = notebook.cells[0].source
    assert words.startswith(f"# {STORIES[recipe].title}")
    assert f"{run['train_examples'].sizes['train']:,}" in words
    assert "{" not in words
    if recipe == "grokking":
        labels = run["train_examples"].label.values
        assert f"modulo {labels.max() + 1} " in words
        assert f"step {run['transitions'].t95.item():,.0f}" in words


def test_the_default_demo_is_one_that_may_be_believed_and_checks_itself(tmp_path, monkeypatch):
    assert commands.parser().parse_args(["demo"]).recipe == "grokking-smooth"
    recipe = replace(grokking.SMOOTH, steps=60)
    made = grokking.make(tmp_path / "run", recipe=recipe, progress=False)
    dg.complete(made.run, made.model(), made.train, made.test, moments=3, progress=False)
    notebook = demo_notebook(made.run, "grokking-smooth")
    words, board = notebook.cells[0].source, notebook.cells[1].source
    assert "eps = 1e-3, **chosen so that influence can be believed**" in words
    asked = {}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dg, "explore", lambda run, **settings: asked.update(settings))
    exec(compile(board, "cell", "exec"), {})
    assert asked["check"] == "exact"
    proved, segments = asked["training"].proof.counts()
    assert proved == segments > 0  # the recorded training, to its end
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert sum('demos.make("grokking"' in cell for cell in code) == 1  # the one not to believe


def test_a_page_of_the_demo_has_its_light_measured_before_it_is_written(tmp_path):
    recipe = replace(grokking.SMOOTH, steps=60)
    made = grokking.make(tmp_path / "run", recipe=recipe, progress=False)
    dg.complete(made.run, made.model(), made.train, made.test, moments=3, progress=False)
    commands._measure_light(made)
    light = dg.validity_light(made.run, 60, method="trak")
    assert (light.colour, light.measured["metasmoothness"] > 0.9) == ("green", True)


def test_the_demo_goes_to_the_users_cache_unless_told_otherwise(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "dg_explorer"
    asked = commands.parser().parse_args(["demo", "--recipe", "grokking"])
    assert commands.out_folder(asked) == tmp_path / "dg_explorer" / "demo-grokking"
    asked = commands.parser().parse_args(["demo", "--out", str(tmp_path / "here")])
    assert commands.out_folder(asked) == tmp_path / "here"
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert cache_folder() == Path.home() / ".cache" / "dg_explorer"
