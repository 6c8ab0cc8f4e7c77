"""What changes a run: groups added whole, rows appended, answers kept, notes, deletions."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any

import xarray as xr

from ..arguments import checked
from ..errors import MissingGroupError, RunError, SchemaError
from . import kept, policy
from .kept import ADDED
from .policy import Rows
from .reading import RunReading, missing
from .schema import LABEL_DIMS, check_group, check_labels, check_variables
from .store import state as st
from .store import stopping
from .store.writer import Writer

# packages that are noted with their versions, read from metadata so that nothing is imported
_PACKAGES = ("dg_explorer", "torch", "numpy", "xarray", "zarr", "scikit-learn")
# names promised by the contract of the record's root
_ROOT = ("schema_version", "name", "seed", "time_unit", "config", "created", "versions")


class RunWriting(RunReading):
    """The half of a `Run` that writes."""

    _writer: Writer
    _reader: Any

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
        kept.check_family(family)
        found = f"{family}/1"
        answer = check_group(found, answer)
        new = policy.as_group(found, answer.assign_attrs({ADDED: now()}), made_from)

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
        """Remove a group; groups nested under its name stay, and its number is not given again."""

        def plan(state: st.State) -> st.Operation:
            if group not in state.groups and group not in state.broken:
                raise missing(group, sorted(state.groups))
            return st.Delete(group)

        with self.together():
            self._writer.write(lambda state: kept.give_up(state, group))
            self._writer.write(plan)

    @checked
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

    @checked
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


def now() -> str:
    """The time in UTC, as text."""
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


def versions() -> dict[str, str]:
    """Version of Python and of each package a record depends on; absent ones are left out."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
