"""What a job's process says, as bytes: a line of JSON, then its arrays as NumPy writes them.

Arrays travel by `np.save` without objects, so that nothing that comes back is unpickled.
"""

from __future__ import annotations

import io
import json
import struct
from typing import BinaryIO

import numpy as np

_LENGTHS = struct.Struct("<QQ")


def write_frame(pipe: BinaryIO, head: dict, arrays: dict[str, np.ndarray] | None = None) -> None:
    """Write one message: plain values in `head`, and arrays by name."""
    body = io.BytesIO()
    if arrays:
        plain: dict = {name: np.asarray(array) for name, array in arrays.items()}
        np.savez(body, **plain)
    said = json.dumps(head).encode()
    pipe.write(_LENGTHS.pack(len(said), body.tell()))
    pipe.write(said)
    pipe.write(body.getvalue())
    pipe.flush()


def read_frame(pipe: BinaryIO) -> tuple[dict, dict[str, np.ndarray]] | None:
    """The next message; None where the other side is gone, also in the middle of a message."""
    lengths = _whole(pipe, _LENGTHS.size)
    if lengths is None:
        return None
    n_head, n_body = _LENGTHS.unpack(lengths)
    said, body = _whole(pipe, n_head), _whole(pipe, n_body)
    if said is None or body is None:
        return None
    arrays = {}
    if body:
        with np.load(io.BytesIO(body), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    return json.loads(said), arrays


def _whole(pipe: BinaryIO, length: int) -> bytes | None:
    parts = []
    while length:
        part = pipe.read(length)
        if not part:
            return None
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
