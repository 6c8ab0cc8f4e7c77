"""What a run says of itself, and the reading of its groups; nothing here writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import xarray as xr

from ..arguments import checked
from ..errors import DamagedRecordError, MissingGroupError, SchemaError
from .datasets import dataset
from .kept import families, meant, members
from .store import state as st


class RunReading:
    """The half of a `Run` that reads."""

    @property
    def attrs(self) -> dict:
        """Name, seed, configuration, versions: a copy of what the root of the record says."""
        return json.loads(json.dumps(self._state().attrs))

    @property
    def name(self) -> str:
        return self._state().attrs["name"]

    @property
    def time_unit(self) -> str:
        """What the labels of the dim `epoch` count: "epoch" or "step"."""
        return self._state().attrs["time_unit"]

    def groups(self) -> list[str]:
        """The names of all groups that can be read."""
        return sorted(self._state().groups)

    def __contains__(self, group: str) -> bool:
        groups = self._state().groups
        return group in groups or meant(groups, group) is not None

    def __getitem__(self, group: str) -> xr.Dataset:
        """A group as a labelled Dataset; values are read, and checked, when used.

        The name of a family of kept answers (`run["checks/removal"]`) means the newest of them.

        Raises
        ------
        MissingGroupError
            The record has no such group.
        DamagedRecordError
            Here or when values are used: they are not those that were written.
        """
        group = meant(self._state().groups, group) or group
        return dataset(self._there(group), group, lambda: self._there(group))

    @checked
    def sizes(self, group: str) -> dict[str, int]:
        """The length of each dim of a group, without reading any of its values.

        Raises
        ------
        MissingGroupError
            The record has no such group.
        """
        return dict(self._there(group).sizes)

    @checked
    def epochs(self, group: str = "metrics") -> np.ndarray:
        """The recorded epochs of a group, ascending, int64."""
        found = self._there(group)
        if found.dim == "epoch":
            return found.labels.copy()
        if "epoch" in found.coords:
            return self[group]["epoch"].values
        raise SchemaError(f"{group!r} of this run has no epochs; it has {found.sizes}.")

    @checked
    def made_from(self, group: str) -> dict:
        """What a group was made from: names to digests or words, as its writer gave them.

        For a group that grows, by label along time; where a row says nothing, it is left out.
        """
        found = self._there(group)
        if found.dim is None:
            return dict(found.made_from or {})
        return {
            int(label): dict(block.made_from)
            for block in found.blocks
            if block.made_from
            for label in block.labels[block.rows]
        }

    @checked
    def kept(self, family: str) -> list[str]:
        """The groups of all answers of a family, such as "checks/removal", oldest first.

        `run[family]` is the newest of them.
        """
        return members(self.groups(), family)

    @checked
    def checks(self, kind: str | None = None) -> list[str]:
        """The groups of all checks of the scores that were made, those of a kind oldest first."""
        groups = self.groups()
        kinds = families(groups, "checks/") if kind is None else [f"checks/{kind}"]
        return [name for family in kinds for name in members(groups, family)]

    def queries(self) -> list[str]:
        """The names of all query sets; `queries/<name>` says what they ask."""
        prefix = "queries/"
        found = [name[len(prefix) :] for name in self.groups() if name.startswith(prefix)]
        return [name for name in found if "/" not in name]

    # ------------------------------------------------------------------ how it shows

    def __repr__(self) -> str:
        return f"Run({self.name!r}: {self._summary()})"

    def _repr_html_(self) -> str:
        from .html import run_html

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

    path: Path | str | None

    def _state(self) -> st.State:
        raise NotImplementedError

    def _there(self, group: str) -> st.Group:
        state = self._state()
        group = meant(state.groups, group) or group
        if group in state.groups:
            return state.groups[group]
        if group in state.broken:
            raise DamagedRecordError(
                f"{group!r} of the run at {self.path} cannot be read: {state.broken[group]}. Copy "
                f"the run again from where it was recorded, or give the group up: "
                f"run.delete({group!r})."
            )
        raise missing(group, sorted(state.groups), state.broken)


def missing(group: str, there: list[str], broken: dict | None = None) -> MissingGroupError:
    """The error that says which groups there are, and how the one asked for is added."""
    hints = {
        "scores": "Add it with attribute(run, model, train, test, method=...).",
        "transitions": "Add it with add_transitions(run).",
        "projections": "Add it with add_projections(run, layer).",
        "queries": "Ask with attribute(run, model, train, query=QuerySet(...)).",
        "features": "Record it with Recorder(..., layers=[...]).",
    }
    hint = hints.get(group.split("/")[0], "")
    if broken:
        hint = f"Damaged: {'; '.join(f'{name}: {why}' for name, why in broken.items())}. {hint}"
    return MissingGroupError.of(repr(group), there, hint)
