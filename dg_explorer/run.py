"""`Run`: everything about one training run, in one labelled record.

Recorders write it, functions add to it, views read it. On disk a run is a folder::

    my_run/
      record.zarr/   groups of labelled arrays (see `dg_explorer.schema`)
      checkpoints/   weights and optimizer states, as safetensors and JSON
      journal.bin    rows not yet in the arrays
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
import zarr

from . import storage
from .blobs import Blobs
from .errors import (
    MissingGroupError,
    NewerSchemaError,
    NotARunError,
    ReadOnlyRunError,
    RunError,
    SchemaError,
)
from .journal import Journal
from .schema import SCHEMA_VERSION, check_group, check_labels, check_variables
from .versions import versions

_FLUSH_ROWS = 32  # rows kept in the journal before they move into the arrays, per group
_FLUSH_SECONDS = 2.0  # and the longest they wait there, so that a live view keeps up
_DIRECT_BYTES = 4 << 20  # rows this large skip the journal: they would be written twice

# names promised by the contract of the record's root
_ROOT = ("schema_version", "name", "seed", "time_unit", "config", "created", "versions")


class Run:
    """One training run as a record. Make one with `Run.create` or `Run.open`."""

    def __init__(self, store, path: Path | str | None, blobs: Blobs):
        self.path = path
        self.blobs = blobs
        self._store = store
        self._root = zarr.open_group(store, mode="r+")
        local = isinstance(path, Path)
        self._journal = Journal(path / "journal.bin") if local else None
        self._pending: dict[str, list[xr.Dataset]] = {}
        self._last: dict[str, int] = {}  # the last label along time, by group
        self._labels: dict[str, dict] = {}  # the labels along every other dim, by group
        self._flushed_at = time.monotonic()
        self.repaired: list[str] = []

    # ------------------------------------------------------------------ create and open

    @classmethod
    def create(
        cls,
        path: str | Path | None = None,
        *,
        name: str,
        train_examples=None,
        test_examples=None,
        config: dict | None = None,
        seed: int | None = None,
        time_unit: str = "epoch",
        overwrite: bool = False,
    ) -> Run:
        """Begin a record.

        Parameters
        ----------
        path : folder to create, an fsspec URL, or None to keep the run in memory
        name : what views call this run
        train_examples, test_examples : DataFrame, dict of columns, or Dataset
            One row an example. The index (or the coordinate `train` / `test`) holds the example
            ids: unique integers; a dict is numbered from 0. Columns with a meaning of their own:
            `label`, `text`, `group`, `thumbnail` (uint8 height x width x channel); any other
            column is a property that views can colour and analyses can compare by.
        config : anything JSON can hold, kept with the record
        time_unit : "epoch" or "step", what the `epoch` labels of this run count
        overwrite : replace a run that is already there; anything else there is never touched

        Raises
        ------
        RunError
            The path exists already.
        SchemaError
            The examples do not fit the schema. Nothing is written.
        ReadOnlyRunError
            The folder cannot be written.
        """
        if time_unit not in ("epoch", "step"):
            raise SchemaError(f"time_unit is 'epoch' or 'step', not {time_unit!r}.")
        groups = {}
        for group, table in (("train_examples", train_examples), ("test_examples", test_examples)):
            if table is not None:
                groups[group] = check_group(
                    group, _examples(table, group.removesuffix("_examples"))
                )
        attrs = {
            "schema_version": SCHEMA_VERSION,
            "name": str(name),
            "seed": seed,
            "time_unit": time_unit,
            "config": json.loads(json.dumps(config or {})),
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "versions": versions(),
        }
        if path is None or _is_url(path):
            store = zarr.storage.MemoryStore() if path is None else _url_store(path)
            if path is not None and not overwrite and _has_root(store):
                raise RunError(
                    f"There is a run at {path} already. Open it, or pass overwrite=True."
                )
            _fill(store, attrs, groups)
            return cls(store, path, Blobs(path))
        path = Path(path)
        _make_room(path, overwrite)
        staging = path.with_name(path.name + ".creating")
        try:
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir(parents=True)
            _fill(zarr.storage.LocalStore(staging / "record.zarr"), attrs, groups)
            if path.exists():
                shutil.rmtree(path)
            staging.rename(path)
        except OSError as error:
            shutil.rmtree(staging, ignore_errors=True)
            raise ReadOnlyRunError(
                f"Cannot create a run at {path}: {error.strerror or error}. "
                f"Choose a folder you may write to, or path=None to keep the run in memory."
            ) from error
        return cls._open_local(path)

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Open a record; what a killed process left half-written is repaired and listed in
        `run.repaired`. A record that another process is writing is opened as far as it goes.

        Raises
        ------
        NotARunError
            There is no record at the path.
        NewerSchemaError
            A newer version of this package wrote it.
        """
        if _is_url(path):
            store = _url_store(path)
            _check_root(store, path)
            run = cls(store, path, Blobs(path))
        else:
            path = Path(path)
            if not (path / "record.zarr" / "zarr.json").is_file():
                raise NotARunError(_not_a_run(path))
            _check_root(zarr.storage.LocalStore(path / "record.zarr"), path)
            run = cls._open_local(path)
        run.repair()
        return run

    @classmethod
    def _open_local(cls, path: Path) -> Run:
        return cls(zarr.storage.LocalStore(path / "record.zarr"), path, Blobs(path))

    # ------------------------------------------------------------------ what there is

    @property
    def attrs(self) -> dict:
        """Name, seed, configuration, versions: a copy of what the root of the record says."""
        return dict(self._root.attrs)

    @property
    def name(self) -> str:
        return self._root.attrs["name"]

    @property
    def time_unit(self) -> str:
        """What the labels of the dim `epoch` count: "epoch" or "step"."""
        return self._root.attrs["time_unit"]

    def set_attrs(self, **attrs) -> None:
        """Note something about the whole run, under names of your own."""
        if reserved := sorted(set(attrs) & set(_ROOT) - {"name", "config"}):
            raise SchemaError(f"{', '.join(reserved)} are written once, by Run.create.")
        self._root.attrs.update(json.loads(json.dumps(attrs)))

    def groups(self) -> list[str]:
        """The names of all groups that can be read."""
        found = set(self._pending)
        self._root = zarr.open_group(self._store, mode="r+")
        for name, node in self._root.members(max_depth=None):
            if isinstance(node, zarr.Group) and storage.COMMITTED in node.attrs:
                found.add(name)
        return sorted(found)

    def __contains__(self, group: str) -> bool:
        return group in self._pending or self._node(group) is not None

    def __getitem__(self, group: str) -> xr.Dataset:
        """A group as a labelled Dataset; values are read when used.

        Raises
        ------
        MissingGroupError
            The record has no such group.
        """
        if self._pending:
            self.flush()
        node = self._node(group)
        if node is None:
            raise MissingGroupError(_missing(group, self.groups()))
        return storage.open_group(self._store, node, group)

    def epochs(self, group: str = "metrics") -> np.ndarray:
        """The recorded epochs of a group, ascending, int64."""
        data = self[group]
        if "epoch" not in data.coords:
            raise SchemaError(f"{group!r} of this run has no epochs; it has {dict(data.sizes)}.")
        return data["epoch"].values

    # ------------------------------------------------------------------ writing

    def add(self, group: str, data: xr.Dataset, *, overwrite: bool = False) -> None:
        """Add a whole group, all of it or nothing.

        Raises
        ------
        SchemaError
            The data does not fit the schema, or the group is there and `overwrite` is False.
        """
        data = check_group(group, data)
        if group in self and not overwrite:
            raise SchemaError(f"This run has {group!r} already. Pass overwrite=True to replace it.")
        self.flush()
        self._forget(group)
        with self._writing():
            if not isinstance(self.path, Path):
                storage.write_group(self._root, group, data)
                return
            # built aside and moved in place, so that a kill leaves the old group or the new
            record = self.path / "record.zarr"
            staging = self.path / "staging.zarr"
            shutil.rmtree(staging, ignore_errors=True)
            aside = zarr.open_group(zarr.storage.LocalStore(staging), mode="w")
            storage.write_group(aside, group, data)
            self._root.require_group(group.rpartition("/")[0]) if "/" in group else None
            target, old = record / group, staging / "replaced"
            if target.exists():
                target.rename(old)
            (staging / group).rename(target)
            shutil.rmtree(staging, ignore_errors=True)

    def append(self, group: str, rows: xr.Dataset) -> None:
        """Append one or more rows along `epoch` (or `step`); safe against a kill from here on.

        A group begins with its first row. Later rows must carry the same example ids;
        variables they lack are filled (NaN, -1, False, ""), new ones are filled backwards.

        Raises
        ------
        SchemaError
            The rows do not fit the schema or the group, or do not come after its last row.
        RunError
            Another process is recording into this run.
        """
        rows = check_variables(group, rows)
        dim = storage.time_dim(rows)
        if dim is None:
            raise SchemaError(
                f"append needs rows along epoch or step; got dims {dict(rows.sizes)}."
            )
        self._check_fits(group, rows, dim)
        with self._writing():
            if self._journal is not None and not self._journal.lock():
                raise RunError(
                    f"Another process is recording into {self.path}; wait until it is done, "
                    f"or record into a run of its own."
                )
            if rows.nbytes > _DIRECT_BYTES:
                self.flush()
                self._commit(group, rows)
            else:
                if self._journal is not None:
                    self._journal.write(group, rows)
                self._pending.setdefault(group, []).append(rows)
        self._last[group] = int(rows[dim].values[-1])
        waited = time.monotonic() - self._flushed_at > _FLUSH_SECONDS
        if waited or sum(map(len, self._pending.values())) >= _FLUSH_ROWS * len(self._pending):
            self.flush()

    def flush(self) -> None:
        """Move all pending rows into the arrays and let other processes record."""
        with self._writing():
            for group, blocks in list(self._pending.items()):
                for block in _joined(blocks):
                    self._commit(group, block)
                del self._pending[group]
            if self._journal is not None and self._journal.lock():
                self._journal.clear()
                self._journal.unlock()
        self._flushed_at = time.monotonic()

    def delete(self, group: str) -> None:
        """Remove a group."""
        if group not in self:
            raise MissingGroupError(_missing(group, self.groups()))
        self.flush()
        self._forget(group)
        del self._root[group]

    def repair(self) -> list[str]:
        """Bring back what a killed process left in the journal, and drop what is torn.

        Returns
        -------
        list of str
            What was done, in words; also in `run.repaired`. Empty if nothing was wrong,
            or while another process is recording.
        """
        if self._journal is None or not self._journal.path.exists():
            frames = []
        elif not _may_write(self.path) or not self._journal.lock():
            return []
        else:
            frames = self._journal.frames()
        done = []
        for name, node in list(self._root.members(max_depth=None)):
            if not isinstance(node, zarr.Group) or not list(node.array_keys()):
                continue
            if storage.COMMITTED not in node.attrs:
                done.append(f"{name}: dropped, it was being created")
                del self._root[name]
            elif dropped := storage.trim(node):
                done.append(f"{name}: dropped {dropped} torn row{'s' * (dropped > 1)}")
        restored: dict[str, int] = {}
        for group, rows in frames:
            dim = storage.time_dim(rows)
            last = self._last_label(group, dim)
            rows = rows.isel({dim: rows[dim].values > (-(2**62) if last is None else last)})
            if rows.sizes[dim]:
                self._commit(group, rows)
                self._last.pop(group, None)
                restored[group] = restored.get(group, 0) + rows.sizes[dim]
        done += [
            f"{g}: restored {n} row{'s' * (n > 1)} from the journal" for g, n in restored.items()
        ]
        if self._journal is not None and self._journal.path.exists():
            self._journal.clear()
            self._journal.unlock()
        self.repaired += done
        return done

    def copy_to(self, path: str | Path, *, overwrite: bool = False) -> Run:
        """Copy the whole record, checkpoints included, and return the copy."""
        self.flush()
        attrs = self.attrs
        copy = Run.create(path, name=self.name, time_unit=self.time_unit, overwrite=overwrite)
        copy._root.attrs.update(attrs)
        for group in self.groups():
            data = self[group]
            dim = storage.time_dim(data)
            if dim is None or data.nbytes < 64 << 20:
                copy.add(group, data.load())
                continue
            rows = max(1, int((64 << 20) * data.sizes[dim] // data.nbytes))
            for start in range(0, data.sizes[dim], rows):
                copy._commit(group, data.isel({dim: slice(start, start + rows)}).load())
        for name in self.blobs.names():
            copy.blobs.write(name, self.blobs.read(name))
        return copy

    # ------------------------------------------------------------------ how it shows

    def __repr__(self) -> str:
        return f"Run({self.name!r}: {self._summary()})"

    def _repr_html_(self) -> str:
        from .run_html import run_html

        return run_html(self)

    def _summary(self) -> str:
        parts = []
        for split in ("train", "test"):
            if f"{split}_examples" in self:
                parts.append(f"{self[f'{split}_examples'].sizes[split]:,} {split} examples")
        if "metrics" in self:
            parts.append(f"{len(self.epochs()):,} recorded {self.time_unit}s")
        scores = [group for group in self.groups() if group.startswith("scores/")]
        parts += [f"{g} at {len(self.epochs(g)):,}" for g in scores]
        return ", ".join(parts) or "empty"

    # ------------------------------------------------------------------ inside

    def _node(self, group: str) -> zarr.Group | None:
        try:
            node = zarr.open_group(self._store, path=group, mode="r+")
        except (FileNotFoundError, KeyError, ValueError, zarr.errors.BaseZarrError):
            return None
        return node if storage.COMMITTED in node.attrs else None

    def _commit(self, group: str, rows: xr.Dataset) -> None:
        if self._node(group) is None:
            storage.write_group(self._root, group, rows)
        else:
            storage.append_rows(self._root, group, rows)

    def _forget(self, group: str) -> None:
        self._last.pop(group, None)
        self._labels.pop(group, None)

    def _last_label(self, group: str, dim: str) -> int | None:
        if group not in self._last:
            node = self._node(group)
            if node is None or node.attrs[storage.COMMITTED] == 0:
                return None
            self._last[group] = int(node[dim][node.attrs[storage.COMMITTED] - 1])
        return self._last[group]

    def _check_fits(self, group: str, rows: xr.Dataset, dim: str) -> None:
        check_labels(group, rows, dim)
        last, first = self._last_label(group, dim), int(rows[dim].values[0])
        if last is None:  # the group begins here, so its labels are checked in full, once
            check_group(group, rows)
            self._labels[group] = _labels_of(rows, dim)
            return
        if first <= last:
            raise SchemaError(
                f"{group!r} already reaches {dim} {last}; a row for {dim} {first} must come after "
                f"it. To replace the group use run.delete({group!r}) first."
            )
        if group not in self._labels:
            there = storage.open_group(self._store, self._node(group), group)
            self._labels[group] = _labels_of(there, dim)
        for name, (size, labels) in self._labels[group].items():
            if name not in rows.sizes:
                continue
            same = rows.sizes[name] == size
            if same and labels is not None and name in rows.coords:
                same = np.array_equal(rows.coords[name].values, labels)
            if not same:
                raise SchemaError(
                    f"{group!r} was begun with {size} labels along {name!r}; the new row has "
                    f"{rows.sizes[name]}, not the same ones in the same order. Rows of one group "
                    f"share their labels: reindex, or add another group."
                )

    def _writing(self):
        return _ReadOnlyGuard(self.path)


class _ReadOnlyGuard:
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


def _examples(table, dim: str) -> xr.Dataset:
    if isinstance(table, xr.Dataset):
        return table
    if isinstance(table, dict):
        arrays = {name: np.asarray(column) for name, column in table.items()}
        n = len(next(iter(arrays.values()))) if arrays else 0
        dims = {"thumbnail": (dim, "height", "width", "channel")}
        ids = arrays.pop(dim, np.arange(n))
        if "thumbnail" in arrays and arrays["thumbnail"].ndim == 3:
            arrays["thumbnail"] = arrays["thumbnail"][..., None]
        return xr.Dataset(
            {name: (dims.get(name, (dim,)), values) for name, values in arrays.items()},
            {dim: ids},
        )
    if isinstance(table, pd.DataFrame):
        columns = {name: (dim, column.to_numpy()) for name, column in table.items()}
        return xr.Dataset(columns, {dim: table.index.to_numpy()})
    raise SchemaError(
        f"{dim}_examples takes a DataFrame, a dict of columns or a Dataset, "
        f"not {type(table).__name__}."
    )


def _fill(store, attrs: dict, groups: dict[str, xr.Dataset]) -> None:
    root = zarr.open_group(store, mode="w", zarr_format=3, attributes=attrs)
    for group, data in groups.items():
        storage.write_group(root, group, data)


def _labels_of(data: xr.Dataset, time: str) -> dict[str, tuple[int, np.ndarray | None]]:
    return {
        dim: (size, data.coords[dim].values if dim in data.coords else None)
        for dim, size in data.sizes.items()
        if dim != time
    }


def _joined(blocks: list[xr.Dataset]) -> list[xr.Dataset]:
    """Neighbouring blocks with the same variables, each stretch as one block."""
    dim, stretches = storage.time_dim(blocks[0]), []
    for block in blocks:
        if stretches and set(stretches[-1][0].variables) == set(block.variables):
            stretches[-1].append(block)
        else:
            stretches.append([block])
    return [_concat(stretch, dim) for stretch in stretches]


def _concat(blocks: list[xr.Dataset], dim: str) -> xr.Dataset:
    if len(blocks) == 1:
        return blocks[0]
    first = blocks[0]  # plain arrays: xr.concat spends its time comparing labels already compared
    joined = {
        name: (
            array.dims,
            np.concatenate([b.variables[name].values for b in blocks], array.dims.index(dim))
            if dim in array.dims
            else array.values,
            array.attrs,
        )
        for name, array in first.variables.items()
    }
    coords = {name: joined.pop(name) for name in first.coords}
    return xr.Dataset(joined, coords, blocks[-1].attrs)


def _make_room(path: Path, overwrite: bool) -> None:
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    is_run = (path / "record.zarr" / "zarr.json").is_file()
    if not is_run:
        raise RunError(f"{path} exists and is not a run, so it is left alone. Choose another path.")
    if not overwrite:
        raise RunError(f"There is a run at {path} already. Open it, or pass overwrite=True.")


def _may_write(path: Path) -> bool:
    import os

    return os.access(path, os.W_OK)


def _is_url(path) -> bool:
    return isinstance(path, str) and "://" in path


def _url_store(url: str):
    return zarr.storage.FsspecStore.from_url(url.rstrip("/") + "/record.zarr")


def _has_root(store) -> bool:
    try:
        zarr.open_group(store, mode="r")
    except (FileNotFoundError, zarr.errors.BaseZarrError):
        return False
    return True


def _check_root(store, path) -> None:
    if not _has_root(store):
        raise NotARunError(_not_a_run(path))
    version = zarr.open_group(store, mode="r").attrs.get("schema_version")
    if version is None:
        raise NotARunError(f"{path} is a Zarr store but not a run: its root has no schema_version.")
    if version > SCHEMA_VERSION:
        raise NewerSchemaError(
            f"{path} was written with schema {version}; this version reads up to "
            f"{SCHEMA_VERSION}. Upgrade: pip install --upgrade dg_explorer."
        )


def _not_a_run(path) -> str:
    if isinstance(path, Path) and not path.exists():
        return f"There is nothing at {path}."
    if isinstance(path, Path) and path.is_dir():
        inside = sorted(p.parent.parent.name for p in path.glob("*/record.zarr/zarr.json"))[:5]
        hint = f" It holds these runs: {', '.join(inside)}." if inside else ""
        return f"{path} is a folder but not a run: it has no record.zarr.{hint}"
    return f"{path} is not a run. A run is a folder made by Run.create."


def _missing(group: str, there: list[str]) -> str:
    hints = {
        "scores": "Add it with attribute(run, model, train, test, method=...).",
        "top_scores": "Add it with attribute(run, model, train, test, method=...).",
        "transitions": "Add it with add_transitions(run).",
        "projections": "Add it with add_projections(run, layer).",
        "features": "Record it with Recorder(..., layers=[...]).",
    }
    hint = hints.get(group.split("/")[0], "")
    return (
        f"This run has no {group!r}; it has {', '.join(there) or 'no groups yet'}. {hint}".strip()
    )
