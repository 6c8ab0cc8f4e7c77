"""Where the bytes of a run are: a folder, a zip file, or an fsspec URL; one small set of verbs.

A run in memory has no place: all its pieces are arrays.
"""

from __future__ import annotations

import os
import stat
import struct
import zipfile
from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import TypeGuard

from ...errors import DamagedRecordError, ReadOnlyRunError, RunError
from . import files

MANIFEST = "record/manifest.jsonl"
LOCK = "record/lock"
LEGACY = ("record.zarr/", "journal.bin")  # where schema 1 kept what is now under record/


class Folder:
    """A run in a folder, by a path that holds whatever the working directory becomes."""

    journals = True  # rows can be added to the end of a file

    def __init__(self, path: str | Path):
        self.path = absolute(path)
        self._text = f"{self.path}/"
        self._inside: set[str] = set()

    def __str__(self) -> str:
        return str(self.path)

    def stamp(self, name: str) -> tuple | None:
        """A value that changes with the file, None where there is none."""
        try:
            found = os.stat(self._text + name)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """Some bytes of a file, fewer where it ends before `stop`; FileNotFoundError if none."""
        handle = os.open(self._checked(name), os.O_RDONLY)
        try:
            if stat.S_ISDIR(os.fstat(handle).st_mode):
                raise DamagedRecordError(f"{self.path / name} is a folder, and was a file.")
            if stop is None:
                stop = os.fstat(handle).st_size
            parts = []
            while start < stop and (part := os.pread(handle, stop - start, start)):
                parts.append(part)
                start += len(part)
            return parts[0] if len(parts) == 1 else b"".join(parts)
        finally:
            os.close(handle)

    def names(self, under: str) -> list[str]:
        """All files under a folder of the run; symbolic links are left out."""
        if under and not under.endswith("/"):
            return [under] if (self.path / under).is_file() else []
        found = []
        for folder, folders, names in os.walk(self.path / under, followlinks=False):
            folders[:] = [f for f in folders if not os.path.islink(os.path.join(folder, f))]
            for name in names:
                whole = Path(folder, name)
                if stat.S_ISREG(os.lstat(whole).st_mode):
                    found.append(whole.relative_to(self.path).as_posix())
        return found

    def write_new(self, name: str, parts: Iterable[bytes]) -> None:
        files.write_new(self.path / name, parts, sync=True)

    def replace(self, name: str, data: bytes) -> None:
        files.make_folder((self.path / name).parent)
        files.replace(self.path / name, data)

    def add_to(self, name: str, parts: Iterable[bytes], *, at: int) -> int:
        return files.add_to(self.path / name, parts, at=at)

    def cut(self, name: str, length: int) -> None:
        files.cut(self.path / name, length)

    def remove(self, name: str) -> None:
        """Remove a file, and the folders that it leaves empty."""
        files.remove(self.path / name)
        folder = (self.path / name).parent
        while folder not in (self.path, self.path / "record"):
            try:
                files.remove(folder)
            except OSError:  # something else is in it
                return
            folder = folder.parent

    @contextmanager
    def writing(self, *, wait: float | None = None):
        """The right to write; see `files.locked`. Says so where the folder has gone."""
        try:
            if (self.path / "record.zarr").is_dir():  # of schema 1, and to be converted
                files.make_folder(self.path / "record")
            with files.locked(self.path / LOCK, wait=wait) as taken:
                yield taken
        except (FileNotFoundError, NotADirectoryError) as error:
            if not (self.path / MANIFEST).exists():
                raise RunError(
                    f"The run at {self.path} is gone: its folder was removed or renamed. What was "
                    f"written since then is nowhere. Put the folder back, or Run.create another."
                ) from error
            raise
        except OSError as error:
            raise refusal(self, error) from error

    def _checked(self, name: str) -> Path:
        path = self.path / name
        if name not in self._inside:
            # a link could lead to anybody's file, so what leads out of the run is not read
            real, home = os.path.realpath(path), os.path.realpath(self.path)
            if os.path.commonpath([real, home]) != home:
                raise DamagedRecordError(
                    f"{path} is a link that leads out of the run, to {real}; links are not "
                    f"followed. Copy the file into its place."
                )
            self._inside.add(name)
        return path


