"""A run seen while another process records it: no row waits for the recorder's next flush."""

import subprocess
import sys
import time

import numpy as np
import pytest
import xarray as xr

import dg_explorer as dg
from dg_explorer.errors import ReadOnlyRunError, RunError
from dg_explorer.growing_run import GrowingRun
from dg_explorer.testing import tiny_run

# Records a row at each line it is told, and never flushes: the rows stay in the journal.
RECORDER = """
import sys, numpy as np, xarray as xr, dg_explorer as dg
run = dg.Run.open(sys.argv[1])
for line in sys.stdin:
    epoch = int(line)
    rows = {"train_accuracy": ("epoch", [epoch / 100])}
    if epoch >= 70:
        rows["late"] = ("epoch", [7.0])
    run.append("metrics", xr.Dataset(rows, {"epoch": [epoch]}))
    print(epoch, flush=True)
"""


@pytest.fixture
def recorder(tmp_path):
    """A run of epochs 0 to 55 in a folder, and a function that has a row recorded elsewhere."""
    tiny_run(path=tmp_path / "run", scores=False)
    command = [sys.executable, "-c", RECORDER, str(tmp_path / "run")]
    process = subprocess.Popen(
        command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=1
    )

    def record(epoch):
        process.stdin.write(f"{epoch}\n")
        assert process.stdout.readline() == f"{epoch}\n"

    yield tmp_path / "run", record
    process.kill()
    process.wait()


def test_rows_are_seen_before_they_are_flushed_once_and_in_order(recorder):
    path, record = recorder
    growing, plain = GrowingRun.of(path), dg.Run.open(path)
    before = plain["metrics"].load()
    for epoch in (60, 65, 70):
        record(epoch)
        metrics = growing["metrics"].load()
        assert metrics.epoch.values.tolist() == list(range(0, epoch + 1, 5))
        assert metrics.train_accuracy.values[-1] == epoch / 100
    assert np.isnan(metrics.test_accuracy.values[-1])  # not in the later rows
    assert metrics.late.dropna("epoch").epoch.values.tolist() == [70]
    assert plain.epochs().max() == 70
    assert before.epoch.values.max() == 55  # what was read stays as it was


def test_what_is_followed_is_not_written_to(tmp_path):
    growing = GrowingRun.of(tiny_run(path=tmp_path / "run", scores=False))
    rows = xr.Dataset({"train_accuracy": ("epoch", [0.5])}, {"epoch": [60]})
    with pytest.raises(ReadOnlyRunError, match=r"Run\.open"):
        growing.append("metrics", rows)


def test_a_group_that_begins_in_the_journal_is_there(tmp_path):
    run = dg.Run.create(tmp_path / "run", name="young")
    run.append("metrics", xr.Dataset({"train_accuracy": ("epoch", [0.5])}, {"epoch": [0]}))
    growing = GrowingRun.of(run)
    assert "metrics" in growing
    assert growing.groups() == ["metrics"]
    assert growing.epochs().tolist() == [0]


def test_the_stamp_changes_with_each_row_and_not_without(recorder):
    path, record = recorder
    growing = GrowingRun.of(path)
    before = growing.stamp()
    assert growing.stamp() == before
    record(60)
    assert growing.stamp() != before


def test_a_run_in_memory_cannot_be_followed():
    with pytest.raises(RunError, match="in memory"):
        dg.explore(tiny_run(), live=True)


def test_a_live_board_goes_on_with_the_run_until_told_to_stop(recorder):
    path, record = recorder
    board = dg.explore(path, live=True, epoch=55)
    previews = []
    board.observe(lambda change: previews.append(change), "_preview")

    def until(holds):
        end = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < end, (board.selection.epoch, len(previews))
            time.sleep(0.02)

    record(60)
    until(lambda: board.selection.epoch == 60)  # it stood at the end
    board.selection.epoch = 20
    n = len(previews)
    record(65)
    until(lambda: len(previews) > n)
    assert board.selection.epoch == 20  # it did not
    board.undo()
    assert board.selection.epoch == 60  # growing is no step to undo
    board.live = False
    assert not board.live
    record(70)
    time.sleep(1.2)  # more than two looks
    assert board.selection.epoch == 60
