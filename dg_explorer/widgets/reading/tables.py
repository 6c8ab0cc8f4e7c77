"""What a board shows, as DataFrames."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ...errors import MissingGroupError, SettingError, UnknownExampleError
from .lights import as_attrs, light_of
from .reader import RunReader
from .selection import Selection


def score_epoch(reader: RunReader, method: str, epoch: int | None, shown: float) -> int:
    """The epoch of the scores meant: the one asked for, else the nearest to the one shown."""
    epochs = reader.scores(method)["epoch"].values
    if not len(epochs):
        raise MissingGroupError(f"'scores/{method}' holds no epoch yet.")
    if epoch is None:
        return int(epochs[np.abs(epochs - shown).argmin()])
    if epoch not in epochs:
        near = epochs[np.argsort(np.abs(epochs - epoch), kind="stable")[:2]]
        raise SettingError(
            f"No scores of {method!r} at {reader.run.time_unit} {epoch}; the nearest are at "
            f"{' and '.join(str(e) for e in np.sort(near))}."
        )
    return int(epoch)


def top_influencers(reader: RunReader, method: str, test: int, epoch: int, k: int) -> pd.DataFrame:
    """The k training examples that helped and the k that hurt one test example most.

    Returns
    -------
    DataFrame
        Columns side ("helped" or "hurt"), rank from 1, train (id), score (positive: training on it
        raised the margin), then the properties of the training example. Helped come first.
        Its attrs say which epoch, test example and method it is of, and, as `validity` and
        `validity_reasons`, how far the scores may be believed: under a red light the sides are
        names for the highest and the lowest scores, not for causes.
    """
    data = reader.scores(method)
    reader.positions("test", np.array([test]))
    if test not in data["test"].values:
        raise UnknownExampleError(f"{method!r} was not computed for test example {test}.")
    at = data.sel(epoch=epoch, test=test)
    ids = at["train"].values if "train" in at.dims else at["train_id"].values
    frame = _sides(reader, ids, at["score"].values, k)
    frame.attrs = {"epoch": epoch, "test": test, "method": method}
    frame.attrs |= as_attrs(light_of(reader, method, epoch))
    return frame


def asked_influencers(
    reader: RunReader, query: str, method: str | None, epoch: int | None, shown: float, k: int
) -> pd.DataFrame:
    """The k training examples that helped and the k that hurt a question most.

    Parameters
    ----------
    query : "set/question", as `run.queries()` and the coordinate `query` have them
    method : of those that answer it; the first where the one shown does not
    epoch : by default the nearest to the one `shown`

    Returns
    -------
    DataFrame
        As `top_influencers`; its attrs say the query, its value and what the value is of.
    """
    name, _, question = query.partition("/")
    groups = reader.family(f"queries/{name}/")
    asked = reader.group(f"queries/{name}") if groups else None
    if asked is None or question not in asked["query"].values.tolist():
        known = [f"{s}/{q}" for s in reader.queries for q in reader.queries[s]]
        raise SettingError(
            f"No query {query!r}; this run has {', '.join(map(repr, known)) or 'none'}. Ask with "
            f"attribute(run, model, train, query=QuerySet(...))."
        )
    method = method if method in groups else groups[0]
    data = reader.group(f"queries/{name}/{method}")
    epochs = data["epoch"].values
    if epoch is None:
        epoch = int(epochs[np.abs(epochs - shown).argmin()])
    elif epoch not in epochs:
        raise SettingError(
            f"Query {query!r} was not asked at {reader.run.time_unit} {epoch}, but at "
            f"{', '.join(map(str, epochs))}."
        )
    at = data.sel(epoch=epoch, query=question)
    frame = _sides(reader, at["train"].values, at["score"].values, k)
    frame.attrs = {"epoch": epoch, "query": query, "method": method}
    frame.attrs |= {
        "value": float(at["value"]) if "value" in at else float("nan"),
        "unit": str(asked["unit"].sel(query=question).item()) if "unit" in asked else "",
    }
    frame.attrs |= as_attrs(light_of(reader, method, epoch))
    return frame


def _sides(reader: RunReader, ids: np.ndarray, values: np.ndarray, k: int) -> pd.DataFrame:
    """The highest k scores above zero and the lowest k below, with the examples' properties."""
    rows = []
    for side, sign in (("helped", 1), ("hurt", -1)):
        signed = np.where(np.isfinite(values), sign * values, -np.inf)
        order = np.argsort(-signed, kind="stable")[:k]
        order = order[signed[order] > 0]
        rows += [(side, rank, int(ids[i]), float(values[i])) for rank, i in enumerate(order, 1)]
    frame = pd.DataFrame(rows, columns=["side", "rank", "train", "score"])
    return frame.join(properties(reader, "train"), on="train")


def properties(reader: RunReader, split: str) -> pd.DataFrame:
    """The one-dimensional columns of an example table, by id."""
    group = f"{split}_examples"
    if not reader.has(group):
        return pd.DataFrame(index=pd.Index(reader.ids(split), name=split))
    table = reader.group(group)
    return table[[n for n in table.data_vars if table[n].dims == (split,)]].to_dataframe()


def selected_frame(reader: RunReader, selection: Selection) -> pd.DataFrame:
    """The selected examples of both splits with their properties; index (split, id).

    Its attrs say the epoch and method on screen, and how far their scores may be believed.
    """
    parts = []
    for split, ids in (("train", selection.selected), ("test", selection.selected_tests)):
        known = properties(reader, split)
        part = known.loc[known.index.isin(ids)]
        part.index = pd.MultiIndex.from_product([[split], part.index], names=["split", "id"])
        parts.append(part)
    frame = pd.concat(parts)
    method = selection.method or next(iter(reader.methods), None)
    frame.attrs = {"epoch": selection.epoch, "method": method}
    frame.attrs |= as_attrs(light_of(reader, method, selection.epoch))
    return frame