class Zip:
    """A run packed into one file by `run.pack`; read only."""

    journals = False

    def __init__(self, path: str | Path):
        self.path = absolute(path)
        try:
            with zipfile.ZipFile(self.path) as archive:
                self._members = {
                    member.filename: (member.header_offset, member.file_size)
                    for member in archive.infolist()
                    if member.compress_type == zipfile.ZIP_STORED
                }
        except (zipfile.BadZipFile, ValueError) as error:
            raise DamagedRecordError(f"{self.path} is a damaged zip file: {error}.") from error

    def __str__(self) -> str:
        return str(self.path)

    def stamp(self, name: str) -> tuple | None:
        return self._members.get(name)

    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        if name not in self._members:
            raise FileNotFoundError(name)
        header, size = self._members[name]
        with open(self.path, "rb") as file:
            file.seek(header)
            # a local header: 26 bytes in, the lengths of the name and of the extra field
            lengths = struct.unpack("<HH", file.read(30)[26:30].ljust(4, b"\0"))
            file.seek(header + 30 + sum(lengths) + start)
            return file.read(max(0, (size if stop is None else min(stop, size)) - start))

    def names(self, under: str) -> list[str]:
        return [name for name in self._members if name.startswith(under)]

    @contextmanager
    def writing(self, *, wait: float | None = None):
        raise ReadOnlyRunError(
            f"{self.path} is a packed run, which is only read. Use run.copy_to(folder) to work on "
            f"a copy you may write to."
        )
        yield


class Remote:
    """A run at an fsspec URL. Objects are replaced whole, so there is no journal and no lock."""

    journals = False

    def __init__(self, url: str):
        import fsspec

        self.path = url.rstrip("/")
        self._fs, self._base = fsspec.core.url_to_fs(self.path)

    def __str__(self) -> str:
        return self.path

    def stamp(self, name: str) -> tuple | None:
        try:
            found = self._fs.info(f"{self._base}/{name}")
        except FileNotFoundError:
            return None
        marks = ("ETag", "etag", "mtime", "LastModified", "last_modified", "created", "size")
        return tuple(str(found.get(mark)) for mark in marks)

    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        return self._fs.cat_file(f"{self._base}/{name}", start=start, end=stop)

    def names(self, under: str) -> list[str]:
        self._fs.invalidate_cache()
        base = self._base.rstrip("/")
        try:
            found = self._fs.find(f"{base}/{under}" if under else base)
        except FileNotFoundError:
            return []
        return [path[path.index(base) + len(base) :].lstrip("/") for path in found]

    def write_new(self, name: str, parts: Iterable[bytes]) -> None:
        self.replace(name, b"".join(bytes(part) for part in parts))

    def replace(self, name: str, data: bytes) -> None:
        target = f"{self._base}/{name}"
        self._fs.makedirs(target.rpartition("/")[0], exist_ok=True)
        self._fs.pipe_file(target, data)

    def remove(self, name: str) -> None:
        if self._fs.exists(f"{self._base}/{name}"):
            self._fs.rm_file(f"{self._base}/{name}")

    @contextmanager
    def writing(self, *, wait: float | None = None):
        try:
            yield True
        except FileNotFoundError:
            raise
        except OSError as error:
            raise refusal(self, error) from error


Place = Folder | Zip | Remote


def absolute(path: str | Path) -> Path:
    """A path that holds whatever the working directory becomes; `~` is the home folder."""
    return Path(os.path.abspath(os.path.expanduser(path)))


def is_url(path) -> TypeGuard[str]:
    """Whether a path is an fsspec URL."""
    return isinstance(path, str) and "://" in path


def place_of(path: str | Path):
    """The place at a path or URL."""
    if is_url(path):
        return Remote(path)
    return Zip(path) if zipfile.is_zipfile(absolute(path)) else Folder(path)


def refusal(place, error: OSError) -> ReadOnlyRunError:
    """A system's refusal to write, as an error that says what to do."""
    return ReadOnlyRunError(
        f"Cannot write to the run at {place}: {error.strerror or error}. What was written before "
        f"is kept. Make room or permission and go on, or use run.copy_to(path) to work on a copy "
        f"you may write to."
    )
