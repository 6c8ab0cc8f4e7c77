"""`Run`: everything about one training run, in one labelled record.

Recorders write it, functions add to it, views read it. On disk a run is a folder::

    my_run/
      record/
        manifest.jsonl   what there is, one line a group
        journal-000003   what was written since
        rows/ ...        values, in files that are never changed

`docs/format.md` describes the files, so that they can be read without this package.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path

import numpy as np
import xarray as xr

from ..arguments import checked
from ..errors import DamagedRecordError, MissingGroupError, RunError, SchemaError
from . import kept, policy
from .blobs import Blobs
from .kept import ADDED
from .policy import Rows
from .reading import RunReading, missing
from .schema import LABEL_DIMS, check_group, check_labels, check_variables
from .store import state as st
from .store import stopping
from .store.making import check_rank, make, pack
from .store.manifest import SCHEMA_VERSION
from .store.pieces import Held
from .store.places import Folder, is_url, place_of
from .store.reader import Reader
from .store.writer import Writer
from .tables import examples_dataset
from .versions import versions

# names promised by the contract of the record's root
_ROOT = ("schema_version", "name", "seed", "time_unit", "config", "created", "versions")


class Run(RunReading):
    """One training run as a record. Make one with `Run.create` or `Run.open`."""

    def __init__(self, reader: Reader):
        self._reader = reader
        self._writer = Writer(reader)
        place = reader.place
        self.path: Path | str | None = None if place is None else place.path
        self.blobs = Blobs(self._writer, place)

    # ------------------------------------------------------------------ create and open

    @classmethod
    @checked
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
            column is a property that views can colour and analyses can compare by: numbers, true
            or false, text, categories, dates. A missing value is missing: NaN, NaT or None.
        config : anything JSON can hold, kept with the record
        time_unit : "epoch" or "step", what the `epoch` labels of this run count
        overwrite : replace a run that is already there; anything else there is never touched

        Raises
        ------
        RunError
            The path exists already, or this is not the first process of a distributed training.
        SchemaError
            The examples do not fit the schema. Nothing is written.
        ReadOnlyRunError
            The folder cannot be written.
        """
        if path is not None:  # what is in memory is each process's own
            check_rank()
        if time_unit not in ("epoch", "step"):
            raise SchemaError(f"time_unit is 'epoch' or 'step', not {time_unit!r}.")
        groups = {}
        for group, table in (("train_examples", train_examples), ("test_examples", test_examples)):
            if table is not None:
                data = examples_dataset(table, group.removesuffix("_examples"))
                groups[group] = policy.as_group(group, check_group(group, data))
        attrs = {
            "schema_version": SCHEMA_VERSION,
            "name": str(name),
            "seed": seed,
            "time_unit": time_unit,
            "config": config or {},
            "created": _now(),
            "versions": versions(),
        }
        state = st.State(policy.plain_attrs("the run", attrs), groups)
        return cls(make(path, state, overwrite=overwrite))

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Open a record: a folder, a packed zip file, or an fsspec URL.

        A record that another process is writing is seen as far as that has got, also later.
        Files that a killed process left are removed, if this process may; `run.repaired` says so.

        Raises
        ------
        NotARunError
            There is no record at the path.
        NewerSchemaError
            A newer version of this package wrote it.
        DamagedRecordError
            The manifest cannot be read. Where a single group is damaged the rest opens, with a
            warning.
        """
        run = cls(cls._reader_of(path))
        # where nothing can be written the record is read as it is
        with suppress(RunError, OSError):
            run._writer.tidy()
        return run

    @classmethod
    def from_checkpoints(cls, source, model, train, test=None, *, path=None, **settings) -> Run:
        """Make a run from checkpoints of a training that is over: evaluate the model at each.

        ::

            run = dg.Run.from_checkpoints("checkpoints", model, train, test, path="my_run")
            dg.complete(run, model, train, test)
            dg.explore(run)

        Fills `metrics`, `dynamics`, `features` and `checkpoints`. Each checkpoint is recorded whole
        or not at all: interrupted, the same call goes on where it stopped. The model itself stays
        as it is.

        Parameters
        ----------
        source : folder, file, mapping, list or run
            As for `model_checkpoints`.
        model : module
            Of the architecture that the checkpoints were saved from; for adapters the base model
            with its adapters.
        train, test : data set or loader
            As for `Recorder`. Ids come with the examples, or are their places.
        path : folder of the new run, or of one to go on with; None keeps it in memory
        name : str, optional
            What views call this run.
        epochs, pattern, weights, key
            Which checkpoints, and which weights of them: as for `model_checkpoints`.
        prefix : str, optional
            What the names of this model begin with in checkpoints of several networks.
        train_examples, test_examples : DataFrame, dict of columns, or Dataset, optional
            As for `Run.create`; by default ids, and labels where each is one number.
        progress : bool
            Say what was found, and show a bar.
        **settings
            Further settings of `Recorder`: `layers`, `forward`, `label`, `task`, `batch_size`,
            `feature_every`, `feature_examples`, `augment`.

        Raises
        ------
        CheckpointError
            It is unclear which checkpoint is of which moment (the candidates are shown), or the
            run at `path` was made from others.
        ArchitectureMismatchError, UnsafeCheckpointError, ShuffledLoaderError, TaskUnclearError
            As `load_into`, `model_checkpoints` and `Recorder` say. Nothing was written before
            the first checkpoint fits the model.
        """
        # the recorder stands on the record, and is asked for by name, so that opening a run stays
        # free of torch
        made = import_module("..recording.from_checkpoints", __package__)
        return made.run_from_checkpoints(source, model, train, test, path=path, **settings)

    @staticmethod
    def _reader_of(path: str | Path) -> Reader:
        if not is_url(path) and not isinstance(path, (str, Path)):
            raise RunError(
                f"A run is opened by its path, not by a {type(path).__name__}: {path!r}."
            )
        reader = Reader(place_of(path))
        for name, why in reader.look().state.broken.items():
            warnings.warn(
                f"{name!r} of the run at {path} cannot be read: {why}. The rest can.", stacklevel=3
            )
        return reader

    # ------------------------------------------------------------------ writing

    def add(
        self,
        group: str,
        data: xr.Dataset,
        *,
        overwrite: bool = False,
        whole: bool = False,
        made_from: dict | None = None,
    ) -> None:
        """Add a whole group, all of it or nothing; groups nested under its name stay.

        Parameters
        ----------
        overwrite : replace what is there
            Of a group that is recorded or scored row by row (metrics, dynamics, features, scores,
            ...) the rows of the same epochs, and no others; any other group as a whole.
        whole : with overwrite, rows of other epochs go too
        made_from : what the data were computed from
            Names (weights, data, task, settings, version, ...) to digests or words.

        Raises
        ------
        SchemaError
            The data does not fit the schema; the group is there and `overwrite` is False; or the
            rows were made otherwise than those they would stand beside.
        """
        new = policy.as_group(group, check_group(group, data), made_from)
        self._write(
            group,
            lambda state: policy.plan_add(state, group, new, overwrite=overwrite, whole=whole),
        )

    def append(
        self,
        group: str,
        rows: xr.Dataset | Rows,
        *,
        overwrite: bool = False,
        made_from: dict | None = None,
    ) -> None:
        """Add one or more rows along `epoch` (or `step`); safe against a kill from here on.

        A group begins with its first row. Other rows must carry the same example ids and may
        come in any order; variables that they lack are missing (NaN; None for text; for those the
        schema names what it says), and so are new ones in the rows before.

        Parameters
        ----------
        overwrite : replace rows that are there
        made_from : what the rows were computed from
            Names (weights, data, task, settings, version, ...) to digests or words.

        Raises
        ------
        SchemaError
            The rows do not fit the schema or the group, a row is there already, or no type holds
            the values of old and new rows.
        """
        if isinstance(rows, Rows) and made_from is None:
            self._write(
                group,
                lambda state: policy.plan_append(
                    state,
                    group,
                    rows.like(state.groups.get(group)) or _new_rows(group, rows.dataset(), None),
                    overwrite=overwrite,
                ),
            )
            return
        new = _new_rows(group, rows.dataset() if isinstance(rows, Rows) else rows, made_from)
        self._write(group, lambda state: policy.plan_append(state, group, new, overwrite=overwrite))

    def keep(
        self,
        family: str,
        answer: xr.Dataset,
        *,
        made_from: dict | None = None,
    ) -> str:
        """Add an answer beside all earlier ones of its family; return the group it is in.

        ::

            run.keep("checks/removal", result)  # checks/removal/3
            run["checks/removal"]  # the newest
            run.kept("checks/removal")  # all of them; run.delete(one) gives one up

        Parameters
        ----------
        family : "checks/<kind>", "exposures/<method>", "analyses/<name>"
        made_from : what the answer was computed from
            Names (weights, data, task, settings, version, ...) to digests or words.

        Raises
        ------
        SchemaError
            The answer does not fit the schema. The very same answer is not kept twice: the group
            that has it is returned.
        """
        found = f"{family}/1"
        answer = check_group(found, answer)
        new = policy.as_group(found, answer.assign_attrs({ADDED: _now()}), made_from)

        def plan(state: st.State) -> st.Operation | None:
            nonlocal found
            found, operation = kept.plan(state, family, new)
            return operation

        with self.together():
            for request in kept.moves(self._state().groups, family):
                self._writer.write(request)
            self._writer.write(plan)
        return found

    def set_attrs(self, **attrs) -> None:
        """Note something about the whole run, under names of your own."""
        if reserved := sorted(set(attrs) & set(_ROOT) - {"name", "config"}):
            raise SchemaError(f"{', '.join(reserved)} are written once, by Run.create.")
        plain = policy.plain_attrs("the run", attrs)
        self._writer.write(lambda state: st.SetAttrs(plain))

    @checked
    def delete(self, group: str) -> None:
        """Remove a group; groups nested under its name stay."""

        def plan(state: st.State) -> st.Operation:
            if group not in state.groups and group not in state.broken:
                raise missing(group, sorted(state.groups))
            return st.Delete(group)

        self._writer.write(plan)

    def delete_query(self, name: str) -> None:
        """Remove a query set and all its scores.

        Raises
        ------
        MissingGroupError
            There is none of this name; says which there are.
        """
        if name not in self.queries():
            there = ", ".join(map(repr, self.queries())) or "none"
            raise MissingGroupError(f"This run has no query set {name!r}; it has {there}.")
        mine = (f"queries/{name}/", f"by_layer/queries/{name}/")
        with self.together():
            for group in self.groups():
                if f"{group}/".startswith(mine):
                    self.delete(group)

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is written inside goes into the record at once, at the end; or none of it does.

        ::

            with run.together():
                run.append("dynamics/train", row)
                run.append("metrics", totals)
        """
        with self._writer.together():
            yield

    def note_stopped(self, why: str) -> bool:
        """Note that a recording stopped, even where nothing more can be written; "" takes it back.

        Returns
        -------
        bool
            Whether the note is in the record, and not only beside it.
        """
        stopping.note(self._reader.place, why)
        if not why and not self.attrs.get(stopping.STOPPED):
            return True
        try:
            self.set_attrs(**{stopping.STOPPED: why})
        except (RunError, OSError):
            return False
        return True

    def flush(self) -> None:
        """Move rows from the journal into files of their own; they are safe without."""
        self._writer.settle()

    def repair(self) -> list[str]:
        """Remove what killed processes left; return what was done, in words."""
        before = len(self._writer.done)
        self._writer.settle()
        return self._writer.done[before:]

    @property
    def repaired(self) -> list[str]:
        """What was put right since this run was opened, and where its recording stopped."""
        return [*self._writer.done, *stopping.stopped(self._reader.place, self._state())]

    @checked
    def copy_to(self, path: str | Path | None, *, overwrite: bool = False) -> Run:
        """Copy the whole record, checkpoints included, and return the copy.

        Everything is checked on the way. A copy to the run's own path is the run itself.

        Raises
        ------
        DamagedRecordError
            Something of this run is damaged; nothing is copied.
        """
        own = self._reader.place
        folder = None if path is None or is_url(path) else Path(path)
        if folder and isinstance(own, Folder) and folder.resolve() == own.path.resolve():
            return self
        return Run(make(path, self._complete(), overwrite=overwrite))

    @checked
    def pack(self, path: str | Path) -> Path:
        """Write the whole record as one zip file, which `Run.open` and `explore` read as it is."""
        return pack(self._complete(), path)

    # ------------------------------------------------------------------ inside

    def _state(self) -> st.State:
        return self._writer.state()

    def _write(self, group: str, plan) -> None:
        def careful(state: st.State) -> st.Operation:
            operation = plan(state)
            if group in state.broken and not isinstance(operation, st.SetGroup):
                self._there(group)
            return operation

        self._writer.write(careful)

    def _complete(self) -> st.State:
        """The state with all files of the folder in it."""
        state = self._state()
        if state.broken:
            raise DamagedRecordError(
                f"The run at {self.path} is damaged: "
                f"{'; '.join(f'{name}: {why}' for name, why in state.broken.items())}."
            )
        plain = [name for name in self.blobs.names() if name not in state.blobs]
        found = {name: Held(np.frombuffer(self.blobs.read(name), np.uint8)) for name in plain}
        return st.State(state.attrs, state.groups, state.blobs | found)


def as_run(run: Run | str | Path) -> Run:
    """A run, or the one at a path.

    Raises
    ------
    RunError
        It is neither.
    """
    if isinstance(run, Run):
        return run
    if isinstance(run, (str, Path)):
        return Run.open(run)
    raise RunError(
        f"A run, or the path of one, is needed here, not a {type(run).__name__}: "
        f"dg_explorer.Run.open(path), or Run.create(path, name=...)."
    )


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _new_rows(group: str, rows: xr.Dataset, made_from: dict | None) -> st.Group:
    """Rows in the record's form, or `SchemaError` saying what is off."""
    rows = check_variables(group, rows)
    if policy.time_dim(rows) is None:
        raise SchemaError(f"append needs rows along epoch or step; got dims {dict(rows.sizes)}.")
    for dim in LABEL_DIMS:
        if dim in rows.dims:
            check_labels(group, rows, dim)
    return policy.as_group(group, rows, made_from)
