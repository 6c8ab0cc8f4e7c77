"""Records that earlier versions wrote: opened, read, shown, and left as they are."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from make_schema_1 import TEST_IDS, TRAIN_IDS, data, network
from recorded_values import values_of

import dg_explorer as dg

HERE = Path(__file__).parent
KNOWN = json.loads((HERE / "schema_1.json").read_text(encoding="utf-8"))


def digests(folder):
    """The SHA-256 of every file, by its path in the folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """A copy of the record in which nothing may be written."""
    folder = tmp_path_factory.mktemp("records") / "sealed"
    shutil.copytree(HERE / "schema_1", folder)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield folder
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)


@pytest.fixture(scope="module")
def run(sealed):
    return dg.Run.open(sealed)


@pytest.fixture
def copied(tmp_path):
    """A copy of the record that may be written to."""
    return dg.Run.open(shutil.copytree(HERE / "schema_1", tmp_path / "copied"))


def test_it_opens_and_lists_the_groups_it_was_written_with(run):
    assert run.groups() == sorted(KNOWN)
    assert run.repaired == []
    assert (run.name, run.time_unit, run.attrs["seed"]) == ("A record of schema 1", "epoch", 7)
    assert run.attrs["schema_version"] == 1
    assert run.attrs["config"] == {"lr": 0.05, "layers": [6, 3], "note": "naïve ☃"}


@pytest.mark.parametrize("group", KNOWN)
def test_a_group_reads_as_it_was_written(run, group):
    found = values_of(run[group].load())
    assert found.keys() == KNOWN[group].keys()
    for name, known in KNOWN[group].items():
        assert found[name] == {
            key: pytest.approx(value, rel=1e-7) if isinstance(value, float) else value
            for key, value in known.items()
        }, name


def test_scores_keep_what_they_mean(run):
    for group in ("scores/trak", "scores/unrolled"):
        sign = run[group].attrs["sign"]
        assert sign == "positive = training on this example raised the test output"
    assert json.loads(run["scores/trak"].attrs["settings"])["method"] == "trak"


def test_every_file_is_the_same_after_opening_reading_and_showing(sealed):
    before = digests(sealed)
    run = dg.Run.open(sealed)
    for group in run.groups():
        run[group].load()
        run.sizes(group)
    dg.explore(run)
    dg.validity_light(run, 5, method="trak")
    assert (repr(run), run._repr_html_()) != ("", "")
    assert digests(sealed) == before


def test_the_board_shows_an_epoch_a_test_and_a_training_example_of_it(run):
    board = dg.explore(run)
    assert board.selection.epoch in range(6)
    assert board.selection.test in TEST_IDS
    board.selection.train = int(TRAIN_IDS[5])
    assert board.selection.train == TRAIN_IDS[5]


def test_scores_made_anew_from_its_checkpoints_are_those_it_holds(copied):
    train, test = data()
    anew = dg.attribute(
        copied,
        network(),
        train,
        test,
        method="gradient_dot",
        epochs=[1, 3, 5],
        name="anew",
        progress=False,
    )
    held = copied["scores/gradient_dot"]["score"].load()
    atol = 1e-6 * float(abs(held).max())
    np.testing.assert_allclose(anew["score"], held, rtol=0, atol=atol)


def test_its_training_replays_to_the_exact_scores_it_holds(run):
    train, test = data()
    training = dg.training_of_run(run, network(), train=train, test=test)
    anew = dg.UnrolledAttributor(training).attribute(epochs=[3, 5])["score"]
    held = run["scores/unrolled"]["score"].load()
    np.testing.assert_allclose(anew, held, rtol=0, atol=1e-4 * float(abs(held).max()))


def test_it_takes_new_rows_and_keeps_the_old_ones(copied):
    row = copied["metrics"].load().isel(epoch=[-1]).assign_coords(epoch=[6])
    copied.append("metrics", row)
    copied.flush()
    again = dg.Run.open(copied.path)
    assert again.epochs("metrics").tolist() == list(range(7))
    assert again["metrics"].train_loss.values[:6].sum() == pytest.approx(
        KNOWN["metrics"]["train_loss"]["sum"]
    )


def test_what_a_killed_process_left_in_the_journal_is_there(tmp_path):
    run = dg.Run.open(shutil.copytree(HERE / "schema_1_killed", tmp_path / "killed"))
    assert run["metrics"].epoch.values.tolist() == [0, 1, 2]
    np.testing.assert_allclose(run["metrics"].train_loss, [1, 1 / 2, 1 / 3])


def test_the_copy_in_the_repository_has_a_file_of_every_kind():
    names = digests(HERE / "schema_1")
    assert "record.zarr/zarr.json" in names
    assert "record.zarr/scores/trak/score/c/0/0/0" in names
    assert "checkpoints/initial/checkpoint.json" in names
    assert (HERE / "schema_1_killed" / "journal.bin").stat().st_size > 0
