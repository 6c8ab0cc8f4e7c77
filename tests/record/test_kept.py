"""A second answer stands beside the first: named, listed, read, given up one by one."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import dg_explorer as dg
from dg_explorer import Run
from dg_explorer.errors import MissingGroupError, SchemaError
from dg_explorer.testing import tiny_run
from dg_explorer.widgets.answers.removal import removal
from dg_explorer.widgets.answers.sources import Sources
from dg_explorer.widgets.answers.validity import validity
from dg_explorer.widgets.reading.faces import Faces
from dg_explorer.widgets.reading.reader import RunReader

OLD = Path(__file__).parent.parent / "records" / "schema_1"


@pytest.fixture(params=["folder", "memory"])
def run(request, tmp_path):
    return Run.create(tmp_path / "run" if request.param == "folder" else None, name="kept")


def answer(value, *epochs):
    if not epochs:
        return xr.Dataset({"v": ((), float(value))})
    return xr.Dataset({"v": ("epoch", np.full(len(epochs), float(value)))}, {"epoch": [*epochs]})


def lds(value, *methods):
    values = np.full((len(methods), 2), value)
    found = {"lds": values, "low": values - 0.05, "high": values + 0.05}
    coords = {"method": list(methods), "epoch": [0, 30]}
    return xr.Dataset({k: (("method", "epoch"), v) for k, v in found.items()}, coords)


def removed(run, *ids):
    test = run["test_examples"]["test"].values
    values = np.full((2, len(test)), float(len(ids)))
    names = ("change", "band_low", "band_high")
    coords = {"epoch": [10, 30], "test": test}
    return xr.Dataset({n: (("epoch", "test"), values) for n in names}, coords, {"removed": [*ids]})


def test_answers_are_all_kept_under_numbers_and_their_family_means_the_newest(run):
    names = [run.keep("checks/x", answer(i)) for i in range(11)]
    assert names == [f"checks/x/{1 + i}" for i in range(11)]
    assert run.kept("checks/x") == run.checks("x") == run.checks() == names
    assert [float(run[name].v) for name in names] == list(range(11))
    assert float(run["checks/x"].v) == 10
    assert "checks/x" in run


def test_an_answer_can_be_given_up_and_its_number_stays_free(run):
    for i in range(3):
        run.keep("checks/x", answer(i, 0, 5))
    run.delete("checks/x/2")
    assert run.keep("checks/x", answer(7)) == "checks/x/4"
    assert run.kept("checks/x") == ["checks/x/1", "checks/x/3", "checks/x/4"]


def test_the_number_of_an_answer_that_was_given_up_is_no_others(run):
    for i in range(3):
        run.keep("checks/x", answer(i))
    run.delete("checks/x/3")
    assert float(run["checks/x"].v) == 1
    assert run.keep("checks/x", answer(7)) == "checks/x/4"
    for name in run.kept("checks/x"):
        run.delete(name)
    assert run.keep("checks/x", answer(7)) == "checks/x/5"
    assert run.keep("checks/y", answer(7)) == "checks/y/1"


@pytest.mark.parametrize("family", ["checks", "checks/", "checks//x", "checks/../x", "", "/"])
def test_what_names_no_family_is_refused(run, family):
    with pytest.raises(SchemaError, match="family"):
        run.keep(family, answer(1))
    assert run.checks() == []


def test_the_very_same_answer_is_kept_once(run):
    first = run.keep("checks/x", answer(1, 0, 5), made_from={"data": "d"})
    assert run.keep("checks/x", answer(1, 0, 5), made_from={"data": "d"}) == first
    others = [answer(1, 0, 6), answer(2, 0, 5), answer(1, 0, 5).assign_attrs(seed=1), answer(1)]
    names = [run.keep("checks/x", other, made_from={"data": "d"}) for other in others]
    names.append(run.keep("checks/x", answer(1, 0, 5), made_from={"data": "e"}))
    assert run.kept("checks/x") == [first, *names]


def test_no_answer_is_lost_to_another_process(tmp_path):
    first = Run.create(tmp_path / "run", name="two")
    second = Run.open(tmp_path / "run")
    names = [run.keep("checks/x", answer(i)) for i, run in enumerate([first, second] * 3)]
    assert len(set(names)) == 6
    assert [float(Run.open(tmp_path / "run")[name].v) for name in names] == list(range(6))


def test_a_layer_called_by_a_number_is_no_answer(run):
    shape = {"activation": (("epoch", "example", "unit"), np.zeros((1, 2, 2), np.float32))}
    run.append("features/block/1", xr.Dataset(shape, {"epoch": [0]}))
    assert "features/block" not in run
    with pytest.raises(MissingGroupError):
        run["features/block"]


def test_an_answer_of_an_older_record_is_the_first_of_its_family(tmp_path):
    run = Run.open(shutil.copytree(OLD, tmp_path / "old"))
    was = run["validity/removal"].load()
    assert run.checks("removal") == ["validity/removal"]
    assert run["checks/removal"].load().equals(was)
    doubled = was.assign(change=2 * was["change"])
    name = run.keep("checks/removal", doubled)
    assert run.checks("removal") == ["checks/removal/1", name]
    assert run["checks/removal/1"].load().equals(was)
    assert run["validity/removal"].load().equals(doubled)
    exposures = run["exposures/unrolled"].load()
    run.keep("exposures/unrolled", exposures * 2)
    assert run["exposures/unrolled/1"].load().equals(exposures)
    assert run["exposures/unrolled"].load().equals(exposures * 2)


def test_the_light_goes_by_the_newest_check_that_says_anything_or_by_those_asked_for():
    run = tiny_run()
    run.keep(
        "checks/metasmoothness", xr.Dataset({"metasmoothness": ("epoch", [0.95])}, {"epoch": [0]})
    )
    first = run.keep("checks/lds", lds(0.6, "trak", "other"))
    run.keep("checks/lds", lds(-0.5, "other"))  # says nothing of trak
    assert dg.validity_light(run, 0, method="trak").measured["LDS"] == pytest.approx(0.6)
    assert dg.validity_light(run, 0, method="other").colour == "red"
    asked = dg.validity_light(run, 0, method="other", checks=["checks/metasmoothness/1", first])
    assert asked.colour == "green"
    with pytest.raises(MissingGroupError, match="checks/lds/9"):
        dg.validity_light(run, 0, checks=["checks/lds/9"])


def test_the_board_shows_the_newest_check_of_a_kind_and_method():
    run = tiny_run()
    run.keep("checks/lds", lds(0.6, "trak", "other"))
    run.keep("checks/lds", lds(0.2, "other"))
    ids = run["train_examples"]["train"].values[:3].tolist()
    run.keep("checks/removal", removed(run, *ids))
    run.keep("checks/removal", removed(run, ids[1]))
    reader = RunReader(run)
    sources = Sources(reader, Faces(reader))
    assert removal(sources)["removed"].tolist() == [ids[1]]
    curves = validity(sources)
    values = {m: curves[f"curve/{i}/value"][0] for i, m in enumerate(curves["method"])}
    assert values == {"TRAK": pytest.approx(0.6), "other": pytest.approx(0.2)}
