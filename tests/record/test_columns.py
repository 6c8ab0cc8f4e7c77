"""Columns of every type: kept as they are, with what is missing missing, or refused in words."""

import datetime

import numpy as np
import pandas as pd
import pytest
import torch

import dg_explorer as dg
from dg_explorer.errors import SchemaError

DATES = pd.to_datetime(["2026-01-01", None, "2026-03-04"])


def stored(tmp_path, table):
    """The examples as they come back after a flush, read by another Run."""
    dg.Run.create(tmp_path / "run", name="x", train_examples=table).flush()
    return dg.Run.open(tmp_path / "run")["train_examples"].load()


@pytest.mark.parametrize(
    ("column", "kind", "expected"),
    [
        (np.array(["a", "bb", "c"]), "O", ["a", "bb", "c"]),
        (["a", None, "c"], "O", ["a", None, "c"]),
        (pd.Series(["a", pd.NA, "c"], dtype="string"), "O", ["a", None, "c"]),
        (pd.Series(["a", np.nan, "c"], dtype="category"), "O", ["a", None, "c"]),
        (pd.Series([3, 1, 3], dtype="category"), "i", [3, 1, 3]),
        (pd.Series([1, None, 3], dtype="Int64"), "f", [1.0, None, 3.0]),
        (pd.Series([1, 2, 3], dtype="Int64"), "i", [1, 2, 3]),
        (pd.Series([True, False, True], dtype="boolean"), "b", [True, False, True]),
        ([1.5, None, 3], "f", [1.5, None, 3.0]),
        (np.ma.array([1, 2, 3], mask=[0, 1, 0]), "f", [1.0, None, 3.0]),
        (np.ma.array(["a", "b", "c"], mask=[0, 1, 0]), "O", ["a", None, "c"]),
        (np.ma.array([1, 2, 3], mask=False), "i", [1, 2, 3]),
        (torch.tensor([0.5, 1, 2], dtype=torch.bfloat16), "f", [0.5, 1.0, 2.0]),
        (torch.tensor([0.5, 1, 2], requires_grad=True), "f", [0.5, 1.0, 2.0]),
        (np.array([1, -1, 2], np.int8), "i", [1, -1, 2]),
        (np.array([2**60, 1, 2**62]), "i", [2**60, 1, 2**62]),
        (np.array([1, 2**63 + 1, 5], np.uint64), "u", [1, 2**63 + 1, 5]),
        (np.array([1e300, np.inf, -0.0]), "f", [1e300, np.inf, -0.0]),
        (np.array([1 + 2j, 0, 1j]), "c", [1 + 2j, 0, 1j]),
        (np.array([b"a", b"bc", b""]), "S", [b"a", b"bc", b""]),
    ],
)
def test_a_column_comes_back_as_it_was(tmp_path, column, kind, expected):
    values = stored(tmp_path, {"label": [0, 1, 0], "x": column})["x"].values
    assert values.dtype.kind == kind
    assert [None if v != v or v is None else v for v in values.tolist()] == expected


@pytest.mark.parametrize(
    "column",
    [
        DATES,
        DATES.to_numpy(),
        pd.Series(DATES),
        pd.Series(DATES).dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"),
        [datetime.date(2026, 1, 1), None, datetime.date(2026, 3, 4)],
        np.array(["2026-01-01", "NaT", "2026-03-04"], "datetime64[D]"),
    ],
)
def test_a_date_comes_back_as_that_date(tmp_path, column):
    values = stored(tmp_path, {"label": [0, 1, 0], "x": column})["x"].values
    assert values.dtype.kind == "M"
    assert np.isnat(values).tolist() == [False, True, False]
    assert values.astype("datetime64[D]")[[0, 2]].astype(str).tolist() == [
        "2026-01-01",
        "2026-03-04",
    ]


