"""What examples look like: label, text, picture, table row, warnings; in chunks of rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import pandas as pd

from ...errors import SettingError
from ...maths.forgetting import first_learned
from .blocks import Block, smallest_int
from .reader import RunReader

CHUNK = 2048
_TEXT_LIMIT = 4000  # characters of one text that travel; a book is not a card
_OWN = ("label", "text", "group", "thumbnail")
_NAMES = "OUTiu"  # dtypes of columns that may name a row


class Faces:
    """The example tables of a run as blocks.

    Parameters
    ----------
    show : renders an example the user's own way
    name : the column that names an example
        By default the first, in the table's order, whose values are all different, where examples
        have no text.
    """

    def __init__(self, reader: RunReader, show: Callable | None = None, name: str | None = None):
        self._reader = reader
        self._show = show
        self._name = name
        if name is not None:
            self._check_name(name)
        self._groups: list[str] | None = None

    @property
    def groups(self) -> list[str]:
        """Names of all groups of both splits; a code is a position in this list."""
        if self._groups is None:
            found: set[str] = set()
            for split in ("train", "test"):
                table = self._table(split)
                if table is not None and "group" in table:
                    found |= {str(value) for value in np.unique(table["group"].values.astype(str))}
            self._groups = sorted(found)
        return self._groups

    def chunks(self, split: str) -> int:
        return -(-len(self._reader.ids(split)) // CHUNK)

    def chunk(self, split: str, number: int) -> dict[str, Block]:
        """The blocks of one chunk of rows."""
        ids = self._reader.ids(split)[number * CHUNK : (number + 1) * CHUNK]
        blocks: dict[str, Block] = {"id": ids}
        table = self._table(split)
        if table is None:
            return blocks
        # the ids are the table's own, in its order
        rows = table.isel({split: slice(number * CHUNK, (number + 1) * CHUNK)})
        if "label" in rows:
            blocks["label"] = smallest_int(self._reader.class_codes(rows["label"].values))
        if "group" in rows:
            codes = np.searchsorted(self.groups, rows["group"].values.astype(str))
            blocks["group"] = smallest_int(codes)
        if self._show is not None:
            blocks |= _shown(self._show, split, rows)
        else:
            if "text" in rows:
                blocks["text"] = [str(text)[:_TEXT_LIMIT] for text in rows["text"].values]
            if "thumbnail" in rows:
                blocks["thumbnail"] = rows["thumbnail"].values.astype(np.uint8)
        if (named := self._names[split]) is not None:
            blocks["name"] = [cell(value) for value in rows[named].values]
        for name in rows.data_vars:
            if name not in (*_OWN, named) and rows[name].dims == (split,):
                blocks[f"cell/{name}"] = [cell(value) for value in rows[name].values]
        blocks |= self._history(split, ids)
        return blocks

    @cached_property
    def _names(self) -> dict[str, str | None]:
        """The column that names the examples of a split, if any."""
        out: dict[str, str | None] = {}
        for split in ("train", "test"):
            table = self._table(split)
            if self._name is not None:
                out[split] = self._name if table is not None and self._name in table else None
            elif table is None or self._show is not None or "text" in table:
                out[split] = None
            else:
                out[split] = next(
                    (str(c) for c in table.data_vars if _tells_apart(table[c], split)), None
                )
        return out

    def _check_name(self, name: str) -> None:
        tables = [table for s in ("train", "test") if (table := self._table(s)) is not None]
        if not any(name in table.data_vars for table in tables):
            have = (
                ", ".join(dict.fromkeys(str(c) for table in tables for c in table.data_vars))
                or "none"
            )
            raise SettingError(f"No column {name!r} names the examples; there are: {have}.")

    def _table(self, split: str):
        group = f"{split}_examples"
        return self._reader.group(group) if self._reader.has(group) else None

    def _history(self, split: str, ids: np.ndarray) -> dict[str, Block]:
        """When each training example was first right, and the warnings that follow from it."""
        out: dict[str, Block] = {}
        if split == "train":
            if self._first_learned is not None:
                learned = self._first_learned.loc[ids].to_numpy()
                out["first_learned"] = learned
                out["flag/never learned"] = learned < 0
            out |= self._analysed(ids)
        table = self._table(split)
        if table is not None and {"given_label", "true_label"} <= set(table.data_vars):
            rows = table.sel({split: ids})
            out["flag/mislabelled"] = rows["given_label"].values != rows["true_label"].values
        return out

    @cached_property
    def _first_learned(self) -> pd.Series | None:
        """The first epoch at which each training example was right, -1 for never; by id."""
        reader = self._reader
        if not reader.has("dynamics/train") or "correct" not in reader.group("dynamics/train"):
            return None
        correct = reader.group("dynamics/train")["correct"]
        # one epoch at a time: a large run is on disk by epoch
        rows = (correct.isel(epoch=row).values for row in range(correct.sizes["epoch"]))
        learned = first_learned(rows, correct["epoch"].values)
        return pd.Series(learned, index=correct["train"].values).fillna(-1).astype(int)

    def _analysed(self, ids: np.ndarray) -> dict[str, Block]:
        """What analyses in the record say of training examples."""
        reader, out = self._reader, {}
        if reader.has("analyses/mislabeled") and "action" in reader.group("analyses/mislabeled"):
            action = reader.group("analyses/mislabeled")["action"]
            known = action.sel(train=action["train"].isin(ids))
            suspects = known["train"].values[known.values.astype(str) != "keep"]
            out["flag/suspected mislabel"] = np.isin(ids, suspects)
        if reader.has("analyses/memorization"):
            data = reader.group("analyses/memorization")
            if "memorization" in data and data["memorization"].dims == ("train",):
                known = data["memorization"].reindex(train=ids).values
                out["memorization"] = known.astype(np.float16)
        return out


def _tells_apart(column, split: str) -> bool:
    """Whether every example has a value of its own here. Measurements are no names."""
    if column.name in _OWN or column.dims != (split,) or column.dtype.kind not in _NAMES:
        return False
    return pd.Index(column.values).is_unique


def _shown(show: Callable, split: str, rows) -> dict[str, Block]:
    frame = rows.drop_dims([d for d in rows.dims if d != split]).to_dataframe()
    texts, pictures = [], []
    for position, (id_, row) in enumerate(frame.iterrows()):
        example = {"id": int(id_), "split": split, **row.to_dict()}
        if "thumbnail" in rows:
            example["thumbnail"] = rows["thumbnail"].values[position]
        face = show(example)
        face = face if isinstance(face, dict) else {_kind(face): face}
        if extra := set(face) - {"text", "picture"}:
            raise SettingError(
                f"show() returned {sorted(extra)}; give a text, a uint8 picture "
                f"(height, width, channel), or a dict of 'text' and 'picture'."
            )
        texts.append(str(face.get("text", ""))[:_TEXT_LIMIT])
        if face.get("picture") is not None:
            picture = np.asarray(face["picture"], np.uint8)
            pictures.append(picture[..., None] if picture.ndim == 2 else picture)
    blocks: dict[str, Block] = {"text": texts}
    if pictures:
        if len(pictures) != len(texts) or len({p.shape for p in pictures}) > 1:
            raise SettingError(
                "show() must give every example a picture of the same shape, or none."
            )
        blocks["thumbnail"] = np.stack(pictures)
    return blocks


def _kind(face) -> str:
    return "picture" if isinstance(face, np.ndarray) else "text"


def cell(value) -> str:
    """A property's value as people read it: four digits of a number, the start of a text."""
    if isinstance(value, float | np.floating):
        if np.isnan(value):
            return ""
        plain = 1e-3 <= abs(value) < 1e6 or value == 0
        return f"{float(f'{value:.4g}'):,}".removesuffix(".0") if plain else f"{value:.4g}"
    return "" if value is None or value is pd.NaT else str(value)[:200]
