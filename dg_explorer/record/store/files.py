"""Every operation by which a record changes a disk, in one place, so that a test can fail any.

A file is written once, whole, under a name that no other file has, and never changed after; what
is there counts only once a line of the journal or the manifest names it. Two files grow or are
replaced: the journal (whole frames are added at its end) and the manifest (one rename).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...errors import RunError

try:
    import fcntl
except ImportError:  # no advisory locks on this platform: one writer is the user's promise
    fcntl = None

LOCK_SECONDS = 60.0  # how long to wait for another process that is writing this very moment

# called before each operation with its name and path; tests raise or kill here
watch: Callable[[str, Path], None] | None = None


def _before(operation: str, path: Path) -> None:
    if watch is not None:
        watch(operation, path)


def make_folder(path: Path) -> None:
    """Make a folder and those above it where they are not there."""
    if not path.is_dir():
        _before("make_folder", path)
        os.makedirs(path, exist_ok=True)


def write_new(path: Path, parts: Iterable[bytes | memoryview], *, sync: bool) -> None:
    """Write a file that is not there yet; after an error nothing of it is left."""
    make_folder(path.parent)
    _before("write_new", path)
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        for part in parts:
            _write_all(handle, part, path)
        if sync:
            _before("sync", path)
            os.fsync(handle)
    except BaseException:
        with suppress(OSError):
            os.unlink(path)
        raise
    finally:
        os.close(handle)


def replace(path: Path, data: bytes) -> None:
    """Put a file in the place of another in one step: afterwards there is the old or the new."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with suppress(FileNotFoundError):
        os.unlink(part)
    write_new(part, [data], sync=True)
    _before("replace", path)
    os.replace(part, path)
    if hasattr(os, "O_DIRECTORY"):  # a rename is on the disk once its folder is
        with suppress(OSError):
            handle = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def add_to(path: Path, parts: Iterable[bytes | memoryview], *, at: int) -> int:
    """Write at the end of a file that is `at` bytes long; return its new length.

    What fails half-way is cut off again, so that all that was there before still counts.
    """
    _before("add_to", path)
    handle = os.open(path, os.O_CREAT | os.O_WRONLY, 0o666)
    try:
        os.lseek(handle, at, os.SEEK_SET)
        for part in parts:
            _write_all(handle, part, path)
        return os.lseek(handle, 0, os.SEEK_CUR)
    except BaseException:
        with suppress(OSError):
            os.ftruncate(handle, at)
        raise
    finally:
        os.close(handle)


def cut(path: Path, length: int) -> None:
    """Shorten a file."""
    _before("cut", path)
    os.truncate(path, length)


def remove(path: Path) -> None:
    """Remove a file or an empty folder, where it is there."""
    _before("remove", path)
    with suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            os.rmdir(path)
        else:
            os.unlink(path)


@contextmanager
def locked(path: Path, *, wait: float | None = None) -> Iterator[bool]:
    """Be the one process that writes, while the block runs; yields False where it never was.

    Parameters
    ----------
    path : the lock file
    wait : seconds to wait for another process
        0 yields False at once instead of waiting.

    Raises
    ------
    RunError
        Another process held the lock all the time.
    """
    _before("lock", path)
    handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
    try:
        taken = _take(handle, LOCK_SECONDS if wait is None else wait)
        if not taken and wait != 0:
            raise RunError(
                f"Another process has been writing into {path.parent.parent} for "
                f"{LOCK_SECONDS:.0f} seconds. Wait until it is done, or write into a copy: "
                f"run.copy_to(path)."
            )
        yield taken
    finally:
        os.close(handle)  # and with it the lock


def _take(handle: int, wait: float) -> bool:
    if fcntl is None:
        return True
    until, pause = time.monotonic() + wait, 0.0005
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(pause)
            pause = min(pause * 1.5, 0.02)
        except OSError:  # a file system without locks: one writer is the user's promise
            return True


def _write_all(handle: int, data: bytes | memoryview, path: Path) -> None:
    _before("write", path)
    rest = memoryview(data).cast("B") if len(data) else memoryview(b"")
    while rest:
        rest = rest[os.write(handle, rest) :]
