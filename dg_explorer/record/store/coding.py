"""What layers said, in fewer bytes and bit for bit the same: zeros, byte planes, combined units.

A row (a moment) is coded by itself, in one of three forms, whichever is shortest:

- 0, *planes*: the first bytes of all values, then their second bytes, ... The bytes of sign and
  exponent are much alike and deflate; those of the mantissa are noise and stay as they are.
- 1, *zeros left out*: a bit a value says where it is not 0, as behind a ReLU; then the planes of
  the others.
- 2, *combined units*: a linear layer that is wider than its input says nothing that some of its
  units do not say, up to rounding. These are kept as they are, the others as whole coefficients of
  them and the distance, in steps of float32, of the value from what that gives.

The products of form 2 are of whole numbers so small that each sum is exact in float64, so they are
the same on each machine and with each linear algebra. What is combined is read again and compared.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np

CODED = "coded"
_PLANES, _ZEROS, _COMBINED = 0, 1, 2
_PLANE = struct.Struct("<BQ")  # deflated or not, bytes
_COMBINATION = struct.Struct("<Iiii")  # units kept, then the exponents of the three scales
_WORTH = 0.9  # of the plain bytes at most, else the plain ones are kept
_FEW_ZEROS = 0.05
_NOISE = 3e-6  # of the largest direction: what float32 leaves of one that is not there
_KEPT = 0.6  # of the units at most, else combining them gains nothing
_WIDEST = 1024  # units; finding the combination grows with their square
_COEFFICIENT = 24  # bits
_SUM = 52  # bits of a sum that is exact in float64
# exponent: processors may take numbers below 2 ** -126 for 0, which then changes nothing
_LEAST = -60


def coded(values: np.ndarray) -> bytes | None:
    """Rows along the first axis, coded one by one; None where that hardly saves anything.

    Parameters
    ----------
    values : float array, shape (row, ..., unit)
        Little-endian.

    Returns
    -------
    bytes
        The size of each coded row, 8 bytes each, then the rows.
    """
    if values.dtype.kind != "f" or not values.size:
        return None
    rows = [_coded_row(row.reshape(-1, values.shape[-1])) for row in values]
    sizes = np.array([len(row) for row in rows], "<u8")
    if sizes.sum() > _WORTH * values.nbytes:
        return None
    return b"".join([sizes.tobytes(), *rows])


def bounds(index: bytes | memoryview) -> np.ndarray:
    """Where each coded row begins and the last one ends, from the sizes at the beginning."""
    sizes = np.frombuffer(index, "<u8").astype(np.int64)
    return len(index) + np.concatenate([[0], np.cumsum(sizes)])


def decoded_row(data: bytes | memoryview, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """One row of what `coded` coded."""
    data, n = memoryview(data), int(np.prod(shape, dtype=np.int64))
    bits = np.dtype(f"<u{dtype.itemsize}")
    form, data = data[0], data[1:]
    if form == _PLANES:
        return _from_planes(data, bits, n)[0].view(dtype).reshape(shape)
    if form == _ZEROS:
        size = -(-n // 8)
        there = np.unpackbits(np.frombuffer(data[:size], np.uint8), count=n).astype(bool)
        found = np.zeros(n, bits)
        found[there] = _from_planes(data[size:], bits, int(there.sum()))[0]
        return found.view(dtype).reshape(shape)
    if form == _COMBINED:
        return _from_combination(data, n // shape[-1], shape[-1]).reshape(shape)
    raise ValueError(f"a row is coded in the form {form}, which this version does not know")


def _coded_row(values: np.ndarray) -> bytes:
    values = np.ascontiguousarray(values)
    bits = values.view(f"<u{values.itemsize}").reshape(-1)
    there = bits != 0
    if there.mean() < 1 - _FEW_ZEROS:
        return b"".join([bytes([_ZEROS]), np.packbits(there).tobytes(), _planes(bits[there])])
    combined = _combination(values)
    if combined is not None:
        return bytes([_COMBINED]) + combined
    return bytes([_PLANES]) + _planes(bits)


def _planes(bits: np.ndarray) -> bytes:
    """The bytes of unsigned numbers, plane by plane, deflated where that helps."""
    parts = []
    for plane in bits.reshape(-1, 1).view(np.uint8).T:
        raw = plane.tobytes()
        deflate = zlib.compressobj(1, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
        small = deflate.compress(raw) + deflate.flush()
        short = len(small) < len(raw)
        parts += [_PLANE.pack(short, len(small) if short else len(raw)), small if short else raw]
    return b"".join(parts)


def _from_planes(data: memoryview, dtype: np.dtype, n: int) -> tuple[np.ndarray, memoryview]:
    """The numbers that `_planes` took apart, and what comes after them."""
    planes = np.empty((n, dtype.itemsize), np.uint8)
    for i in range(dtype.itemsize):
        short, size = _PLANE.unpack_from(data)
        plane, data = data[_PLANE.size : _PLANE.size + size], data[_PLANE.size + size :]
        if short:
            plane = zlib.decompressobj(-15).decompress(plane, n + 1)
        planes[:, i] = np.frombuffer(plane, np.uint8)
    return planes.reshape(-1).view(dtype), data


def _lengths(numbers: np.ndarray) -> bytes:
    """Small unsigned numbers: how many bits each has, deflated, then their bits but the first."""
    length = np.frexp(numbers.astype(np.float64))[1].astype(np.uint8)
    parts = [_planes(length)]
    for bit in range(int(length.max(initial=1)) - 1):
        longer = length > bit + 1
        numbers, length = numbers[longer], length[longer]
        parts.append(np.packbits((numbers >> np.uint32(bit) & np.uint32(1)).astype(bool)).tobytes())
    return b"".join(parts)


def _from_lengths(data: memoryview, n: int) -> np.ndarray:
    """The numbers of which `_lengths` made these bytes."""
    length, data = _from_planes(data, np.dtype(np.uint8), n)
    numbers = np.array([0, *(1 << k for k in range(32))], np.uint32)[length]
    longer = np.arange(n)
    for bit in range(int(length.max(initial=1)) - 1):
        longer = longer[length[longer] > bit + 1]
        size = -(-len(longer) // 8)
        bits = np.unpackbits(np.frombuffer(data[:size], np.uint8), count=len(longer))
        numbers[longer] |= bits.astype(np.uint32) << np.uint32(bit)
        data = data[size:]
    return numbers


def _combination(values: np.ndarray) -> bytes | None:
    """Form 2 of a moment, (example, unit); None where its units do not combine."""
    if values.dtype != np.dtype("<f4") or not np.isfinite(values).all():
        return None
    kept = _independent(values)
    if kept is None:
        return None
    from scipy.linalg import solve_triangular  # slow to import, and only for what is written

    basis, rest = values[:, kept].astype(np.float64), values[:, ~kept]
    q, r = np.linalg.qr(basis)
    try:
        coefficients = solve_triangular(r, q.T @ rest)
    except np.linalg.LinAlgError:
        return None
    if not np.isfinite(coefficients).all() or _exponent(basis) < _LEAST:
        return None
    scale = _COEFFICIENT - _exponent(coefficients)
    whole = np.rint(np.ldexp(coefficients, scale))
    scales = (scale, *_scales(basis))
    distance = _steps(rest) - _steps(_combined(basis, whole, scales))  # modulo 2 ** 32
    found = b"".join(
        [
            _COMBINATION.pack(int(kept.sum()), *scales),
            np.packbits(kept).tobytes(),
            _planes(np.ascontiguousarray(values[:, kept]).view("<u4").reshape(-1)),
            _planes(_unsigned(whole.astype(np.int32)).reshape(-1)),
            _lengths(_unsigned(distance).reshape(-1)),
        ]
    )
    again = _from_combination(memoryview(found), *values.shape)
    return found if again.tobytes() == values.tobytes() else None


def _from_combination(data: memoryview, n: int, width: int) -> np.ndarray:
    count, *scales = _COMBINATION.unpack_from(data)
    size = -(-width // 8)
    mask = np.frombuffer(data[_COMBINATION.size : _COMBINATION.size + size], np.uint8)
    kept = np.unpackbits(mask, count=width).astype(bool)
    numbers, data = np.dtype("<u4"), data[_COMBINATION.size + size :]
    basis, data = _from_planes(data, numbers, n * count)
    coefficients, data = _from_planes(data, numbers, count * (width - count))
    distance = _signed(_from_lengths(data, n * (width - count)))
    values = np.empty((n, width), "<f4")
    values[:, kept] = basis.view("<f4").reshape(n, count)
    whole = _signed(coefficients).astype(np.float64).reshape(count, width - count)
    near = _combined(values[:, kept].astype(np.float64), whole, tuple(scales))
    steps = _steps(near) + distance.reshape(near.shape)
    values[:, ~kept] = _flipped(steps).view("<f4")
    return values


def _independent(values: np.ndarray) -> np.ndarray | None:
    """Which units all others are combinations of, bool (unit,); None if that is most of them."""
    n, width = values.shape
    if width > _WIDEST or n < width // 2 or width < 8:
        return None
    from scipy.linalg import qr

    looked = np.linspace(0, n - 1, min(n, int(0.75 * width))).astype(np.int64)
    found: Any = qr(values[looked].astype(np.float64), mode="r", pivoting=True, check_finite=False)
    r, order = found
    size = np.abs(np.diag(r))
    count = int((size > _NOISE * size[0]).sum())
    if count == 0 or count > _KEPT * width:
        return None
    kept = np.zeros(width, bool)
    kept[order[:count]] = True
    return kept


def _scales(basis: np.ndarray) -> tuple[int, int]:
    """Exponents by which the kept units become whole numbers: the large part, then the rest."""
    bits = _SUM - _COEFFICIENT - int(np.ceil(np.log2(basis.shape[1] + 1)))
    high = bits - _exponent(basis)
    return high, high + bits


def _combined(basis: np.ndarray, whole: np.ndarray, scales: tuple[int, ...]) -> np.ndarray:
    """The combinations, float32 (example, other unit), exact up to one rounding of each part."""
    scale, high, low = scales
    large = np.rint(np.ldexp(basis, high))
    small = np.rint(np.ldexp(basis - np.ldexp(large, -high), low))
    parts = np.ldexp(large @ whole, -high - scale), np.ldexp(small @ whole, -low - scale)
    total = parts[0] + parts[1]
    total[np.abs(total) < np.finfo(np.float32).tiny] = 0.0
    with np.errstate(over="ignore"):
        return total.astype("<f4")


def _exponent(values: np.ndarray) -> int:
    """The least e with all values at most 2 ** e in size."""
    largest = float(np.abs(values).max(initial=0.0))
    return int(np.frexp(largest)[1]) if largest else 0


def _steps(values: np.ndarray) -> np.ndarray:
    """float32 as whole numbers that ascend with it, one from each value to the next."""
    return _flipped(np.ascontiguousarray(values).view("<i4"))


def _flipped(bits: np.ndarray) -> np.ndarray:
    """Order the negative ones the other way round, which undoes itself."""
    return bits ^ (bits >> 31 & 0x7FFFFFFF)


def _unsigned(values: np.ndarray) -> np.ndarray:
    """0, -1, 1, -2, 2, ... as 0, 1, 2, 3, 4, ..."""
    return (values << 1 ^ values >> 31).view("<u4")


def _signed(values: np.ndarray) -> np.ndarray:
    """What `_unsigned` made of them."""
    return (values >> np.uint32(1)).view("<i4") ^ -(values & np.uint32(1)).view("<i4")
