"""Killed at any file operation, a record is as it was or as it was to be; nothing else is left."""

import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
import xarray as xr
from faults import a_run, contents, full_disk_from, killed_at, leftovers, rows, same, scores

import dg_explorer as dg
from dg_explorer import errors
from dg_explorer.record.store import settling, writer


def an_epoch(run):
    with run.together():
        run.append("metrics", rows(9))
        run.append("scores/mine", scores(9))
        run.blobs.write("checkpoints/epoch_9/weights", b"n" * 300)


ACTS = {
    "append": lambda run: run.append("metrics", rows(9)),
    "append an earlier row": lambda run: run.append("scores/mine", scores(1)),
    "append in place of a row": lambda run: run.append(
        "metrics", rows(1, factor=7.0), overwrite=True
    ),
    "begin a group": lambda run: run.append("features/x", features()),
    "add": lambda run: run.add("analyses/new", rows(1)),
    "add over rows": lambda run: run.add("scores/mine", scores(2, factor=3.0), overwrite=True),
    "add over a group": lambda run: run.add("analyses/a", rows(7), overwrite=True),
    "delete": lambda run: run.delete("analyses/a"),
    "set attributes": lambda run: run.set_attrs(more={"a": 1}),
    "write a checkpoint": lambda run: run.blobs.write("checkpoints/epoch_1/weights", b"x" * 900),
    "replace a checkpoint": lambda run: run.blobs.write("checkpoints/epoch_0/weights", b"x"),
    "an epoch of several groups": an_epoch,
    "keep a second answer": lambda run: run.keep("analyses/a", rows(3)),
    "flush": lambda run: run.flush(),
}


def features():
    data = np.arange(6.0).reshape(1, 2, 3)
    coords = {"epoch": [0], "example": [5, 6]}
    return xr.Dataset({"activation": (("epoch", "example", "unit"), data)}, coords)


