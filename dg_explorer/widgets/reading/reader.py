"""What a board reads from a run, read once: ids, classes, groups, epochs, methods."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import xarray as xr

from ...errors import DataError, MissingGroupError, UnknownExampleError
from ...record.kept import members
from ...record.schema import is_exact_in_browsers
from ...run import Run

SPLITS = ("train", "test")
_SMALL = 128 << 20  # bytes of a group that are worth holding
_MANY = 16_000_000  # predictions that are looked through for classes that are no label

_METHOD_NAMES = {
    "trak": "TRAK",
    "tracin": "TracIn",
    "gradient_dot": "Gradient dot product",
    "gradient_cosine": "Gradient cosine",
    "influence": "Influence functions",
    "ekfac": "EK-FAC",
    "unrolled": "Unrolled (exact)",
    "feature_knn": "Feature neighbours",
    "representation": "Representation similarity",
}


class RunReader:
    """Labelled reading with the vocabularies that codes in the browser refer to."""

    def __init__(self, run: Run):
        self.run = run
        self._groups = set(run.groups())
        self._open: dict[str, xr.Dataset] = {}

    def has(self, group: str) -> bool:
        return group in self._groups

    def group(self, name: str) -> xr.Dataset:
        if name not in self._open:
            data = self.run[name]
            # a board reads row by row, which is slow from a store
            small = data.nbytes <= _SMALL and not name.startswith("features/")
            self._open[name] = data.load() if small else data
        return self._open[name]

    def forget(self) -> None:
        """Let go of every group that is held in memory."""
        self._open.clear()

    def sizes(self, name: str) -> dict[str, int]:
        """The length of each dim of a group, which need not be opened for it."""
        if name in self._open:
            return {str(dim): size for dim, size in self._open[name].sizes.items()}
        return self.run.sizes(name)

    def family(self, prefix: str) -> list[str]:
        """The members of a family of groups: `family("scores/")` gives method names."""
        return sorted(g[len(prefix) :] for g in self._groups if g.startswith(prefix))

    def newest(self, family: str) -> str | None:
        """The newest answer of a family, such as "exposures/unrolled"; None where there is none."""
        there = members(self._groups, family)
        return there[-1] if there else None

    def ids(self, split: str) -> np.ndarray:
        """The ids of a split in the record's order; those of the dynamics where no table is.

        Raises
        ------
        DataError
            An id that a browser would round to another one.
        """
        return self._ids[split]

    @cached_property
    def _ids(self) -> dict[str, np.ndarray]:
        found = {split: self._ids_there(split) for split in SPLITS}
        for split, ids in found.items():
            if not is_exact_in_browsers(ids):
                large = max(ids.tolist(), key=abs)
                raise DataError(
                    f"The board cannot tell the {split} examples of this run apart: their ids go "
                    f"beyond 2**53 ({large}), and a browser rounds such numbers. Number the "
                    f"examples 0, 1, 2, ... and keep the large id as a column of text: "
                    f"Run.create(..., {split}_examples={{'name': ids.astype(str), ...}}). The "
                    f"record itself, and all that is computed from it, is exact."
                )
        return found

    def _ids_there(self, split: str) -> np.ndarray:
        for group in (f"{split}_examples", f"dynamics/{split}"):
            if self.has(group):
                return self.group(group)[split].values
        for method in self.methods:
            data = self.scores(method)
            if split in data.coords:
                return data[split].values
        return np.zeros(0, np.int64)

    def positions(self, split: str, ids: np.ndarray) -> np.ndarray:
        """Rows of the example table for ids; `UnknownExampleError` for an id it lacks."""
        known = self._index[split]
        found = known.get_indexer(np.asarray(ids))
        if (found < 0).any():
            missing = np.asarray(ids)[found < 0][0]
            raise UnknownExampleError(
                f"No {split} example has the id {missing}; this run has {len(known):,}, "
                f"ids {known.min()} to {known.max()}."
            )
        return found

    @cached_property
    def _index(self):
        import pandas as pd

        return {split: pd.Index(self.ids(split)) for split in SPLITS}

    @cached_property
    def epochs(self) -> np.ndarray:
        """All epochs at which anything on the board is recorded, ascending."""
        groups = ["metrics", "dynamics/train", "dynamics/test"]
        groups += [f"scores/{m}" for m in self.family("scores/")]
        groups += [f"top_scores/{m}" for m in self.family("top_scores/")]
        found = [self.group(g)["epoch"].values for g in groups if self.has(g)]
        return np.unique(np.concatenate(found)) if found else np.zeros(0, np.int64)

    @cached_property
    def classes(self) -> list[str]:
        """Names of all labels and predictions; a code is a position in this list."""
        return [self._class_name(value) for value in self._class_values]

    @cached_property
    def _class_values(self) -> np.ndarray:
        found = []
        for split in SPLITS:
            if self.has(f"{split}_examples") and "label" in self.group(f"{split}_examples"):
                found.append(np.unique(self.group(f"{split}_examples")["label"].values))
            if self.has(f"dynamics/{split}") and "prediction" in self.group(f"dynamics/{split}"):
                said = self.group(f"dynamics/{split}")["prediction"]
                # what was never a label and is only now and then predicted may stay nameless
                some = slice(None, None, max(1, said.size // _MANY))
                seen = np.unique(said.isel(epoch=slice(None, None, -1)).isel(epoch=some).values)
                found.append(seen[seen >= 0])
        return np.unique(np.concatenate(found)) if found else np.zeros(0, np.int64)

    def _class_name(self, value) -> str:
        names = self.run.attrs.get("class_names") or self.run.attrs["config"].get("class_names")
        if isinstance(names, dict) and str(value) in names:
            return str(names[str(value)])
        if isinstance(names, list) and value == int(value) and 0 <= value < len(names):
            return str(names[int(value)])
        return f"{value:g}" if isinstance(value, np.floating) else str(value)

    def class_codes(self, values: np.ndarray) -> np.ndarray:
        """Codes of labels or predictions, -1 for those that stand for nothing."""
        known = self._class_values
        if not len(known):
            return np.full(np.shape(values), -1, np.int32)
        at = np.clip(np.searchsorted(known, values), 0, len(known) - 1)
        return np.where(known[at] == values, at, -1).astype(np.int32)

    @cached_property
    def label_counts(self) -> np.ndarray:
        """How many training examples each class has, by code; empty without labels."""
        if not self.has("train_examples") or "label" not in self.group("train_examples"):
            return np.zeros(0, np.int32)
        codes = self.class_codes(self.group("train_examples")["label"].values)
        return np.bincount(codes[codes >= 0], minlength=len(self.classes)).astype(np.int32)

    @cached_property
    def methods(self) -> list[str]:
        return sorted({*self.family("scores/"), *self.family("top_scores/")}, key=_method_order)

    @property
    def queries(self) -> dict[str, list[str]]:
        """What was asked later: the questions of each query set, by its name."""
        names = [name for name in self.family("queries/") if "/" not in name]
        return {name: self.group(f"queries/{name}")["query"].values.tolist() for name in names}

    @property
    def asked(self) -> list[str]:
        """Every question that a method answers, as "set/question"."""
        answered = [name for name in self.queries if self.family(f"queries/{name}/")]
        return [f"{name}/{question}" for name in answered for question in self.queries[name]]

    def method_name(self, method: str) -> str:
        return _METHOD_NAMES.get(method, method.replace("_", " "))

    def scores(self, method: str) -> xr.Dataset:
        """The dense scores of a method, or its top scores where the dense ones were not kept."""
        for family in ("scores", "top_scores"):
            if self.has(f"{family}/{method}"):
                return self.group(f"{family}/{method}")
        have = ", ".join(self.methods) or "none"
        raise MissingGroupError(
            f"This run has no scores of method {method!r}; it has {have}. "
            f"Add them with attribute(run, model, train, test, method={method!r})."
        )


def _method_order(method: str) -> tuple:
    known = list(_METHOD_NAMES)
    return (known.index(method) if method in known else len(known), method)
