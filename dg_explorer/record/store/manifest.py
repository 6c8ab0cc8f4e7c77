"""The manifest: a text file, one line a group, that says what the record is.

Each line is a JSON list of a checksum and an object: ``["1c291ca3", {"group": "metrics", ...}]``;
the checksum is the CRC-32 of the object's text. The first line is the head (format, schema
version, identity, name of the journal, attributes of the run, number of lines), and it comes again
as the last. A damaged line costs its group and no other.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass

from ...errors import DamagedRecordError, NewerSchemaError
from . import state as st
from . import wire
from .places import MANIFEST

FORMAT = "dg_explorer run"
SCHEMA_VERSION = 2


@dataclass(frozen=True)
class Head:
    """What the manifest says beside groups and blobs."""

    identity: str  # another run at the same path has another one
    generation: int  # grows by one with each manifest
    journal: str  # the file that holds what was written since


def dump(head: Head, state: st.State) -> bytes:
    """The manifest of a state with all its pieces in files."""
    lines = [
        {"group": name, **wire.group_out(group, wire.stored_out)}
        for name, group in sorted(state.groups.items())
    ]
    lines += [
        {"blob": name, "piece": wire.stored_out(piece)}
        for name, piece in sorted(state.blobs.items())
    ]
    first = {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "identity": head.identity,
        "generation": head.generation,
        "journal": head.journal,
        "lines": len(lines),
        "attrs": state.attrs,
    }
    return b"".join(_line(entry) for entry in (first, *lines, first))


def load(data: bytes, place) -> tuple[Head, st.State]:
    """The head and the state of a manifest; groups of damaged lines are in `State.broken`.

    Raises
    ------
    DamagedRecordError
        Both copies of the head are damaged.
    NewerSchemaError
        A newer version of this package wrote it.
    """
    lines = data.split(b"\n")
    whole = not lines[-1]
    lines = lines[:-1] if whole else lines
    entries = [_entry(line) for line in lines]
    heads = [e for e in (entries[:1] + entries[-1:]) if e and e.get("format") == FORMAT]
    if not heads:
        raise DamagedRecordError(
            f"The manifest {MANIFEST} of the run at {place} is damaged, so nothing of the run can "
            f"be read. Copy the run again from where it was recorded."
        )
    first = heads[0]
    if first["schema_version"] > SCHEMA_VERSION:
        raise NewerSchemaError(
            f"{place} was written with schema {first['schema_version']}; this version reads up to "
            f"{SCHEMA_VERSION}. Upgrade: pip install --upgrade dg_explorer."
        )
    groups, blobs, broken = {}, {}, {}
    for line, entry in zip(lines, entries, strict=True):
        if entry is None:
            broken[_name_in(line)] = f"its line in {MANIFEST} is damaged"
            continue
        name = entry.get("group", entry.get("blob"))
        try:
            if "group" in entry:
                group = wire.group_in(entry, lambda p: wire.stored_in(p, place))
                why = wire.contradiction(group)
                groups[name] = group
            elif "blob" in entry:
                blobs[name], why = wire.stored_in(entry["piece"], place), None
            else:
                continue
        except DamagedRecordError as error:
            why = str(error).rstrip(".")
        except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            why = f"{type(error).__name__}: {error}"
        if why is not None:
            groups.pop(name, None)
            broken[str(name)] = f"its line in {MANIFEST} cannot be: {why}"
    missing = first["lines"] + 2 - len(lines)
    if missing > 0 or not whole:
        broken.setdefault("?", f"{MANIFEST} is cut short, {max(1, missing)} lines are missing")
    head = Head(first["identity"], first["generation"], first["journal"])
    return head, st.State(first["attrs"], groups, blobs, broken)


def _line(entry: dict) -> bytes:
    text = json.dumps(entry, separators=(",", ":"))
    return f'["{zlib.crc32(text.encode()):08x}",{text}]\n'.encode()


def _entry(line: bytes) -> dict | None:
    """The object of a line, None where its checksum says that it is damaged."""
    if len(line) < 13 or line[:2] != b'["' or line[10:12] != b'",' or line[-1:] != b"]":
        return None
    text = line[12:-1]
    if f"{zlib.crc32(text):08x}".encode() != line[2:10]:
        return None
    return json.loads(text)


def _name_in(line: bytes) -> str:
    """Which group a damaged line was most likely about; "?" where it does not say."""
    for mark in (b'"group":"', b'"blob":"'):
        if mark in line:
            name = line.split(mark, 1)[1].split(b'"', 1)[0].decode(errors="replace")
            return name
    return "?"
