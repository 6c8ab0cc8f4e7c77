"""A light that says when to believe a score: green, amber or red, with its reasons in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import xarray as xr

from ..arguments import checked
from ..errors import SettingError
from ..training.proof_table import ReplayProof
from .recorded_checks import RecordedChecks

GREEN, AMBER = 0.9, 0.5
BENT = 0.5  # of a derivative's effect in a look-ahead: metasmoothness is below AMBER then
COVERED = 0.75  # of 90 % intervals; below, predictions are surer than they may be
_ORDER = ("grey", "green", "amber", "red")


@dataclass(frozen=True)
class Light:
    """How far scores at one epoch may be believed.

    Attributes
    ----------
    colour : "green", "amber", "red", or "grey" where nothing was measured
    reasons : tuple of str
        Whole sentences with the numbers they rest on.
    measured : dict
        The numbers alone, by name: "metasmoothness", "LDS".
    parts : dict
        The colours of what it is the worst of: "exact" (are the scores what they say they are: of
        these weights, through the training as it was, and finite?) and "predicts" (does a small
        change of the data do what they say?).
    start : "this" or "any"
        Which truth it is about: training again from the start of the recorded training, or from
        other starts.
    truths : dict
        The colours of both: "this" and "any". Grey where nothing was trained from such a start.
    causal : bool
        Whether scores may be put as causes ("because of"); never for red and grey.
    """

    colour: str
    reasons: tuple[str, ...]
    measured: dict[str, float] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    start: str = "this"
    truths: dict[str, str] = field(default_factory=dict)

    @property
    def causal(self) -> bool:
        return self.colour in ("green", "amber")

    def __str__(self) -> str:
        return f"{self.colour}: {' '.join(self.reasons)}"


@checked
def validity_light(
    run,
    epoch: int,
    *,
    method: str | None = None,
    checks: Sequence[str] | None = None,
    start: str = "this",
) -> Light:
    """The light for a run's scores at an epoch, from the newest checks that cover it.

    Parameters
    ----------
    epoch : int
        A measurement counts at its own epoch; between two of them the worse one counts; before
        the first and after the last nothing was measured, and the light says so.
    method : str, optional
        Whose datamodeling score counts too, if it was measured.
    checks : names of groups, optional
        Go by these checks and no others; `run.checks()` lists what there is.
    start : "this" or "any"
        Exact scores are about the start of their own training. Whether they hold for the data
        from "any" start is another question, with another answer.

    Returns
    -------
    Light
        The worst of: metasmoothness (of this start: green from .9, amber from .5, red below; where
        it was not measured, what `derivative_error` missed: red from .5, else amber); the method's
        LDS (red if its interval includes 0 or less, amber below .3, where the scores were
        replaced since, and where intervals of 90 % cover less than 75 %); what a removal by
        `counterfactual_check` did to the test examples that the scores single out; for scores
        through a replay the proof of it (amber until every segment up to the epoch is proved, red
        if one failed); and amber for scores that are older than the weights of their epoch, or of
        a model whose outputs were not compared with the record's; red for scores that are all 0
        or not finite.
    """
    if start not in ("this", "any"):
        raise SettingError(f"start={start!r}: 'this' or 'any'.")
    return Evidence(run, checks).light(epoch, method, start)


class Evidence(RecordedChecks):
    """Lights of many epochs; what they rest on is read once."""

    def light(self, epoch: int, method: str | None = None, start: str = "this") -> Light:
        """The light of a method's scores at an epoch; see `validity_light`."""
        exact: list[tuple] = []
        if method is not None:
            exact += self._by_sources(epoch, method)
            if self._is_replayed(method):
                exact.append(self._by_replay(epoch))
        found = {
            name: self._worst(exact, self._predicts(epoch, method, name), name)
            for name in ("this", "any")
        }
        truths = {name: light.colour for name, light in found.items()}
        return replace(found[start], truths=truths)

    def _predicts(self, epoch: int, method: str | None, start: str) -> list[tuple]:
        """Do removals do what the scores say, from this start or from any?"""
        if start == "any":
            if method is None or not self._lds_of(method, "any"):
                return [
                    (
                        "grey",
                        "Other starts were not tried: retrain(run, training, start='any') asks "
                        "whether this holds for the data, or for this training only.",
                    )
                ]
            return [self._by_lds(epoch, method, "any")]
        found = [self._by_metasmoothness(epoch)]
        if found[0][0] == "grey" and self._ahead:
            found = [self._by_look_ahead(epoch, found[0])]
        if method is not None and self._lds:
            found.append(self._by_lds(epoch, method, "this"))
        if method is not None:
            found += self._by_removal(epoch, method)
        return found

    @staticmethod
    def _worst(exact: list[tuple], predicts: list[tuple], start: str) -> Light:
        findings = [predicts[0], *exact, *predicts[1:]]
        colour = max((f[0] for f in findings), key=_ORDER.index)
        # A measured LDS does not make up for metasmoothness that nobody looked at, nor sound
        # scores for starts that were not tried.
        if findings[0][0] == "grey":
            colour = "grey" if start == "any" else "amber" if colour == "green" else colour
        measured = {f[2]: f[3] for f in findings if len(f) > 2}
        parts = {
            name: max((f[0] for f in part), key=_ORDER.index, default="grey")
            for name, part in (("exact", exact), ("predicts", predicts))
        }
        return Light(colour, tuple(f[1] for f in findings if f[1]), measured, parts, start)

    def changes(self, method: str) -> np.ndarray:
        """The epochs at which a method's light may become another one, ascending."""
        measured = (*self._smooth, *self._ahead, *self._lds_of(method))
        at = [found["epoch"].values for found in measured]
        if self._is_replayed(method):
            at += [[s.end for s in self._segments]]
        at += [[epoch for epoch in self._made_of(method) if self._is_older(epoch, method)]]
        at += [self._void(method), *(found["epoch"].values for found in self._removals(method))]
        if not any(map(len, at)):
            return np.zeros(0, np.int64)
        times = np.unique(np.concatenate([np.asarray(a, np.int64) for a in at]))
        known = [self.run.epochs(g) for g in ("metrics", f"scores/{method}") if g in self.run]
        known = np.unique(np.concatenate([*known, times]))
        # between two measurements, and beyond the last, from the next epoch on
        after = np.searchsorted(known, times, side="right")
        later = known[after[after < len(known)]]
        return np.unique(np.concatenate([known[:1], times, later]))

    def _by_sources(self, epoch: int, method: str) -> list[tuple]:
        """Whether the scores still belong to the weights, and the weights to the record."""
        attrs, found = self._attrs(method), []
        if epoch in self._void(method):
            found.append(
                (
                    "red",
                    f"The scores at {self._time(epoch)} are all 0 or not finite: no derivative "
                    "came through the training, so they say nothing.",
                )
            )
        if self._is_older(epoch, method):
            found.append(
                (
                    "amber",
                    f"The scores at {self._time(epoch)} are older than their data: the weights of "
                    f"its checkpoint have been replaced since. attribute(..., overwrite=True) "
                    f"makes them anew.",
                )
            )
        if str(attrs.get("outputs", "")).startswith("unchecked"):
            found.append(
                (
                    "amber",
                    "The scores are of a model that was not compared with the recorded one "
                    "(outputs='unchecked').",
                )
            )
        return found

    def _by_replay(self, epoch: int) -> tuple:
        table, segments = self._proof, self._segments
        proved, there = ReplayProof(table, segments).counts(epoch)
        said = f"{proved} of {there} segments of the training up to {self._time(epoch)} are proved"
        if table is not None:
            failed = table.epoch.values[(table.moved > 0) & ~table.proved]
            if (failed <= epoch).any():
                first = self._time(int(failed[0]))
                return "red", f"The replay of the training ends elsewhere at {first}: {said}."
        if proved < there:
            return "amber", (
                f"{_capital(said)} to replay as recorded; training_of_run(run, ...) takes all of "
                f"them again."
            )
        if not segments:
            return "amber", "The record has no checkpoint that a replay could be compared with."
        if epoch > segments[-1].end:
            last = self._time(segments[-1].end)
            return "amber", (
                f"The replay is proved up to {last}, the last checkpoint, and not beyond."
            )
        if there == 0:
            return "grey", f"Nothing moved up to {self._time(epoch)}: no replay is proved by that."
        return "green", f"The training replays as recorded: {said}."

    def _by_metasmoothness(self, epoch: int) -> tuple:
        if not self._smooth:
            return "grey", (
                "Not checked: does a small change in the data have a small effect? "
                "metasmoothness(run, training=...) measures it."
            )
        measured = [found for found in self._smooth if found.sizes["epoch"]]
        if not measured:
            return "grey", "Metasmoothness could not be measured at any epoch."
        value, where = self._near(_covering(measured, epoch), epoch)
        if where is None:
            return "grey", f"Metasmoothness was not measured here, {self._range(measured[0])}."
        said = ("metasmoothness", value)
        if value >= GREEN:
            return "green", *(
                f"Metasmoothness is {value:.2f} {where}: small changes of the data have "
                "proportionate effects.",
                *said,
            )
        if value >= AMBER:
            return "amber", *(
                f"Metasmoothness is {value:.2f} {where}: the effect of small changes is only "
                "partly predictable. Check single claims with counterfactual_check.",
                *said,
            )
        return "red", *(
            f"Metasmoothness is {value:.2f} {where}: training answers small changes chaotically, "
            "so no score predicts what removing an example would do. These scores describe the "
            "model; they do not explain it.",
            *said,
        )

    def _by_look_ahead(self, epoch: int, unmeasured: tuple) -> tuple:
        """What a look-ahead says where training again was not tried: never green by itself."""
        opposite, where = self._near(-_covering(self._ahead, epoch), epoch)  # less is better
        if where is None:
            return unmeasured
        value = -opposite
        said = (
            f"Looking ahead for a few steps, a derivative misses {value:.0%} of what a change of "
            f"the data does, at least {where}"
        )
        measured = ("look-ahead", value)
        if not value < BENT:
            return "red", *(
                f"{said}: no score predicts what removing an example would do. These scores "
                "describe the model; they do not explain it.",
                *measured,
            )
        return "amber", *(
            f"{said}. Over a whole training it misses more: metasmoothness(run, training=...) "
            "measures it.",
            *measured,
        )

    def _by_lds(self, epoch: int, method: str, start: str) -> tuple:
        measured = self._lds_of(method, start)
        if not measured:
            return "grey", f"The scores of {method!r} were not compared with retraining."
        row = _covering(measured, epoch)
        value, where = self._near(row["lds"], epoch)
        if where is None:
            return "grey", (
                f"The scores of {method!r} were not compared with retraining here, "
                f"{self._range(row)}."
            )
        at = int(row["epoch"].values[int(np.argmin(np.abs(row["lds"].values - value)))])
        low, high = (float(row[name].sel(epoch=at)) for name in ("low", "high"))
        from_where = "" if start == "this" else ", from other starts,"
        said = f"LDS of {method!r}{from_where} is {value:.2f} ({low:.2f} to {high:.2f}) {where}"
        then = str(row["made_of"].sel(epoch=at).values) if "made_of" in row else ""
        if then and then != self._made_now(method, at):
            return "amber", (
                f"{said}, but that is older than its data: the scores at {self._time(at)} were "
                f"replaced since. lds_over_time(run, ...) measures the new ones."
            )
        if low <= 0 or not np.isfinite(value):
            return (
                "red",
                f"{said}: it does not predict retraining better than chance.",
                "LDS",
                value,
            )
        if value < 0.3:
            return "amber", f"{said}: it predicts retraining weakly.", "LDS", value
        covered = float(row["coverage"].sel(epoch=at)) if "coverage" in row else 1.0
        if covered < COVERED:
            return (
                "amber",
                f"{said}: it predicts retraining, but 90 % intervals cover {covered:.0%} of it.",
                "LDS",
                value,
            )
        return "green", f"{said}: it predicts retraining.", "LDS", value

    def _by_removal(self, epoch: int, method: str) -> list[tuple]:
        """What a removal did to the test examples for which the scores foresee much of it."""
        measured = [found for found in self._removals(method) if found.sizes["epoch"]]
        if not measured:
            return []
        row = _covering(measured, epoch)
        value, where = self._near(row, epoch)
        if where is None:
            return []
        said = (
            f"Where the scores foresee most of the removal that was tried, {value:.0%} of the test "
            f"examples moved as they say and further than random removals move them {where}"
        )
        if value >= 0.5:
            return [("green", f"{said}.", "removal", value)]
        # one example that does otherwise proves little; five of which none does are no accident
        bad = value <= 0.1 and row.attrs["clear"] >= 5
        return [("red" if bad else "amber", f"{said}: fewer than half.", "removal", value)]

    def _near(self, values: xr.DataArray, epoch: int) -> tuple[float, str | None]:
        """The value at an epoch, or the worse of those on both sides; None outside of them."""
        epochs = values["epoch"].values
        after = int(np.searchsorted(epochs, epoch))
        if after < len(epochs) and epochs[after] == epoch:
            return float(values[after]), f"at {self._time(epoch)}"
        if after in (0, len(epochs)):
            return float("nan"), None
        worse = after - 1 + int(np.argmin(values.values[after - 1 : after + 1]))
        between = f"{epochs[after - 1]} and {epochs[after]}"
        return float(values[worse]), (
            f"at {self._time(int(epochs[worse]))}, the worse of the two measured around it "
            f"({between})"
        )

    def _range(self, values) -> str:
        epochs = values["epoch"].values
        if len(epochs) == 1:
            return f"only at {self._time(int(epochs[0]))}"
        return f"only from {self._time(int(epochs[0]))} to {int(epochs[-1])}"

    def _time(self, epoch: int) -> str:
        return f"{self.run.time_unit} {epoch}"


def _covering(measured: list, epoch: int):
    """The newest of some measurements that has the epoch in its range; else the newest."""
    for found in measured:
        if found["epoch"].values[0] <= epoch <= found["epoch"].values[-1]:
            return found
    return measured[0]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
