"""No value is altered on its way into the record and out of it."""

import shutil

import numpy as np
import pytest
import xarray as xr
from faults import a_run, rows, scores
from hypothesis import given, settings
from hypothesis import strategies as some

import dg_explorer as dg
from dg_explorer.errors import ReadOnlyRunError, SchemaError


def appended(run, *values):
    """Rows of a metric, one after the other, each of its own type."""
    for epoch, value in enumerate(values):
        run.append("metrics", xr.Dataset({"m": ("epoch", np.array([value]))}, {"epoch": [epoch]}))
    return run["metrics"]["m"].values


@pytest.fixture(params=["folder", "flushed", "memory"])
def run(request, tmp_path):
    made = dg.Run.create(None if request.param == "memory" else tmp_path / "run", name="x")
    if request.param == "flushed":
        append = made.append
        made.append = lambda *a, **k: (append(*a, **k), made.flush())
    return made


@pytest.mark.parametrize(
    "values",
    [
        (0, 0.73),
        (np.int8(1), 300, 2**40),
        (np.float32(0.1), 1e300),
        (np.float16(1), np.float32(1e30)),
        (1.5, 2**52 + 1),
        (np.uint8(200), np.int8(-1)),
        (np.uint64(7), -1),
        (1, 2.5, 1j),
        ("a", "a longer text", ""),
        (True, False),
        (np.datetime64("2026-01-01"), np.datetime64("2026-01-01T00:00:00.000001")),
    ],
)
def test_a_later_row_of_a_wider_type_alters_neither(run, values):
    found = appended(run, *values)
    assert [v == w for v, w in zip(found, values, strict=True)] == [True] * len(values)


@pytest.mark.parametrize(
    "values", [(2**60 + 1, 0.5), (np.uint64(2**63), -1), (True, 2), ("a", 1), (1, "a")]
)
def test_what_no_type_holds_is_refused_and_leaves_the_rows_there(run, values):
    with pytest.raises(SchemaError, match=r"'m'.*cast"):
        appended(run, *values)
    assert run["metrics"]["m"].values.tolist() == [values[0]]


def test_a_number_that_a_row_lacks_is_missing_and_not_minus_one(run):
    run.append("metrics", xr.Dataset({"n": ("epoch", [7])}, {"epoch": [0]}))
    run.append("metrics", rows(1))
    np.testing.assert_array_equal(run["metrics"]["n"].values, [7.0, np.nan])
    np.testing.assert_array_equal(run["metrics"]["train_loss"].values, [np.nan, 1.0])


def test_what_the_caller_does_to_an_array_later_is_not_the_records(run):
    values = np.arange(3.0)
    run.add("analyses/x", xr.Dataset({"v": ("k", values)}))
    values[:] = -1
    run["analyses/x"]["v"].values[:] = -2
    assert run["analyses/x"]["v"].values.tolist() == [0, 1, 2]


