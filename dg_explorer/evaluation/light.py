"""A light that says when to believe a score: green, amber or red, with its reasons in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import MissingGroupError
from ..record.run import as_run
from ..training.proof_table import ReplayProof, read_proof, segments_of

GREEN, AMBER = 0.9, 0.5
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
    causal : bool
        Whether scores may be put as causes ("because of"); never for red and grey.
    """

    colour: str
    reasons: tuple[str, ...]
    measured: dict[str, float] = field(default_factory=dict)

    @property
    def causal(self) -> bool:
        return self.colour in ("green", "amber")

    def __str__(self) -> str:
        return f"{self.colour}: {' '.join(self.reasons)}"


def validity_light(
    run, epoch: int, *, method: str | None = None, checks: Sequence[str] | None = None
) -> Light:
    """The light for a run's scores at an epoch, from the newest checks of them.

    Parameters
    ----------
    epoch : int
        Measurements of the nearest epoch at which there is one are used, and it is named.
    method : str, optional
        Whose datamodeling score counts too, if it was measured.
    checks : names of groups, optional
        Go by these checks and no others; `run.checks()` lists what there is.

    Returns
    -------
    Light
        The worst of: metasmoothness (green from .9, amber from .5, red below), the method's LDS
        (red if its interval includes 0 or less, amber below .3), and for scores through a replay
        the proof of it (amber until every segment up to the epoch is proved, red if one failed).
    """
    run = as_run(run)
    smooth, lds = (_newest_first(run, kind, checks) for kind in ("metasmoothness", "lds"))
    findings = [_by_metasmoothness(run, epoch, smooth)]
    if method is not None and _is_replayed(run, method):
        findings.append(_by_replay(run, epoch))
    if method is not None and lds:
        findings.append(_by_lds(run, epoch, method, lds))
    colour = max((f[0] for f in findings), key=_ORDER.index)
    # A measured LDS does not make up for metasmoothness that nobody looked at.
    if findings[0][0] == "grey" and colour == "green":
        colour = "amber"
    measured = {f[2]: f[3] for f in findings if len(f) > 2}
    return Light(colour, tuple(f[1] for f in findings if f[1]), measured)


def _is_replayed(run, method: str) -> bool:
    """Whether a method's scores go through the recorded training, taken again."""
    if "replay" not in run:
        return False
    group = f"scores/{method}"
    attrs = run[group].attrs if group in run else {"method": method}
    return attrs.get("method") == "unrolled" and attrs.get("replay") != "given as a function"


def _by_replay(run, epoch: int) -> tuple:
    table, segments = read_proof(run), segments_of(run)
    proof = ReplayProof(table, segments)
    proved, there = proof.counts(epoch)
    said = f"{proved} of {there} segments of the training up to {_time(run, epoch)} are proved"
    if table is not None:
        failed = table.epoch.values[(table.moved > 0) & ~table.proved]
        if (failed <= epoch).any():
            first = _time(run, int(failed[0]))
            return "red", f"The replay of the training ends elsewhere at {first}: {said}."
    if proved < there:
        return "amber", (
            f"{said} to replay as recorded; training_of_run(run, ...) takes all of them again."
        )
    if epoch > segments[-1].end:
        last = _time(run, segments[-1].end)
        return "amber", f"The replay is proved up to {last}, the last checkpoint, and not beyond."
    return "green", f"The training replays as recorded: {said}."


def _newest_first(run, kind: str, checks: Sequence[str] | None) -> list[str]:
    there = run.checks(kind)[::-1]
    for name in checks or ():
        if name not in run.checks():
            raise MissingGroupError.of(f"the check {name!r}", run.checks())
    return there if checks is None else [name for name in there if name in checks]


def _by_metasmoothness(run, epoch: int, checks: list[str]) -> tuple:
    if not checks:
        return "grey", (
            "Nobody has measured whether this training answers small changes smoothly; "
            "metasmoothness(run, training=...) does."
        )
    every = (run[check]["metasmoothness"].dropna("epoch") for check in checks)
    measured = next((found for found in every if found.sizes["epoch"]), None)
    if measured is None:
        return "grey", "Metasmoothness could not be measured at any epoch."
    near = measured.sel(epoch=epoch, method="nearest")
    value, at = float(near), int(near["epoch"])
    where, said = f"at {_time(run, at)}", ("metasmoothness", value)
    if value >= GREEN:
        return "green", *(
            f"Metasmoothness is {value:.2f} {where}: small changes of the data have "
            "proportionate effects.",
            *said,
        )
    if value >= AMBER:
        return "amber", *(
            f"Metasmoothness is {value:.2f} {where}: the effect of small changes is only partly "
            "predictable. Check single claims with counterfactual_check.",
            *said,
        )
    return "red", *(
        f"Metasmoothness is {value:.2f} {where}: training answers small changes chaotically, so "
        "no score predicts what removing an example would do. These scores describe the model; "
        "they do not explain it.",
        *said,
    )


def _by_lds(run, epoch: int, method: str, checks: list[str]) -> tuple:
    every = (run[check].load() for check in checks)
    # `sel(method=...)` would be taken for a way to interpolate.
    rows = (lds.sel({"method": method}) for lds in every if method in lds["method"].values)
    measured = (row.dropna("epoch") for row in rows)
    row = next((found for found in measured if found.sizes["epoch"]), None)
    if row is None:
        return "grey", f"The scores of {method!r} were not compared with retraining."
    near = row.sel(epoch=epoch, method="nearest")
    value, low, high = (float(near[name]) for name in ("lds", "low", "high"))
    said = (
        f"LDS of {method!r} is {value:.2f} ({low:.2f} to {high:.2f}) at "
        f"{_time(run, int(near['epoch']))}"
    )
    if low <= 0 or not np.isfinite(value):
        return "red", f"{said}: it does not predict retraining better than chance.", "LDS", value
    if value < 0.3:
        return "amber", f"{said}: it predicts retraining weakly.", "LDS", value
    return "green", f"{said}: it predicts retraining.", "LDS", value


def _time(run, epoch: int) -> str:
    return f"{run.time_unit} {epoch}"