@pytest.fixture(scope="module", params=["small", "large"])
def started(request, tmp_path_factory):
    """A run to begin from. "large": each array gets a file of its own, each frame a manifest."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "large":
            patch.setattr(settling, "OWN_BYTES", 1)
            patch.setattr(writer, "JOURNAL_FRAMES", 0)
        path = tmp_path_factory.mktemp("faults") / "started"
        a_run(path)
        yield path


def kill_everywhere(started, tmp_path, act, points, **how):
    before = contents(dg.Run.open(started))
    whole = tmp_path / "whole"
    shutil.copytree(started, whole)
    act(dg.Run.open(whole))
    after = contents(dg.Run.open(whole))
    n = 0
    for n in points:
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        shutil.copytree(started, tmp_path / "run")
        came = killed_at(n, lambda: act(dg.Run.open(tmp_path / "run")), **how)
        run = dg.Run.open(tmp_path / "run")
        found = contents(run)
        assert same(found, before) or same(found, after), f"neither, killed at {n}"
        assert leftovers(run) == [], f"killed at {n}"
        act(run) if same(found, before) else None  # and it goes on from there
        assert same(contents(dg.Run.open(tmp_path / "run")), after), f"goes on otherwise, after {n}"
        if not came:
            assert same(found, after)
            return n
    return n


@pytest.mark.second_ring(sample=4)
@pytest.mark.parametrize("halfway", [False, True])
@pytest.mark.parametrize("act", ACTS)
def test_a_kill_at_any_operation_leaves_the_state_before_or_after(started, tmp_path, act, halfway):
    last = kill_everywhere(started, tmp_path, ACTS[act], range(1, 400), halfway=halfway)
    assert last < 399


def without_time(found):
    """What a run holds, but for the moment of its creation."""
    return found | {"attrs": {k: v for k, v in found["attrs"].items() if k != "created"}}


def kill_while_making(tmp_path, make, before):
    """`make(path)` killed: there is nothing that opens, or the old run, or the new one whole."""
    after = without_time(contents(make(tmp_path / "whole")))
    old = None if before is None else without_time(contents(dg.Run.open(before)))
    for n in range(1, 400):
        shutil.rmtree(tmp_path / "made", ignore_errors=True)
        if before is not None:
            shutil.copytree(before, tmp_path / "made")
        came = killed_at(n, lambda: make(tmp_path / "made"))
        try:
            run = dg.Run.open(tmp_path / "made")
        except errors.NotARunError:
            assert before is None, n
        else:
            found = without_time(contents(run))
            assert same(found, after) or (old is not None and same(found, old)), n
            assert leftovers(run) == [], n
        if not came:
            assert same(without_time(contents(dg.Run.open(tmp_path / "made"))), after)
            return
        run = make(tmp_path / "made")  # done again, it succeeds
        assert same(without_time(contents(run)), after), n
        assert leftovers(run) == [], n
    raise AssertionError("never done")


def copying(started):
    source = dg.Run.open(started)
    return lambda path: source.copy_to(path, overwrite=True)


def creating(started):
    return lambda path: dg.Run.create(
        path, name="new", train_examples={"label": [1]}, overwrite=True
    )


@pytest.mark.second_ring(sample=2)
@pytest.mark.parametrize("over", [False, True])
@pytest.mark.parametrize("make", [copying, creating])
def test_a_killed_copy_or_creation_leaves_nothing_the_old_run_or_the_new(
    started, tmp_path, make, over
):
    other = None
    if over:
        a_run(tmp_path / "other").set_attrs(note="another")
        other = tmp_path / "other"
    kill_while_making(tmp_path, make(started), other)


@pytest.mark.parametrize("first", [1, pytest.param(6, marks=pytest.mark.second_ring(sample=1))])
@pytest.mark.parametrize("act", ["append", "an epoch of several groups", "add", "flush"])
def test_what_was_acknowledged_before_a_full_disk_is_there(started, tmp_path, act, first):
    for n in range(first, 4 * first):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        shutil.copytree(started, tmp_path / "run")
        run = dg.Run.open(tmp_path / "run")
        run.append("metrics", rows(5))
        before = contents(run)
        with full_disk_from(n):
            try:
                ACTS[act](run)
            except errors.ReadOnlyRunError:
                assert same(contents(run), before)
                assert same(contents(dg.Run.open(run.path)), before)  # opens on the full disk too
            else:
                before = contents(run)
        assert same(contents(dg.Run.open(tmp_path / "run")), before)
        assert leftovers(dg.Run.open(tmp_path / "run")) == []
        run.append("metrics", rows(50))  # and goes on when there is room
        assert 50 in dg.Run.open(run.path).epochs()


def test_four_processes_setting_attributes_lose_none(tmp_path):
    a_run(tmp_path / "run")
    code = (
        "import sys, dg_explorer as dg\n"
        "run = dg.Run.open(sys.argv[1])\n"
        "for i in range(25): run.set_attrs(**{f'k{sys.argv[2]}_{i}': i})\n"
    )
    jobs = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "run"), str(k)])
        for k in range(4)
    ]
    assert [job.wait() for job in jobs] == [0] * 4
    attrs = dg.Run.open(tmp_path / "run").attrs
    assert all(attrs[f"k{k}_{i}"] == i for k in range(4) for i in range(25))
    assert attrs["note"] == "kept"


@pytest.mark.second_ring(sample=0)
def test_threads_that_write_and_read_lose_nothing(tmp_path):
    run, wrong = a_run(tmp_path / "run"), []

    def write(first):
        for epoch in range(first, 400, 4):
            run.append("metrics", rows(epoch))
            if epoch % 40 == 0:
                run.flush()

    def read():
        while any(thread.is_alive() for thread in writers):
            metrics = run["metrics"].load()
            if not np.array_equal(metrics.epoch.values, metrics.train_loss.values):
                wrong.append(metrics)

    writers = [threading.Thread(target=write, args=(3 + k,)) for k in range(4)]
    readers = [threading.Thread(target=read) for _ in range(2)]
    for thread in (*writers, *readers):
        thread.start()
    for thread in (*writers, *readers):
        thread.join()
    assert wrong == []
    assert dg.Run.open(run.path).epochs().tolist() == list(range(400))
