"""Where a run lies: paths, copies within itself, journals cut by others, other processes."""

import copy
import multiprocessing
import pickle

import numpy as np
import pytest
import xarray as xr

import dg_explorer as dg
from dg_explorer.errors import DamagedRecordError, RunError
from dg_explorer.record.store.stopping import stopped


def row(epoch):
    return xr.Dataset({"m": ("epoch", [float(epoch)])}, {"epoch": [epoch]})


@pytest.fixture
def run(tmp_path):
    made = dg.Run.create(tmp_path / "run", name="x", train_examples={"label": [0, 1]})
    made.append("metrics", row(0))
    return made


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    dg.Run.create("~/run", name="x").append("metrics", row(0))
    assert dg.Run.open(tmp_path / "run").epochs().tolist() == [0]
    assert dg.Run.open("~/run").copy_to("~/copy").path == tmp_path / "copy"
    assert dg.Run.open(dg.Run.open("~/run").pack("~/run.zip")).epochs().tolist() == [0]
    assert dg.Run.open("~/run.zip").path == tmp_path / "run.zip"


@pytest.mark.parametrize("inside", ["copy", "record/copy", "a/b/run.zip"])
def test_a_copy_inside_the_run_would_be_part_of_the_next_and_is_refused(run, inside):
    for act in (run.copy_to, run.pack):
        with pytest.raises(RunError, match="is inside the folder of this run"):
            act(run.path / inside)
    with pytest.raises(RunError, match="is the folder of this run"):
        run.pack(run.path)
    assert run.blobs.names() == []


@pytest.mark.parametrize("left", [0, 100, -1])
def test_a_journal_that_others_cut_is_noticed_by_its_writer_and_its_readers(run, left):
    reader = dg.Run.open(run.path)
    assert reader.epochs().tolist() == [0]
    [journal] = (run.path / "record").glob("journal*")
    data = journal.read_bytes()
    journal.write_bytes(data[:left])
    for act in (lambda: run.append("metrics", row(1)), lambda: reader["metrics"]):
        with pytest.raises(DamagedRecordError, match="was cut from"):
            act()
    assert journal.read_bytes() == data[:left]


def test_another_process_has_the_same_run(run):
    for other in (pickle.loads(pickle.dumps(run)), copy.deepcopy(run)):
        other.append("metrics", row(int(run.epochs()[-1]) + 1))
    context = multiprocessing.get_context("fork")
    child = context.Process(target=run.append, args=("metrics", row(7)))
    child.start()
    child.join()
    assert run.epochs().tolist() == [0, 1, 2, 7]
    with pytest.raises(RunError, match="in memory only"):
        pickle.dumps(dg.Run.create(name="x"))


def test_a_long_note_that_recording_stopped_can_be_read(run):
    why = "stopped: " + 900 * "\u00e9"
    assert run.note_stopped(why)
    run.set_attrs(recording_stopped="")
    [said] = stopped(run._reader.place, run._state())
    assert why.startswith(said)
    assert len(said) > 200


def test_extended_floats_which_differ_between_machines_are_refused(run):
    if np.longdouble is np.float64 or np.dtype(np.longdouble).itemsize == 8:
        return
    for kind in (np.longdouble, np.clongdouble):
        data = xr.Dataset({"m": ("epoch", np.ones(1, kind))}, {"epoch": [1]})
        with pytest.raises(dg.DGExplorerError, match="other numbers on other machines"):
            run.append("metrics", data)
