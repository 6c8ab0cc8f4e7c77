"""Where a run may live: a folder, a URL or memory; what is there already; what may be made."""

from __future__ import annotations

import os
from pathlib import Path

import xarray as xr
import zarr

from ..errors import NewerSchemaError, NotARunError, ReadOnlyRunError, RunError
from ..schema import SCHEMA_VERSION
from . import storage


def make_room(path: Path, overwrite: bool) -> None:
    """Refuse a folder that holds anything but a run that may be replaced."""
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    is_run = (path / "record.zarr" / "zarr.json").is_file()
    if not is_run:
        raise RunError(f"{path} exists and is not a run, so it is left alone. Choose another path.")
    if not overwrite:
        raise RunError(f"There is a run at {path} already. Open it, or pass overwrite=True.")


def may_write(path: Path) -> bool:
    """Whether this process may write into a folder."""
    return os.access(path, os.W_OK)


def is_url(path) -> bool:
    """Whether a path is an fsspec URL."""
    return isinstance(path, str) and "://" in path


def url_store(url: str):
    """The Zarr store of the run at an fsspec URL."""
    return zarr.storage.FsspecStore.from_url(url.rstrip("/") + "/record.zarr")


def has_root(store) -> bool:
    """Whether a Zarr group is there at all."""
    try:
        zarr.open_group(store, mode="r")
    except (FileNotFoundError, zarr.errors.BaseZarrError):
        return False
    return True


def check_root(store, path) -> None:
    """Raise unless the store holds a run of a schema that this version reads."""
    if not has_root(store):
        raise NotARunError(not_a_run(path))
    version = zarr.open_group(store, mode="r").attrs.get("schema_version")
    if version is None:
        raise NotARunError(f"{path} is a Zarr store but not a run: its root has no schema_version.")
    if version > SCHEMA_VERSION:
        raise NewerSchemaError(
            f"{path} was written with schema {version}; this version reads up to "
            f"{SCHEMA_VERSION}. Upgrade: pip install --upgrade dg_explorer."
        )


def not_a_run(path) -> str:
    """Words for what is at a path instead of a run."""
    if isinstance(path, Path) and not path.exists():
        return f"There is nothing at {path}."
    if isinstance(path, Path) and path.is_dir():
        inside = sorted(p.parent.parent.name for p in path.glob("*/record.zarr/zarr.json"))[:5]
        hint = f" It holds these runs: {', '.join(inside)}." if inside else ""
        return f"{path} is a folder but not a run: it has no record.zarr.{hint}"
    return f"{path} is not a run. A run is a folder made by Run.create."


class Writing:
    """While open, a system's refusal to write becomes an error that says what to do."""

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            raise ReadOnlyRunError(
                f"Cannot write to the run at {self.path}: {error.strerror or error}. "
                f"Use run.copy_to(path) to work on a copy you may write to."
            ) from error


def fill(store, attrs: dict, groups: dict[str, xr.Dataset]) -> None:
    """Write the root of a new record and its first groups."""
    root = zarr.open_group(store, mode="w", zarr_format=3, attributes=attrs)
    for group, data in groups.items():
        storage.write_group(root, group, data)
