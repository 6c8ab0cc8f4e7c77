"""The container that carries arrays to the browser."""

import json

import numpy as np
import pytest

from dg_explorer.widgets.reading.blocks import pack, smallest_int, unpack


def test_what_is_packed_is_what_is_unpacked():
    rng = np.random.default_rng(0)
    blocks = {
        "half": rng.normal(size=(3, 5)).astype(np.float16),
        "single": rng.normal(size=7).astype(np.float32),
        "bytes": rng.integers(0, 255, (2, 4, 4, 1), np.uint8),
        "texts": ["", "ünï", "مرحبا", "👨‍👩‍👧", "</script>"],
        "empty": np.zeros((0, 4), np.float32),
        "none": [],
    }
    attrs, back = unpack(pack(blocks, {"name": "a"}))
    assert attrs == {"name": "a"}
    for name, block in blocks.items():
        np.testing.assert_array_equal(back[name], block)


def test_integers_travel_as_int32_where_they_fit_and_exactly_where_they_do_not():
    _, back = unpack(pack({"small": np.array([-5, 2**31 - 1]), "large": np.array([2**40])}))
    assert back["small"].dtype == np.int32
    assert back["small"].tolist() == [-5, 2**31 - 1]
    assert back["large"].tolist() == [2**40]


def test_no_number_of_an_array_is_written_as_text():
    container = pack({"x": np.full(10_000, 123456789)})
    length = int.from_bytes(container[4:8], "little")
    directory = container[8 : 8 + length]
    assert len(json.loads(directory)["blocks"]) == 1
    assert length < 200


def test_containers_nest():
    inner = pack({"x": np.arange(3)})
    _, back = unpack(pack({"inner": inner}))
    assert back["inner"] == inner


def test_a_lone_surrogate_does_not_break_the_board():
    _, back = unpack(pack({"t": ["a\ud800b"]}))
    assert back["t"] == ["a?b"]


def test_a_dtype_the_browser_lacks_is_refused():
    with pytest.raises(TypeError, match="complex"):
        pack({"z": np.zeros(2, complex)})


@pytest.mark.parametrize(
    ("values", "dtype"), [([-1, 30], "int8"), ([999], "int16"), ([70_000], "int32")]
)
def test_codes_take_no_more_room_than_they_need(values, dtype):
    assert smallest_int(np.array(values)).dtype == dtype
