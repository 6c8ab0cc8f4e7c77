"""The record: what goes in comes out by label, and nothing is half-written."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import dg_explorer as dg
from dg_explorer import errors
from dg_explorer.record.store import files, manifest
from dg_explorer.record.store.places import MANIFEST, Folder
from dg_explorer.testing import tiny_run


def metrics(*epochs, **more):
    values = np.asarray(epochs, dtype=float)
    return xr.Dataset(
        {"train_loss": ("epoch", values), **more}, {"epoch": np.asarray(epochs, dtype=np.int64)}
    )


@pytest.fixture(params=["folder", "memory", "url"])
def run(request, tmp_path):
    path = {"folder": tmp_path / "run", "memory": None, "url": f"memory://{tmp_path.name}/run"}
    return dg.Run.create(
        path[request.param],
        name="A run",
        train_examples=pd.DataFrame({"label": [0, 1, 0], "text": ["a", "b", "c"]}, [7, 3, 5]),
        test_examples={"label": [1, 0]},
        config={"lr": 0.1},
        seed=3,
    )


def test_what_was_added_is_read_back_by_label(run):
    assert run["train_examples"].label.sel(train=3).item() == 1
    assert run["train_examples"].text.sel(train=7).item() == "a"
    assert run["test_examples"].test.values.tolist() == [0, 1]
    assert run.attrs["config"] == {"lr": 0.1}
    assert run.attrs["seed"] == 3


def test_appended_rows_are_read_back_in_order(run):
    for epoch in range(70):
        run.append("metrics", metrics(epoch))
    assert run["metrics"].train_loss.values.tolist() == list(range(70))
    assert run.epochs().tolist() == list(range(70))


def test_variables_that_a_row_lacks_are_filled_and_new_ones_backfilled(run):
    run.append("metrics", metrics(0, learning_rate=("epoch", [0.5])))
    run.flush()
    run.append("metrics", metrics(1, test_loss=("epoch", [9.0])))
    data = run["metrics"]
    np.testing.assert_array_equal(data.learning_rate, [0.5, np.nan])
    np.testing.assert_array_equal(data.test_loss, [np.nan, 9.0])


def test_text_may_grow_longer_in_later_rows(run):
    for epoch, path in enumerate(["a", "a longer path", ""]):
        rows = xr.Dataset({"path": ("epoch", np.array([path]))}, {"epoch": [epoch]})
        run.append("checkpoints", rows)
        run.flush()
    assert run["checkpoints"].path.values.tolist() == ["a", "a longer path", ""]


def test_a_copy_holds_the_same_groups_values_and_files(run, tmp_path):
    run.append("metrics", metrics(0, 5))
    run.blobs.write("checkpoints/epoch_0/weights", b"\x00\x01")
    copy = run.copy_to(tmp_path / "copy")
    assert copy.groups() == run.groups()
    for group in run.groups():
        xr.testing.assert_identical(copy[group].load(), run[group].load())
    assert copy.attrs == run.attrs
    assert copy.blobs.names() == run.blobs.names() == ["checkpoints/epoch_0/weights"]
    assert copy.blobs.read("checkpoints/epoch_0/weights") == b"\x00\x01"


def test_adding_a_group_twice_needs_overwrite(run):
    run.add("metrics", metrics(0))
    with pytest.raises(errors.SchemaError, match="overwrite=True"):
        run.add("metrics", metrics(1))
    run.add("metrics", metrics(1, 2), overwrite=True)
    assert run.epochs().tolist() == [0, 1, 2]


def test_overwriting_replaces_the_rows_given_and_no_others(run):
    run.add("metrics", metrics(0, 1, 2))
    run.add("metrics", metrics(1) + 10.0, overwrite=True)
    assert run["metrics"].train_loss.values.tolist() == [0, 11, 2]
    run.append("metrics", metrics(2) + 20.0, overwrite=True)
    assert run["metrics"].train_loss.values.tolist() == [0, 11, 22]
    run.add("metrics", metrics(5), overwrite=True, whole=True)
    assert run.epochs().tolist() == [5]


def test_a_result_that_is_not_made_row_by_row_is_replaced_as_a_whole(run):
    run.add("analyses/mine", metrics(0, 1))
    run.add("analyses/mine", metrics(1), overwrite=True)
    assert run.epochs("analyses/mine").tolist() == [1]


def test_a_deleted_group_is_gone_and_may_begin_again(run):
    run.append("metrics", metrics(5))
    run.delete("metrics")
    assert "metrics" not in run
    run.append("metrics", metrics(1))
    assert run.epochs().tolist() == [1]


def test_a_missing_group_names_those_that_are_there(run):
    with pytest.raises(errors.MissingGroupError, match=r"test_examples, train_examples.*attribute"):
        run["scores/trak"]


def test_a_row_that_is_there_is_kept(run):
    run.append("metrics", metrics(5))
    with pytest.raises(errors.SchemaError, match=r"epoch 5 already.*overwrite=True"):
        run.append("metrics", metrics(5) + 1.0)
    run.append("metrics", metrics(6))
    assert run["metrics"].train_loss.values.tolist() == [5, 6]


def test_rows_may_come_in_any_order_and_are_read_by_label(run):
    for epochs in ((4, 7), (2,), (9,), (0, 5)):
        run.append("metrics", metrics(*epochs))
    run.flush()
    run.append("metrics", metrics(3))
    assert run["metrics"].train_loss.values.tolist() == [0, 2, 3, 4, 5, 7, 9]
    assert run.epochs().tolist() == [0, 2, 3, 4, 5, 7, 9]


def dynamics(epoch, ids):
    return xr.Dataset(
        {"loss": (("epoch", "train"), np.zeros((1, len(ids))))}, {"epoch": [epoch], "train": ids}
    )


@pytest.mark.parametrize("ids", [[7, 3], [3, 7, 5], [7, 3, 6]])
def test_rows_of_other_examples_are_refused(run, ids):
    run.append("dynamics/train", dynamics(0, [7, 3, 5]))
    with pytest.raises(errors.SchemaError, match="not the same ones in the same order"):
        run.append("dynamics/train", dynamics(1, ids))
    assert run.epochs("dynamics/train").tolist() == [0]


@pytest.mark.parametrize(
    ("group", "data", "words"),
    [
        ("nonsense", metrics(0), "No group is called 'nonsense'"),
        ("metrics", 3, "takes an xarray.Dataset"),
        ("scores/trak", metrics(0), "needs the variable 'score'"),
        ("metrics", xr.Dataset({"train_loss": ("train", [0.0])}, {"train": [1]}), "expected"),
        ("metrics", metrics(0).assign(train_loss=("epoch", ["x"])), "dtype"),
        ("metrics", metrics(0, 0), "repeats the label 0"),
        ("metrics", metrics(1, 0), "must ascend"),
        ("metrics", metrics(1).drop_vars("epoch"), "without labels"),
    ],
)
def test_data_that_does_not_fit_the_schema_is_refused_and_leaves_nothing(run, group, data, words):
    before = run.groups()
    with pytest.raises(errors.SchemaError, match=words):
        run.add(group, data)
    assert run.groups() == before


def test_dims_in_another_order_are_turned_to_the_schema(run):
    score = xr.DataArray(
        np.arange(6.0).reshape(3, 2, 1),
        dims=("train", "test", "epoch"),
        coords={"train": [7, 3, 5], "test": [0, 1], "epoch": [4]},
    )
    run.add("scores/trak", score.to_dataset(name="score"))
    assert run["scores/trak"].score.dims == ("epoch", "test", "train")
    assert run["scores/trak"].score.sel(train=3, test=1, epoch=4).item() == 3.0


# ------------------------------------------------------------------ opening


def test_opening_what_is_not_a_run_says_what_is_there(tmp_path):
    with pytest.raises(errors.NotARunError, match="nothing at"):
        dg.Run.open(tmp_path / "absent")
    tiny_run(path=tmp_path / "inner")
    with pytest.raises(errors.NotARunError, match="holds these runs: inner"):
        dg.Run.open(tmp_path)


def test_a_newer_schema_is_refused_with_the_way_out(tmp_path, monkeypatch):
    run = tiny_run(path=tmp_path / "run")
    run.flush()
    state = run._state()
    monkeypatch.setattr(manifest, "SCHEMA_VERSION", 99)
    data = manifest.dump(run._reader.look().head, state)
    monkeypatch.undo()
    Folder(tmp_path / "run").replace(MANIFEST, data)
    with pytest.raises(errors.NewerSchemaError, match=r"schema 99.*pip install --upgrade"):
        dg.Run.open(tmp_path / "run")


def test_creating_never_touches_what_is_there(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(errors.RunError, match="is not a run, so it is left alone"):
        dg.Run.create(tmp_path / "thesis", name="x", overwrite=True)
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "years of work"
    tiny_run(path=tmp_path / "run")
    with pytest.raises(errors.RunError, match="overwrite=True"):
        dg.Run.create(tmp_path / "run", name="x")
    assert dg.Run.create(tmp_path / "run", name="x", overwrite=True).groups() == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(errors.ReadOnlyRunError, match="Choose a folder you may write to"):
        dg.Run.create(tmp_path / "file" / "run", name="x")


def test_writing_into_a_read_only_run_says_to_copy_it(tmp_path, monkeypatch):
    run = tiny_run(path=tmp_path / "run")

    def refuse(operation, path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files, "watch", refuse)
    with pytest.raises(errors.ReadOnlyRunError, match=r"Permission denied.*copy_to"):
        run.add("analyses/mine", metrics(0))


def test_examples_that_do_not_fit_leave_no_folder_behind(tmp_path):
    with pytest.raises(errors.SchemaError, match="repeats the label 1"):
        dg.Run.create(
            tmp_path / "run", name="x", train_examples=pd.DataFrame({"label": [0, 0]}, [1, 1])
        )
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------ after a kill


def test_rows_in_the_journal_survive_a_process_that_never_flushed(tmp_path):
    script = (
        "import os, sys; sys.path.insert(0, 'tests'); from test_run import dg, metrics\n"
        f"run = dg.Run.create({str(tmp_path / 'run')!r}, name='x')\n"
        "for epoch in range(7): run.append('metrics', metrics(epoch))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=os.path.dirname(__file__) + "/..")
    assert done.returncode == -9
    run = dg.Run.open(tmp_path / "run")
    assert run.epochs().tolist() == list(range(7))
    assert run.repaired == []


def test_several_runs_of_one_folder_take_turns_and_see_each_others_rows(tmp_path):
    one = dg.Run.create(tmp_path / "run", name="x")
    other = dg.Run.open(tmp_path / "run")
    for epoch in range(0, 40, 4):
        one.append("metrics", metrics(epoch))
        other.append("metrics", metrics(epoch + 1))
        other.flush()
        one.append("metrics", metrics(epoch + 2))
        other.append("metrics", metrics(epoch + 3))
    assert one.epochs().tolist() == other.epochs().tolist() == list(range(40))
    with pytest.raises(errors.SchemaError, match="epoch 7 already"):
        one.append("metrics", metrics(7))


# ------------------------------------------------------------------ how it shows


def test_the_html_shows_text_from_the_record_as_text():
    hostile = "<img src=x onerror=alert(1)>"
    run = dg.Run.create(name=hostile, config={hostile: hostile})
    run.add(f"analyses/{'<b>'}", metrics(0))
    html = run._repr_html_()
    assert "<img" not in html
    assert "<b>" not in html
    assert "&lt;img src=x" in html


def test_the_repr_is_stable_and_says_what_there_is():
    assert repr(tiny_run()) == (
        "Run('Tiny synthetic run': 40 train examples, 20 test examples, "
        "12 recorded epochs, scores/trak at 6)"
    )