def test_names_with_slashes_dots_and_signs_are_kept(tmp_path):
    names = ["a/b", "../up", "ü ☃", "c/zarr.json", "x" * 300, "."]
    table = pd.DataFrame({name: np.arange(3) + i for i, name in enumerate(names)})
    found = stored(tmp_path, table)
    assert {name: found[name].values[0] for name in names} == {n: i for i, n in enumerate(names)}


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"label": ["cat", "dog", "cat"]}, r"'label'.*text|'label'.*factorize"),
        ({"label": [0, 1, 0], "x": [object(), 1, 2]}, "'x' holds .*object"),
        ({"label": [0, 1, 0], "x": [True, None, False]}, "'x' is true, false or missing"),
        ({"label": [0, 1, 0], "x": [2**60, None, 1]}, "'x' has integers beyond .* missing"),
        ({"label": [0, 1, 0], "x": [1, 2]}, "'x' of train_examples has 2 values, the first 3"),
        ({"label": [0], "thumbnail": np.zeros((1, 4, 4), np.uint16)}, "uint16.*uint8"),
        ({"label": [0], "thumbnail": np.zeros((1, 4, 4, 5), np.uint8)}, "5 channels"),
        ({"label": [0], "train": np.array([2**63 + 5], np.uint64)}, "id 9223372036854775813"),
        (["a", "b"], "takes a DataFrame"),
    ],
)
def test_what_is_refused_is_named_with_the_mend(table, words):
    with pytest.raises(SchemaError, match=words):
        dg.Run.create(name="x", train_examples=table)


def test_a_date_among_objects_keeps_its_nanoseconds(tmp_path):
    fine = pd.Timestamp("2026-01-01T00:00:00.123456789")
    values = stored(tmp_path, {"x": [fine, None, pd.Timestamp("2026-01-02")]})["x"].values
    assert values[0] == np.datetime64("2026-01-01T00:00:00.123456789")
    assert np.isnat(values[1])


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"x": pd.array([2**60 + 1, None], dtype="Int64")}, r"integers beyond 2\*\*53"),
        ({"x": np.array([2**53 + 1, 0.5], object)}, r"integers beyond 2\*\*53"),
        ({"x": [pd.Timestamp("2026-01-01T00:00:00.000000001"), pd.Timestamp("9999")]}, "no type"),
        ({"x": [[1], [1, 2]]}, "one value an example"),
        ({"x": [np.zeros(2), np.ones(2)]}, "one value an example"),
        ({"thumbnail": np.zeros((2, 64), np.uint8)}, "height x width"),
        (pd.DataFrame([[1, 2]], columns=["x", "x"]), "two columns called 'x'"),
        ({0: [1, 2], "0": [1, 2]}, "two columns called '0'"),
        ({"x": pd.Series([1, 2], index=[1, 0])}, "an index of its own"),
        ({"x": pd.Series([1, 2], index=[10, 20])}, "with the ids as its index"),
        ({"train": np.ma.array([3, 5], mask=[0, 1]), "x": [1, 2]}, "must be integers"),
    ],
)
def test_a_column_that_would_lose_values_or_places_is_refused(table, words):
    with pytest.raises(SchemaError, match=words):
        dg.Run.create(name="x", train_examples=table)


def test_a_column_of_ids_beside_a_plain_index_is_the_ids():
    table = pd.DataFrame({"train": [7, 8], "x": [1, 2]})
    run = dg.Run.create(name="x", train_examples=table)
    assert run["train_examples"].train.values.tolist() == [7, 8]
    with pytest.raises(SchemaError, match="Drop one"):
        dg.Run.create(name="x", train_examples=table.set_index(pd.Index([1, 2])))


def test_ids_that_a_browser_would_round_are_named_at_once_and_refused_by_the_board():
    ids = np.array([2**53 + 1, 2**53 + 2])
    with pytest.warns(UserWarning, match=r"ids beyond 2\*\*53"):
        run = dg.Run.create(name="x", train_examples={"train": ids, "label": [0, 1]})
    assert run["train_examples"].train.values.tolist() == ids.tolist()
    with pytest.raises(dg.DGExplorerError, match="cannot tell the train examples"):
        dg.explore(run)


def test_pictures_with_the_channel_first_are_turned(tmp_path):
    pictures = np.arange(2 * 3 * 5 * 6, dtype=np.uint8).reshape(2, 3, 5, 6)
    found = stored(tmp_path, {"label": [0, 1], "thumbnail": torch.as_tensor(pictures)})
    assert found["thumbnail"].dims == ("train", "height", "width", "channel")
    assert np.array_equal(found["thumbnail"].values, np.moveaxis(pictures, 1, -1))


def test_a_configuration_takes_paths_and_names_what_it_cannot_take(tmp_path):
    run = dg.Run.create(name="x", config={"data": tmp_path, "rates": (0.1, np.float32(0.5))})
    assert run.attrs["config"] == {"data": str(tmp_path), "rates": [0.1, 0.5]}
    with pytest.raises(SchemaError, match=r"torch.float16 is a dtype"):
        dg.Run.create(name="x", config={"precision": torch.float16})
