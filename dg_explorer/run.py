"""`Run`: everything about one training run, in one labelled record.

Recorders write it, functions add to it, views read it. On disk a run is a folder::

    my_run/
      record.zarr/   groups of labelled arrays (see `dg_explorer.schema`)
      checkpoints/   weights and optimizer states, as safetensors and JSON
      journal.bin    rows not yet in the arrays
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import xarray as xr
import zarr

from .errors import MissingGroupError, NotARunError, ReadOnlyRunError, RunError, SchemaError
from .record import storage
from .record.appending import Appender
from .record.blobs import Blobs
from .record.locations import (
    Writing,
    check_root,
    fill,
    has_root,
    is_url,
    make_room,
    not_a_run,
    url_store,
)
from .record.tables import examples_dataset
from .record.versions import versions
from .schema import SCHEMA_VERSION, check_group

# names promised by the contract of the record's root
_ROOT = ("schema_version", "name", "seed", "time_unit", "config", "created", "versions")


class Run:
    """One training run as a record. Make one with `Run.create` or `Run.open`."""

    def __init__(self, store, path: Path | str | None, blobs: Blobs):
        self.path = path
        self.blobs = blobs
        self._store = store
        self._root = zarr.open_group(store, mode="r+")
        self._appender = Appender(store, self._root, path, self._node)

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
                    group, examples_dataset(table, group.removesuffix("_examples"))
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
        if path is None or is_url(path):
            store = zarr.storage.MemoryStore() if path is None else url_store(path)
            if path is not None and not overwrite and has_root(store):
                raise RunError(
                    f"There is a run at {path} already. Open it, or pass overwrite=True."
                )
            fill(store, attrs, groups)
            return cls(store, path, Blobs(path))
        path = Path(path)
        make_room(path, overwrite)
        staging = path.with_name(path.name + ".creating")
        try:
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir(parents=True)
            fill(zarr.storage.LocalStore(staging / "record.zarr"), attrs, groups)
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
        if is_url(path):
            store = url_store(path)
            check_root(store, path)
            run = cls(store, path, Blobs(path))
        else:
            path = Path(path)
            if not (path / "record.zarr" / "zarr.json").is_file():
                raise NotARunError(not_a_run(path))
            check_root(zarr.storage.LocalStore(path / "record.zarr"), path)
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
        found = set(self._appender.pending)
        self._root = zarr.open_group(self._store, mode="r+")
        for name, node in self._root.members(max_depth=None):
            if isinstance(node, zarr.Group) and storage.COMMITTED in node.attrs:
                found.add(name)
        return sorted(found)

    def __contains__(self, group: str) -> bool:
        return group in self._appender.pending or self._node(group) is not None

    def __getitem__(self, group: str) -> xr.Dataset:
        """A group as a labelled Dataset; values are read when used.

        Raises
        ------
        MissingGroupError
            The record has no such group.
        """
        return storage.open_group(self._store, self._there(group), group)

    def sizes(self, group: str) -> dict[str, int]:
        """The length of each dim of a group, without reading any of its values.

        Raises
        ------
        MissingGroupError
            The record has no such group.
        """
        return storage.sizes(self._there(group))

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
        self._appender.forget(group)
        with Writing(self.path):
            if not isinstance(self.path, Path):
                storage.write_group(self._root, group, data)
                return
            # built aside and moved in place, so that a kill leaves the old group or the new
            record = self.path / "record.zarr"
            staging = self.path / f"staging-{os.getpid()}.zarr"
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
        self._appender.append(group, rows)

    def flush(self) -> None:
        """Move all pending rows into the arrays and let other processes record."""
        self._appender.flush()

    def delete(self, group: str) -> None:
        """Remove a group."""
        if group not in self:
            raise _missing(group, self.groups())
        self.flush()
        self._appender.forget(group)
        del self._root[group]

    def repair(self) -> list[str]:
        """Bring back what a killed process left in the journal, and drop what is torn.

        Returns
        -------
        list of str
            What was done, in words; also in `run.repaired`. Empty if nothing was wrong,
            or while another process is recording.
        """
        return self._appender.repair()

    @property
    def repaired(self) -> list[str]:
        """What repairs there were since this run was opened, in words."""
        return self._appender.repaired

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
                copy._appender.commit(group, data.isel({dim: slice(start, start + rows)}).load())
        for name in self.blobs.names():
            copy.blobs.write(name, self.blobs.read(name))
        return copy

    # ------------------------------------------------------------------ how it shows

    def __repr__(self) -> str:
        return f"Run({self.name!r}: {self._summary()})"

    def _repr_html_(self) -> str:
        from .record.html import run_html

        return run_html(self)

    def _summary(self) -> str:
        parts, groups = [], self.groups()
        for split in ("train", "test"):
            if f"{split}_examples" in groups:
                parts.append(f"{self.sizes(f'{split}_examples')[split]:,} {split} examples")
        if "metrics" in groups:
            parts.append(f"{self.sizes('metrics')['epoch']:,} recorded {self.time_unit}s")
        scores = [group for group in groups if group.startswith("scores/")]
        parts += [f"{group} at {self.sizes(group)['epoch']:,}" for group in scores]
        return ", ".join(parts) or "empty"

    # ------------------------------------------------------------------ inside

    def _there(self, group: str) -> zarr.Group:
        """A group with all its rows in the arrays."""
        if self._appender.pending:
            self.flush()
        node = self._node(group)
        if node is None:
            raise _missing(group, self.groups())
        return node

    def _node(self, group: str) -> zarr.Group | None:
        try:
            node = zarr.open_group(self._store, path=group, mode="r+")
        except (FileNotFoundError, KeyError, ValueError, zarr.errors.BaseZarrError):
            return None
        return node if storage.COMMITTED in node.attrs else None


def _missing(group: str, there: list[str]) -> MissingGroupError:
    hints = {
        "scores": "Add it with attribute(run, model, train, test, method=...).",
        "top_scores": "Add it with attribute(run, model, train, test, method=...).",
        "transitions": "Add it with add_transitions(run).",
        "projections": "Add it with add_projections(run, layer).",
        "features": "Record it with Recorder(..., layers=[...]).",
    }
    return MissingGroupError.of(repr(group), there, hints.get(group.split("/")[0], ""))
