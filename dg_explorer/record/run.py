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

import warnings
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import numpy as np

from ..arguments import checked
from ..errors import DamagedRecordError, RunError, SchemaError
from . import policy
from .blobs import Blobs
from .schema import check_group, is_exact_in_browsers
from .store import state as st
from .store import stopping
from .store.making import check_rank, make, pack
from .store.manifest import SCHEMA_VERSION
from .store.pieces import Held
from .store.places import Folder, absolute, is_url, place_of
from .store.reader import Reader
from .store.writer import Writer
from .tables import examples_dataset
from .writing import RunWriting, now, versions


class Run(RunWriting):
    """One training run as a record. Make one with `Run.create` or `Run.open`."""

    def __init__(self, reader: Reader):
        if not isinstance(reader, Reader):
            raise RunError("A run is made by Run.create(path, name=...) or Run.open(path).")
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
            `label`, `text`, `group`, `thumbnail` (uint8 height x width x channel, or with the
            channel first); any other column is a property that views can colour and analyses can
            compare by: numbers, true or false, text, categories, dates. A missing value is
            missing: NaN, NaT or None.
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
                _check_ids(group, data)
        attrs = {
            "schema_version": SCHEMA_VERSION,
            "name": str(name),
            "seed": seed,
            "time_unit": time_unit,
            "config": config or {},
            "created": now(),
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

    # ------------------------------------------------------------------ the whole record

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
        if self._is_own(path):
            return self
        return Run(make(path, self._complete(), overwrite=overwrite))

    @checked
    def pack(self, path: str | Path) -> Path:
        """Write the whole record as one zip file, which `Run.open` and `explore` read as it is."""
        if self._is_own(path):
            raise RunError(f"{path} is the folder of this run. Give the zip file another name.")
        return pack(self._complete(), path)

    def __reduce__(self):
        """Another process opens the run at its path."""
        if self.path is None:
            raise RunError(
                "This run is in memory only, so no other process can have it. Write it into a "
                "folder first: run.copy_to(path)."
            )
        return Run.open, (self.path,)

    # ------------------------------------------------------------------ inside

    def _is_own(self, path: str | Path | None) -> bool:
        """Whether a path is the run's own folder; `RunError` where it lies inside of it."""
        own = self._reader.place
        if path is None or is_url(path) or not isinstance(own, Folder):
            return False
        there, home = absolute(path).resolve(), own.path.resolve()
        if home in there.parents:
            raise RunError(
                f"{path} is inside the folder of this run, {own.path}, and would be part of all "
                f"later copies of it. Choose a path beside it."
            )
        return there == home

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


def _check_ids(group: str, data) -> None:
    """Say early which ids the board will refuse."""
    ids = data[group.removesuffix("_examples")].values
    if not is_exact_in_browsers(ids):
        warnings.warn(
            f"{group} has ids beyond 2**53. The record holds them exactly, but the board will "
            f"refuse them, since a browser rounds such numbers. Number the examples 0, 1, 2, ... "
            f"and keep the large id as a column of text.",
            stacklevel=4,
        )


def as_run(run: Run | str | Path | None) -> Run:
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
