"""Columns of every type: kept as they are, with what is missing missing, or refused in words."""

import datetime

import numpy as np
import pandas as pd
import pytest

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
        ({"label": [0, 1, 0], "x": [2**60, None, 1]}, "'x' has missing values and integers"),
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
