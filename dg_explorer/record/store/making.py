"""Making a record in a folder, at a URL or in memory: new, over another, as a copy, or packed."""

from __future__ import annotations

import os
import secrets
import sys
import zipfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from ...errors import ReadOnlyRunError, RunError
from . import files
from . import state as st
from .pieces import Held
from .places import MANIFEST, Folder, Remote, absolute, is_url, refusal
from .reader import Reader
from .settling import unnamed
from .stopping import prepare
from .writer import commit, new_head


def make(path: str | Path | None, state: st.State, *, overwrite: bool) -> Reader:
    """Make a record that holds a state; return its reader.

    What is there before stays until the new manifest takes its place in one step; a kill before
    leaves the old record, or where there was none a folder that is no run.
    """
    if path is None:
        reader = Reader(None)
        reader.hold(_in_memory(state))
        return reader
    if is_url(path):
        place = Remote(path)
        if place.stamp(MANIFEST) is not None and not overwrite:
            raise RunError(f"There is a run at {path} already. Open it, or pass overwrite=True.")
    else:
        place = Folder(path)
        _make_room(place.path, overwrite)
    new = isinstance(place, Folder) and not place.path.exists()
    written: list[str] = []
    try:
        if isinstance(place, Folder):
            files.make_folder(place.path / "record")
        prepare(place)
        with place.writing():
            commit(place, new_head(_generation(place)), state, written, copy=True)
            reader = Reader(place)
            for name in unnamed(place, reader.look()):
                place.remove(name)
        return reader
    except (OSError, ReadOnlyRunError) as error:
        _take_back(place, written, new)
        cause = error if isinstance(error, OSError) else error.__cause__
        raise ReadOnlyRunError(
            f"Cannot create a run at {path}: {getattr(cause, 'strerror', None) or cause}. "
            f"Choose a folder you may write to, or path=None to keep the run in memory."
        ) from error
    except BaseException:
        _take_back(place, written, new)
        raise


def pack(state: st.State, path: str | Path) -> Path:
    """Write a record as one zip file, in place of what is there in one step."""
    path = absolute(path)
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            commit(_Archive(archive, path), new_head(), state, [], copy=True)
        os.replace(part, path)
    except OSError as error:
        raise refusal(path, error) from error
    finally:
        part.unlink(missing_ok=True)
    return path


def check_rank() -> None:
    """Raise in a training of several processes in all but the first."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        rank = distributed.get_rank()
        if rank > 0:
            raise RunError(
                f"This is process (rank) {rank} of a distributed training. One run belongs to one "
                f"process: create it where torch.distributed.get_rank() == 0, and give the "
                f"recorders of the others None."
            )


class _Archive:
    """A zip file that is being written, as a place."""

    journals = False

    def __init__(self, archive: zipfile.ZipFile, path: Path):
        self._archive, self.path = archive, path

    def stamp(self, name: str) -> tuple | None:
        return None

    def write_new(self, name: str, parts: Iterable[bytes]) -> None:
        with self._archive.open(name, "w", force_zip64=True) as file:
            for part in parts:
                file.write(part)

    def replace(self, name: str, data: bytes) -> None:
        self.write_new(name, [data])


def _in_memory(state: st.State) -> st.State:
    def held(piece):
        return piece if isinstance(piece, Held) else Held(piece.whole())

    groups = {
        name: replace(
            group,
            fixed={key: held(piece) for key, piece in group.fixed.items()},
            blocks=tuple(
                replace(block, pieces={key: held(p) for key, p in block.pieces.items()})
                for block in group.blocks
            ),
        )
        for name, group in state.groups.items()
    }
    blobs = {name: held(piece) for name, piece in state.blobs.items()}
    return st.State(state.attrs, groups, blobs)


def _make_room(path: Path, overwrite: bool) -> None:
    """Refuse a folder that holds anything but a run that may be replaced."""
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if (path / MANIFEST).is_file() or (path / "record.zarr" / "zarr.json").is_file():
        if not overwrite:
            raise RunError(f"There is a run at {path} already. Open it, or pass overwrite=True.")
        return
    # what a killed creation leaves has no manifest, and nothing beside the record
    if path.is_dir() and [p.name for p in path.iterdir()] == ["record"]:
        return
    raise RunError(f"{path} exists and is not a run, so it is left alone. Choose another path.")


def _generation(place) -> int:
    """That of the record to be replaced, so that no file of the new one has a name of the old."""
    if place.stamp(MANIFEST) is None:
        return 0
    try:
        return Reader(place).look().head.generation
    except RunError:  # damaged: it is to be replaced anyway
        return secrets.randbelow(1 << 20) + (1 << 20)


def _take_back(place, written: list[str], new: bool) -> None:
    """Remove what a failed creation wrote, unless its manifest is there."""
    if not isinstance(place, Folder):
        return
    try:
        pieces = Reader(place).state().pieces()
        if not new:
            named = {p.file for p in pieces if hasattr(p, "file")}
            written = [name for name in written if name not in named]
    except RunError:
        pass
    try:
        for name in written:
            place.remove(name)
        if new:
            place.remove("record/lock")
            for folder in (place.path / "record", place.path):
                files.remove(folder)
    except OSError:
        return
