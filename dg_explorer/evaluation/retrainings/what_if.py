"""What if these examples were gone? An answer at once, and the true one by training again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import xarray as xr

from ...arguments import Ids, checked
from ...data.ids import known_ids
from ...errors import DataError, MissingGroupError
from ...record.run import as_run
from ..light import Evidence
from .calibration import calibration_of
from .kept import THIS, kept_retrainings
from .recorded_curves import at_epochs, ids_of, of_test, recorded_curves, whole_classes
from .removals import removed_ids, weights_without
from .verdict import verdict

ANSWERS = "checks/what_if"
# random removals of up to so many times more or fewer examples still compare
_LIKE = 1.6


@dataclass(frozen=True)
class WhatIf:
    """What would happen without some training examples, as far as it is known.

    Curves have shape (epoch,); NaN where nothing is known; None where there is no such curve.

    Attributes
    ----------
    train : ids of the examples that are removed
    test : id of the test example, or None for the mean over all of them
    epoch : the moments of all curves
    now : the output as it was recorded
    expected, low, high : what scores and retrainings together let one expect, and the interval
    random_low, random_high : what removing about as many random examples does
    true : the output after training again without the examples
    accuracy_now, accuracy_random_low, ... : the same for test accuracy
    words : sentences to be read with the curves
    reason : why nothing is expected, or None
    level : of the intervals
    start : "this": from the start of the recorded training
    """

    train: np.ndarray
    test: int | None
    epoch: np.ndarray
    now: np.ndarray | None = None
    expected: np.ndarray | None = None
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    random_low: np.ndarray | None = None
    random_high: np.ndarray | None = None
    true: np.ndarray | None = None
    accuracy_now: np.ndarray | None = None
    accuracy_expected: np.ndarray | None = None
    accuracy_low: np.ndarray | None = None
    accuracy_high: np.ndarray | None = None
    accuracy_random_low: np.ndarray | None = None
    accuracy_random_high: np.ndarray | None = None
    accuracy_true: np.ndarray | None = None
    words: tuple[str, ...] = ()
    reason: str | None = None
    level: float = 0.9
    method: str | None = None
    unit: str = "nats"
    start: str = "this"
    run: Any = None

    def retrain(self, training, *, progress: Callable[[int, int], None] | None = None) -> WhatIf:
        """Train again without the examples; the true curve is kept in the run.

        Parameters
        ----------
        training : Training
            `training_of_run` makes one from a run.

        Returns
        -------
        WhatIf
            The same with `true` and `accuracy_true`; `what_ifs(run)` lists it.
        """
        from .again import without

        without(self.run, training, self.train, progress=progress)
        return what_if(
            self.run, train=self.train, test=self.test, method=self.method, level=self.level
        ).keep()

    def keep(self) -> WhatIf:
        """Keep the answer in the run as ``checks/what_if/<n>``."""
        as_run(self.run).keep(ANSWERS, self.to_dataset())
        return self

    def to_dataset(self) -> xr.Dataset:
        """All fields, labelled, as the run keeps them."""
        curves = {name: getattr(self, name) for name in _curves()}
        return xr.Dataset(
            {name: ("epoch", curve) for name, curve in curves.items() if curve is not None},
            {"epoch": self.epoch},
            {
                "train": self.train.tolist(),
                "test": self.test,
                "words": list(self.words),
                **{name: getattr(self, name) for name in _SAID},
            },
        )

    def to_dict(self) -> dict:
        """All fields as JSON holds them; NaN is None."""
        curves = {name: getattr(self, name) for name in _curves()}
        return {
            "train": self.train.tolist(),
            "test": self.test,
            "epoch": self.epoch.tolist(),
            **{name: _plain(curve) for name, curve in curves.items()},
            "words": list(self.words),
            **{name: getattr(self, name) for name in _SAID},
        }

    def __str__(self) -> str:
        return " ".join(self.words)

    def __repr__(self) -> str:
        there = ", ".join(name for name in _curves() if getattr(self, name) is not None)
        return f"WhatIf({len(self.train)} removed, test={self.test}; {there})"


_SAID = ("reason", "level", "method", "unit", "start")


def _plain(curve: np.ndarray | None) -> list[float | None] | None:
    if curve is None:
        return None
    return [float(value) if np.isfinite(value) else None for value in curve]


def _curves() -> list[str]:
    return [f.name for f in fields(WhatIf) if f.type == "np.ndarray | None"]


@checked
def what_if(
    run,
    train: Ids,
    *,
    test: int | None = None,
    method: str | None = None,
    level: float = 0.9,
) -> WhatIf:
    """What the training would have done without some examples, answered from the record.

    ::

        answer = dg.what_if(run, train=[3, 14, 15], test=1002)
        print(answer)  # what is expected, within which bounds, and why
        truth = answer.retrain(training)  # trains again; kept, as are all retrainings

    Parameters
    ----------
    run : Run
        With retrainings in it (`retrain`) the answer has a band of random removals.
    train : ids of the training examples to remove
    test : id of a test example, optional
        Default: the mean over all test examples.
    method : name of scores, optional
        By which the effect is expected; default the exact scores, else the first there are.
    level : float
        Of the intervals.

    Returns
    -------
    WhatIf

    Raises
    ------
    UnknownExampleError
        An id is none of the run's.
    SettingError
        Nothing, or everything, would be removed.
    """
    run = as_run(run)
    ids = removed_ids(train, ids_of(run, "train"))
    if test is not None:
        known_ids(test, ids_of(run, "test"), "test")
    rows = kept_retrainings(run, start="this")
    base = recorded_curves(run, rows, None if test is None else int(test))
    answer = WhatIf(train=ids, level=level, method=method, run=run, **base)
    words = [_asked(answer)]
    if rows is None:
        reason = f"Nothing is expected, and there is no band: no retraining is kept. {_how(run)}"
        words += [whole] if (whole := whole_classes(run, ids)) else []
        return replace(answer, words=(*words, reason), reason=reason)
    for add in (_with_true, _with_band):
        answer, more = add(answer, rows)
        words += more
    words += _off_the_record(answer, rows)
    reason = whole_classes(run, ids)
    if not reason:
        answer, reason, more = _with_expected(answer, run)
        words += more
    words += [reason] if reason else []
    if answer.true is not None:  # what one retrained for comes first
        words[1:1] = verdict(
            answer.epoch,
            answer.now,
            answer.true,
            (answer.random_low, answer.random_high),
            (answer.low, answer.high),
            unit=answer.unit,
            time_unit=run.time_unit,
        )
    return replace(answer, words=tuple(words), reason=reason or None)


def what_ifs(run) -> list[WhatIf]:
    """All answers that were trained, newest first."""
    run = as_run(run)
    return [_read(run, group) for group in reversed(run.kept(ANSWERS))]


def _read(run, group: str) -> WhatIf:
    data = run[group].load()
    said = {name: data.attrs.get(name) for name in ("test", *_SAID)}
    return WhatIf(
        train=np.asarray(data.attrs["train"], np.int64),
        epoch=data["epoch"].values,
        words=tuple(data.attrs["words"]),
        run=run,
        **said,
        **{name: data[name].values for name in _curves() if name in data},
    )


def _how(run) -> str:
    """What makes retrainings of this run, or why it cannot be trained again."""
    if "replay" in run:
        return (
            "retrain(run, training), with training = training_of_run(run, model, train=..., "
            "test=...), makes some."
        )
    return (
        "This run was recorded without replay=True, so its own training cannot be taken again; "
        "what is left is what was recorded. retrain(run, training) takes a Training of your own."
    )


def _off_the_record(answer: WhatIf, rows: xr.Dataset) -> list[str]:
    """A sentence where training again with everything ends elsewhere than the record."""
    whole = rows.isel(retraining=np.flatnonzero(rows["why"].values == "whole")[:1])
    if answer.now is None or not whole.sizes["retraining"]:
        return []
    again = at_epochs(answer.epoch, rows["epoch"].values, of_test(whole["output"], answer.test)[0])
    off = np.abs(again - answer.now)
    scale = np.nanstd(answer.now)
    if not np.isfinite(off).any() or np.nanmax(off) <= max(0.02 * scale, 1e-3):
        return []
    return [
        f"With all examples, training again ends up to {np.nanmax(off):.2g} {answer.unit} from the "
        f"record: compare removals with that retraining, rather than with the recorded curve."
    ]


def _asked(answer: WhatIf) -> str:
    what = f"{len(answer.train)} training example{'s' * (len(answer.train) != 1)}"
    return f"Without {what}, from the start of the recorded training."


def _with_true(answer: WhatIf, rows: xr.Dataset) -> tuple[WhatIf, list[str]]:
    wanted = weights_without(answer.train, rows["train"].values)
    same = (rows["weight"].values == wanted).all(axis=1) & (rows["start"].values == THIS)
    if not same.any():
        return answer, ["The truth takes a training: .retrain(training)."]
    row = rows.isel(retraining=int(np.flatnonzero(same)[0]))
    return replace(
        answer,
        true=at_epochs(answer.epoch, rows["epoch"].values, of_test(row["output"], answer.test)),
        accuracy_true=at_epochs(answer.epoch, rows["epoch"].values, row["accuracy"].values),
    ), ["It was trained again without them: this is the truth for this start."]


def _with_expected(answer: WhatIf, run) -> tuple[WhatIf, str, list[str]]:
    """The expected curve where the light allows one; else why not."""
    try:
        found = calibration_of(run, answer.method)
    except (MissingGroupError, DataError) as error:
        return answer, f"Nothing is expected. {error}", []
    if answer.test is not None and answer.test not in found.test:
        return answer, f"Nothing is expected: test example {answer.test} has no scores.", []
    method = found.methods[0]
    evidence, table = Evidence(run), found.table
    lights = [evidence.light(int(epoch), method) for epoch in found.epoch]
    red = np.array([light.colour == "red" for light in lights])
    near = np.abs(table["epoch"].values - found.epoch[:, None]).argmin(1)
    chance = ~(table["low"].values[near] > 0)
    if not (~red & ~chance).any():
        why = (
            next(light for light in lights if light.colour == "red").reasons[0]
            if red.all()
            else f"the LDS of {method!r} against the kept retrainings is "
            f"{found.lds['mean']:.2f} ({found.lds['low']:.2f} to {found.lds['high']:.2f}), which "
            f"is no better than chance"
        )
        return answer, f"Nothing is expected: {_lower(why)} Train again to see.", []
    sure = ~(red | chance)

    def shown(curves: xr.Dataset, prefix: str = "") -> dict[str, np.ndarray]:
        return {
            f"{prefix}{name}": at_epochs(
                answer.epoch, found.epoch, np.where(sure, curves[name].values, np.nan)
            )
            for name in ("expected", "low", "high")
        }

    filled = shown(found.predict(answer.train, answer.test, level=answer.level))
    accuracy = found.accuracy(answer.train, level=answer.level)
    if accuracy is not None:
        filled |= shown(accuracy, "accuracy_")
    words = [
        f"Expected from the scores of {' and '.join(found.methods)} and {found.n} retrainings; "
        f"{100 * answer.level:.0f} % of single retrainings are to end inside the interval "
        f"(90 % intervals held {100 * found.coverage:.0f} % of those that were tried)."
    ]
    sizes = found.sizes
    if not sizes[0] / _LIKE <= len(answer.train) <= sizes[1] * _LIKE:
        words.append(
            f"Removals of {_range(np.array(sizes))} examples were tried; {len(answer.train)} is "
            f"beyond them, so trust this less."
        )
    if not sure.all():
        where = found.epoch[~sure]
        words.append(
            f"At {len(where)} of {len(found.epoch)} moments (such as {where[0]}) the scores "
            f"predict no better than chance, or their light is red: nothing is expected there."
        )
    return replace(answer, method=method, **filled), "", words


def _lower(sentence: str) -> str:
    sentence = sentence[:1].lower() + sentence[1:]
    return sentence if sentence.endswith(".") else f"{sentence}."


def _with_band(answer: WhatIf, rows: xr.Dataset) -> tuple[WhatIf, list[str]]:
    removed = (rows["weight"].values == 0).sum(axis=1)
    k = len(answer.train)
    like = (rows["why"].values == "random") & (removed >= k / _LIKE) & (removed <= k * _LIKE)
    n = int(like.sum())
    if n < 8:
        return answer, [
            f"{n or 'No'} random removals of about {k} examples are kept, too few for a band: "
            f"retrain(run, training, share={k / rows.sizes['train']:.2g}) makes them."
        ]
    those = rows.isel(retraining=np.flatnonzero(like))
    tail = (1 - answer.level) / 2

    def band(values: np.ndarray) -> list[np.ndarray]:
        quantiles = np.quantile(values, [tail, 1 - tail], axis=0)
        return [at_epochs(answer.epoch, rows["epoch"].values, q) for q in quantiles]

    low, high = band(of_test(those["output"], answer.test))
    accuracy_low, accuracy_high = band(those["accuracy"].values.astype(float))
    return replace(
        answer,
        random_low=low,
        random_high=high,
        accuracy_random_low=accuracy_low,
        accuracy_random_high=accuracy_high,
    ), [f"The band is what {n} random removals of {_range(removed[like])} examples did."]


def _range(counts: np.ndarray) -> str:
    low, high = int(counts.min()), int(counts.max())
    return f"{low}" if low == high else f"{low} to {high}"
