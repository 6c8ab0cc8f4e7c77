"""Files beside the record (checkpoints): one small API for a folder, a URL, or memory."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from ..errors import RunError

_OWN = re.compile(r"record\.zarr|staging-.*|journal\.bin")  # the record's own names


class Blobs:
    """Named bytes. A blob is there whole or not at all."""

    def __init__(self, path: Path | str | None):
        self.path = path
        self._memory: dict[str, bytes] = {}
        self._fs = None
        if isinstance(path, str):
            import fsspec

            self._fs, self._base = fsspec.core.url_to_fs(path)

    def write(self, name: str, data: bytes) -> None:
        """Write or replace a blob."""
        name = _safe(name)
        if self._fs is not None:
            target = f"{self._base}/{name}"
            self._fs.makedirs(target.rpartition("/")[0], exist_ok=True)
            self._fs.pipe_file(target, data)
        elif self.path is None:
            self._memory[name] = bytes(data)
        else:
            target = self.path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(target.name + ".part")
            part.write_bytes(data)
            os.replace(part, target)

    def read(self, name: str) -> bytes:
        """The bytes of a blob; `RunError` if there is none."""
        name = _safe(name)
        try:
            if self._fs is not None:
                return self._fs.cat_file(f"{self._base}/{name}")
            if self.path is None:
                return self._memory[name]
            return (self.path / name).read_bytes()
        except (KeyError, FileNotFoundError):
            raise RunError(f"This run has no file {name!r}.") from None

    def names(self, prefix: str = "") -> list[str]:
        """The names of all blobs that begin with a prefix, sorted."""
        if self._fs is not None:
            found = [p[len(self._base) :].lstrip("/") for p in self._fs.find(self._base)]
        elif self.path is None:
            found = list(self._memory)
        else:
            found = [
                p.relative_to(self.path).as_posix() for p in self.path.rglob("*") if p.is_file()
            ]
        return sorted(
            name
            for name in found
            if name.startswith(prefix)
            and not _OWN.fullmatch(name.split("/")[0])
            and not name.endswith(".part")
        )


def _safe(name: str) -> str:
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or name.startswith("/") or _OWN.fullmatch(parts[0]):
        raise RunError(f"{name!r} is no name for a file of a run.")
    return "/".join(parts)
