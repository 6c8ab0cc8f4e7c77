"""Query sets in the record: what they ask, kept beside the scores that answer it."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ...errors import SettingError
from ...tasks.identity import UNKNOWN
from .query import Questions


def check_questions(run, asked: Questions, made: dict, attributor, overwrite: bool) -> bool:
    """Whether a query set is still to be noted; one of its name that is there must ask the same.

    made : digests of the questions, as `Questions.made_from` gives them

    Raises
    ------
    SettingError
        Another set of questions has this name, or the method cannot answer any.
    """
    if not attributor.linear:
        attributor.compute_query_features(asked)  # says which methods can
    group = f"queries/{asked.name}"
    if group in run:
        there = run.made_from(group)
        same = there == made
        if same and not any(told.startswith(UNKNOWN) for told in made.values()):
            return False
        if not overwrite:
            wrong = sorted(
                key
                for key in there.keys() | made.keys()
                if there.get(key) != made.get(key) or made[key].startswith(UNKNOWN)
            )
            raise SettingError(
                f"This run has a query set {asked.name!r} that asks something else: what differs, "
                f"or cannot be known to be the same, is {', '.join(wrong)}. Give this one "
                f"another name, or pass overwrite=True to replace it and all its scores."
            )
    return True


def keep_questions(run, asked: Questions, made: dict) -> None:
    """Note a query set as `queries/<name>`, in place of another of that name."""
    group = f"queries/{asked.name}"
    if group in run:
        run.delete_query(asked.name)
    queries = asked.questions.values()
    data = {
        "asked": ("query", np.array([query.told for query in queries], dtype=object)),
        "unit": ("query", np.array([query.unit for query in queries], dtype=object)),
        "examples": ("query", [sum(len(t.data) for t in q.terms) for q in queries]),
    }
    run.add(group, xr.Dataset(data, {"query": asked.ids}), made_from=made)