@settings(max_examples=25, deadline=None)
@given(
    epochs=some.lists(some.integers(0, 60), min_size=1, max_size=25, unique=True),
    cuts=some.sets(some.integers(0, 24)),
    again=some.lists(some.integers(0, 24), max_size=6),
)
def test_rows_in_any_order_flushed_and_replaced_at_any_time_read_as_a_plain_dict(
    tmp_path_factory, epochs, cuts, again
):
    path = tmp_path_factory.mktemp("rows")
    run, expected = dg.Run.create(path / "run", name="x"), {}
    for i, epoch in enumerate(epochs):
        run.append("scores/s", scores(epoch))
        expected[epoch] = scores(epoch).score.values[0]
        if i in cuts:
            run.flush()
        if i in again:
            old = epochs[i // 2]
            run.append("scores/s", scores(old, factor=i + 2.0), overwrite=True)
            expected[old] = scores(old, factor=i + 2.0).score.values[0]
    for found in (run, dg.Run.open(path / "run"), run.copy_to(path / "copy"), run.copy_to(None)):
        data = found["scores/s"]
        assert data.epoch.values.tolist() == sorted(expected)
        for epoch, values in expected.items():
            assert np.array_equal(data.score.sel(epoch=epoch).values, values)
    shutil.rmtree(path)


@pytest.mark.parametrize(
    "pick",
    [
        lambda s: s.sel(epoch=2, test=1),
        lambda s: s.isel(train=3),
        lambda s: s.isel(epoch=[2, 0], test=slice(None, None, -1), train=[4, 1, 1]),
        lambda s: s.isel(test=slice(1, 3), train=slice(0, 5, 2)),
        lambda s: s.sel(epoch=slice(1, 2)).isel(test=-1),
        lambda s: s.isel(epoch=slice(0, 0)),
        lambda s: s.sel(epoch=0).sel(test=[2, 0]),
        lambda s: s.isel(epoch=xr.DataArray([0, 1], dims="q"), test=xr.DataArray([2, 0], dims="q")),
        lambda s: s.transpose("train", "epoch", "test"),
    ],
)
@pytest.mark.parametrize("wide", [False, True])
def test_reading_a_part_gives_what_that_part_of_all_of_it_is(tmp_path, monkeypatch, pick, wide):
    if wide:  # as if a row were too wide to be read whole
        monkeypatch.setattr("dg_explorer.record.store.pieces.BLOCK", 16)
    run = dg.Run.create(tmp_path / "run", name="x")
    run.append("scores/s", scores(1))
    run.flush()
    run.append("scores/s", scores(0))
    run.flush()
    run.append("scores/s", scores(2))
    whole = run["scores/s"].load().score
    xr.testing.assert_identical(pick(run["scores/s"].score).load(), pick(whole))


def test_a_dataset_read_before_others_wrote_and_merged_stays_as_it_was(tmp_path):
    run = a_run(tmp_path / "run")
    before = run["metrics"]
    for epoch in range(10, 20):
        run.append("metrics", rows(epoch))
        run.flush()
    assert before.train_loss.values.tolist() == [0, 1, 2]


def test_groups_nested_under_a_name_are_never_touched(run):
    run.add("analyses/a/b", rows(1))
    run.add("analyses/a", rows(2))
    run.add("analyses/a", rows(3), overwrite=True)
    assert run.epochs("analyses/a/b").tolist() == [1]
    run.delete("analyses/a")
    assert run.groups() == ["analyses/a/b"]


def test_rows_made_otherwise_do_not_stand_beside_others(run):
    run.add("scores/s", scores(0, 1).assign_attrs(settings="a"))
    with pytest.raises(SchemaError, match="made with the settings a, and this with b"):
        run.add("scores/s", scores(1).assign_attrs(settings="b"), overwrite=True)
    run.add("scores/s", scores(0, 1, factor=2.0).assign_attrs(settings="b"), overwrite=True)
    assert run["scores/s"].attrs["settings"] == "b"


def test_what_rows_were_made_from_is_kept_row_by_row(run):
    run.append("scores/s", scores(0), made_from={"data": "d", "weights": "w0"})
    run.append("scores/s", scores(1), made_from={"data": "d", "weights": "w1"})
    run.add("analyses/x", xr.Dataset({"v": ((), 1.0)}), made_from={"data": "d"})
    run.flush()
    assert run.made_from("scores/s")[1] == {"data": "d", "weights": "w1"}
    assert run["scores/s"].attrs["made_from"] == {"data": "d"}
    assert run.made_from("analyses/x") == {"data": "d"}


def test_an_epoch_written_together_is_there_whole_or_not_at_all(run):
    def interrupted():
        with run.together():
            run.append("metrics", rows(0))
            assert run.epochs().tolist() == [0]  # seen by who writes it
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert run.groups() == []


def test_a_packed_run_reads_as_the_run_and_is_not_written_to(tmp_path):
    run = a_run(tmp_path / "run")
    packed = dg.Run.open(run.pack(tmp_path / "run.zip"))
    for group in run.groups():
        xr.testing.assert_identical(packed[group].load(), run[group].load())
    assert packed.attrs == run.attrs
    assert packed.blobs.read("checkpoints/epoch_0/weights") == b"w" * 100
    with pytest.raises(ReadOnlyRunError, match="copy_to"):
        packed.append("metrics", rows(7))
    assert packed.copy_to(tmp_path / "unpacked").groups() == run.groups()


@pytest.mark.parametrize("kind", [np.int32, np.float32, bool])
@pytest.mark.parametrize("odd", [None, 7, 39])
def test_equal_rows_are_in_the_file_once_and_read_as_they_are(tmp_path, kind, odd):
    row = (np.arange(3000) % 7).astype(kind)
    table = np.tile(row, (40, 1))
    if odd is not None:
        table[odd, 11] = not row[11]
    run = dg.Run.create(tmp_path / "run", name="x")
    for step in range(0, 40, 8):
        part = slice(step, step + 8)
        data = {"who": (("step", "slot"), table[part])}
        run.append("replay", xr.Dataset(data, {"step": np.arange(40)[part]}))
    run.flush()
    opened = dg.Run.open(tmp_path / "run")
    who = opened["replay"]["who"]
    assert np.array_equal(who.values, table)
    assert np.array_equal(who[5:31:3, 10:13].values, table[5:31:3, 10:13])
    assert np.array_equal(who[[39, 2], [11, 0, 2999]].values, table[[39, 2]][:, [11, 0, 2999]])
    assert np.array_equal(who[7, 11].values, table[7, 11])
    size = sum(path.stat().st_size for path in (tmp_path / "run").rglob("*"))
    assert (size < 3 * row.nbytes + 12_000) == (odd is None)
    assert np.array_equal(opened.copy_to(tmp_path / "copy")["replay"]["who"].values, table)
    run.pack(tmp_path / "run.zip")
    assert np.array_equal(dg.Run.open(tmp_path / "run.zip")["replay"]["who"].values, table)


def test_an_array_without_columns_comes_back_with_its_rows(run):
    for epoch in range(3):
        row = xr.Dataset({"none": (("epoch", "k"), np.zeros((1, 0), "f4"))}, {"epoch": [epoch]})
        run.append("analyses/empty", row)
    found = run["analyses/empty"].load()["none"]
    assert found.shape == (3, 0)
    assert found.dtype == np.float32
