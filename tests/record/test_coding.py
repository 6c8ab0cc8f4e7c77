"""Layers are stored in fewer bytes, and every bit of them comes back."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
import torch
import xarray as xr

import dg_explorer as dg
from dg_explorer.record.store import coding


def linear_layer(n=240, inputs=24, units=160, seed=0) -> np.ndarray:
    """What a linear layer that is wider than its input says, in float32."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, inputs), np.float32)
    return x @ rng.standard_normal((inputs, units), np.float32) + np.float32(0.3)


def odd_values(n=200, units=16) -> np.ndarray:
    """NaN of two kinds, infinities, -0.0, and numbers below the smallest normal one."""
    values = np.zeros((n, units), np.float32)
    values[:, 0] = np.frombuffer(np.uint32(0x7FC12345).tobytes(), np.float32)[0]
    values[:, 1], values[:, 2], values[:, 3] = np.nan, np.inf, -np.inf
    values[:, 4], values[:, 5], values[:, 6] = -0.0, 1e-42, -3e38
    return values


LAYERS = {
    "linear": linear_layer(),
    "linear, tiny": linear_layer() * np.float32(1e-39),
    "linear, huge": linear_layer() * np.float32(1e36),
    "linear, two of its units 0": linear_layer() * (np.arange(160) > 1),
    "relu": np.maximum(linear_layer(), 0),
    "noise": np.random.default_rng(1).standard_normal((200, 64), np.float32),
    "odd": odd_values(),
    "constant": np.full((64, 32), 1.5, np.float32),
    "half": np.maximum(linear_layer(), 0).astype(np.float16),
    "double": np.maximum(linear_layer(), 0).astype(np.float64),
}


@pytest.mark.parametrize("name", LAYERS)
def test_every_bit_comes_back(name):
    values = np.ascontiguousarray(LAYERS[name])
    row = coding._coded_row(values)
    assert coding.decoded_row(row, values.dtype, values.shape).tobytes() == values.tobytes()


def test_a_layer_wider_than_its_input_takes_less_than_half():
    values = linear_layer(600, 32, 256)
    data = coding.coded(values[None])
    assert data is not None
    assert len(data) < values.nbytes / 2
    assert data[8] == coding._COMBINED


def test_zeros_behind_a_relu_take_a_bit_each():
    values = np.zeros((100, 80), np.float32)
    data = coding.coded(values[None])
    assert data is not None
    assert len(data) <= 100 * 80 / 8 + 100


def test_noise_is_kept_as_it_is():
    noise = np.random.default_rng(0).integers(0, 2**16, (1, 50, 40)).astype(np.uint16)
    assert coding.coded(noise.view("<f2")) is None


def test_a_moment_is_the_one_of_exact_whole_numbers():
    """Read as docs/format.md says, in Python's own integers, one unit of one example."""
    values = linear_layer()
    row = coding._coded_row(values)
    n, width = values.shape
    assert row[0] == 2
    count, c, h, low = struct.unpack_from("<Iiii", row, 1)
    at = 17 + width // 8
    kept = np.unpackbits(np.frombuffer(row[17:at], np.uint8)).astype(bool)

    def plane(at: int) -> tuple[bytes, int]:
        short, size = struct.unpack_from("<BQ", row, at)
        data = row[at + 9 : at + 9 + size]
        return (zlib.decompress(data, -15) if short else data), at + 9 + size

    def numbers(at: int) -> tuple[list[int], int]:
        parts = []
        for _ in range(4):
            part, at = plane(at)
            parts.append(part)
        return [int.from_bytes(each, "little") for each in zip(*parts, strict=True)], at

    bits, at = numbers(at)
    basis = np.array(bits, np.uint32).view(np.float32).reshape(n, count)
    assert (basis == values[:, kept]).all()
    zigzag, at = numbers(at)
    coefficients = [z // 2 if z % 2 == 0 else -(z + 1) // 2 for z in zigzag]
    lengths, at = plane(at)
    example, unit, others = 17, 5, width - count
    total = 0
    for k in range(count):
        value = float(basis[example, k])
        large = round(value * 2.0**h)
        small = round((value - large / 2.0**h) * 2.0**low)
        total += (large * 2 ** (low - h) + small) * coefficients[k * others + unit]
    near = np.float32(total / 2 ** (low + c))
    place, bit, distance = example * others + unit, 0, 0
    size = lengths[place]
    while any(length > bit + 1 for length in lengths):
        longer = [i for i, length in enumerate(lengths) if length > bit + 1]
        if size > bit + 1:
            there = longer.index(place)
            distance |= (row[at + there // 8] >> (7 - there % 8) & 1) << bit
        at, bit = at + -(-len(longer) // 8), bit + 1
    distance |= 1 << (size - 1) if size else 0
    steps = distance // 2 if distance % 2 == 0 else -(distance + 1) // 2
    found = near
    for _ in range(abs(steps)):
        found = np.nextafter(found, np.float32(np.inf if steps > 0 else -np.inf))
    assert found == values[:, ~kept][example, unit]
    assert at == len(row)


def test_a_processor_that_flushes_tiny_numbers_reads_the_same():
    values = linear_layer()
    values[:, 7] *= np.float32(1e-38)  # some of them below the smallest normal number
    row = coding._coded_row(values)
    torch.set_flush_denormal(True)
    try:
        found = coding.decoded_row(row, values.dtype, values.shape)
    finally:
        torch.set_flush_denormal(False)
    assert found.tobytes() == values.tobytes()


def recorded(path) -> tuple[dg.Run, np.ndarray]:
    """A run with a layer large enough to be coded."""
    values = np.stack([linear_layer(1200, 32, 256, seed) for seed in range(4)])
    run = dg.Run.create(path, name="layers")
    for epoch, each in enumerate(values):
        coords = {"epoch": [epoch], "example": np.arange(1200)}
        data = {"activation": (("epoch", "example", "unit"), each[None])}
        run.append("features/rise", xr.Dataset(data, coords))
    run.flush()
    return run, values


def test_a_record_of_a_layer_is_read_moment_by_moment_and_copied_as_it_is(tmp_path):
    run, values = recorded(tmp_path / "run")
    files = list((tmp_path / "run").rglob("features/rise/activation/c/*"))
    assert 0 < sum(file.stat().st_size for file in files) < values.nbytes / 2
    run.copy_to(tmp_path / "copy")
    run.pack(tmp_path / "run.zip")
    for place in ("run", "copy", "run.zip"):
        found = dg.Run.open(tmp_path / place)["features/rise"].activation
        assert found.dtype == np.float32
        assert (found.sel(epoch=3).values == values[3]).all()
        assert (
            found.isel(epoch=[2, 1], unit=slice(9, 3, -2)).values == values[[2, 1], :, 9:3:-2]
        ).all()


def test_a_changed_byte_of_a_coded_layer_is_named(tmp_path):
    recorded(tmp_path / "run")
    [file] = (tmp_path / "run").rglob("features/rise/activation/c/*")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(dg.DamagedRecordError, match="features/rise/activation"):
        dg.Run.open(tmp_path / "run")["features/rise"].load()


def test_a_coding_of_a_later_version_is_named(tmp_path):
    run, _ = recorded(tmp_path / "run")
    piece = next(p for p in run._state().groups["features/rise"].pieces() if p.coding)
    object.__setattr__(piece, "coding", "coded otherwise")
    with pytest.raises(dg.DamagedRecordError, match="'coded otherwise'"):
        piece.whole()
