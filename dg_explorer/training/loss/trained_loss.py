"""`TrainedLoss`: what the steps that were compared say about the loss and the examples' weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import torch

from ...errors import DGExplorerError
from .gradient_fit import GradientFit
from .loss_fit import LossFit

# from least to most serious; the worst step decides
_KINDS = ("unknown", "same", "weighted", "answers", "other")
_GRADIENT_KINDS = ("unknown", "same", "scaled", "other")


# The weight of an example's loss (summed over its labels) in the loss of a step. N: trained labels
# of the step, n: of its batch, k: batches of the step, A: those of a whole step.
WEIGHT_RULES = {
    "1/N": "step",
    "1/N'": "step",  # N' counts first labels, which a shifted loss leaves out, too
    "1/(k n)": "batch",
    "1/(A n)": "batch",
    "1/n": "batch",
}


#: by how much a weight may be off, relatively, that was read off slopes in bfloat16
ROUNDED = 4 * torch.finfo(torch.bfloat16).eps


class TrainedLossWarning(UserWarning):
    """The loss that is recorded is not the loss that is trained."""


class TrainedLossError(DGExplorerError, ValueError):
    """Something was asked that assumes another loss than the one that was trained."""


@dataclass(frozen=True)
class Comparison:
    """What one step showed.

    Attributes
    ----------
    losses : tuple of LossFit
        One a batch of the step; empty where answers or their slope were not seen.
    gradient : GradientFit or None
    why_not : str
        Why something was not compared; empty where all was.
    """

    step: int
    losses: tuple[LossFit, ...]
    gradient: GradientFit | None
    why_not: str = ""


@dataclass(frozen=True)
class TrainedLoss:
    """Whether the recorded loss is the trained one, by which weights, and what the optimizer got.

    Attributes
    ----------
    recorded : str
        The loss that was compared with the trained one.
    kind : "same", "weighted", "answers", "other" or "unknown"
        The same, an even weight for all; with weights by class or example; with weights that
        follow the answers (focal); another loss; nothing was compared.
    words : str
    weight_rule : str
        The weight of an example in a step's loss, as the optimizer got it.
    gradient : "same", "scaled", "other" or "unknown"
        The optimizer got the slope of the loss; a multiple (clipping); something else.
    gradient_words : str
    steps : list of int
        The steps that were compared.
    smoothing : float
        The share by which labels were smoothed, where the recorded loss with it was trained.
    """

    recorded: str
    kind: str = "unknown"
    words: str = "No step was compared."
    weight_rule: str = "unknown"
    gradient: str = "unknown"
    gradient_words: str = "No step was compared."
    steps: list[int] = field(default_factory=list)
    smoothing: float = 0.0

    @property
    def contradicts(self) -> bool:
        """Whether scores that assume the recorded loss are about another training."""
        return self.kind in ("weighted", "answers", "other")

    def attrs(self) -> dict:
        """Plain values for the record."""
        return asdict(self)


def conclude(
    recorded: str, comparisons: Sequence[Comparison], smoothing: float = 0.0
) -> TrainedLoss:
    """What the compared steps say together.

    Parameters
    ----------
    smoothing : float
        The share by which labels are smoothed in the loss that they were compared with.
    """
    if smoothing:
        found = conclude(f"{recorded} with labels smoothed by {smoothing:g}", comparisons)
        known = found.kind in ("same", "weighted")
        words = f"Another loss than {recorded} was trained. {found.words}" if known else found.words
        return replace(
            found,
            recorded=recorded,
            kind="other" if known else found.kind,
            words=words,
            smoothing=smoothing if known else 0.0,
        )
    fits = [(c, fit) for c in comparisons for fit in c.losses]
    judged = [(c, fit) for c, fit in fits if fit.kind != "unknown"]
    kind = max((fit.kind for _, fit in judged), key=_KINDS.index, default="unknown")
    steps = sorted({c.step for c, _ in judged})
    gradients = [c for c in comparisons if c.gradient is not None]
    kinds = [c.gradient.kind for c in comparisons if c.gradient is not None]
    of_gradient = max(kinds, key=_GRADIENT_KINDS.index, default="unknown")
    return TrainedLoss(
        recorded=recorded,
        kind=kind,
        words=_words(recorded, kind, judged, comparisons),
        weight_rule=_weight_rule(kind, judged),
        gradient=of_gradient,
        gradient_words=_gradient_words(of_gradient, gradients, comparisons),
        steps=steps,
    )


def _words(recorded, kind, judged, comparisons) -> str:
    if kind == "unknown":
        whys = [c.why_not for c in comparisons if c.why_not]
        whys += [fit.words for c in comparisons for fit in c.losses]
        why = whys[0] if whys else "no step was taken"
        return f"Whether {recorded} was trained is not known: {why}."
    comparison, fit = next((c, f) for c, f in judged if f.kind == kind)
    if kind == "same":
        worst = max(f.left for _, f in judged)
        return (
            f"{recorded.capitalize()} was trained: it leaves {worst:.0e} of the slope unexplained."
        )
    if kind == "other":
        return (
            f"Another loss than {recorded} was trained, {fit.words}: at step {comparison.step} "
            f"{fit.left:.0%} of its slope is not that of {recorded}, whatever the examples weigh."
        )
    return f"{recorded.capitalize()} was trained with {fit.words} (step {comparison.step})."


def _weight_rule(kind, judged) -> str:
    """The weight of an example in units of 1/(examples of the step), changes of scale included."""
    if kind == "unknown":
        return "unknown"
    if kind != "same":
        return next(fit.words for _, fit in judged if fit.kind == kind)
    shares: list[float] = []
    for comparison in {id(c): c for c, _ in judged}.values():
        fits = [fit for c, fit in judged if c is comparison]
        n = sum(len(fit.weights) for fit in fits)
        gradient = comparison.gradient
        factor = 1.0
        if gradient is not None and gradient.kind in ("same", "scaled"):
            factor = gradient.factor
        shares += [float(fit.weights[0]) * n * factor for fit in fits]
    low, high = min(shares), max(shares)
    if abs(low - 1) < 1e-2 and abs(high - 1) < 1e-2:
        return "each example weighs 1/(examples of the step)"
    if high - low < 1e-2 * abs(high):
        return f"each example weighs {high:.4g}/(examples of the step)"
    return f"each example weighs {low:.4g} to {high:.4g} of 1/(examples of the step), by step"


def _gradient_words(kind, gradients, comparisons) -> str:
    if kind == "unknown":
        whys = [c.why_not for c in comparisons if c.why_not]
        return f"Not compared: {whys[0]}." if whys else "No step was compared."
    worst = next(c for c in gradients if c.gradient.kind == kind)
    return f"At step {worst.step} {worst.gradient.words}."


def rules_of_weights(
    weights: np.ndarray, n: np.ndarray, micro: np.ndarray, accumulate: int
) -> set[str]:
    """Which of `WEIGHT_RULES` give the weights of a step; several where they agree in it.

    Parameters
    ----------
    weights, n, micro : arrays, shape (slot,)
        The weight of each example's summed loss, its trained labels, and its batch in the step.
    accumulate : int
        Batches of a whole step.
    """
    trains = n > 0
    if not trains.any() or not (weights[trains] > 0).all():
        return set()
    divisor, total = 1 / weights[trains], float(n.sum())
    wanted = _divisors(n, micro, accumulate)
    found = {name for name, v in wanted.items() if np.allclose(divisor, v[trains], rtol=1e-4)}
    more = float(divisor[0]) - total
    one = np.allclose(divisor, divisor[0], rtol=1e-4) and abs(more - round(more)) < 1e-3 * total
    if one and 0 < round(more) <= len(n) and n.max() > 1:
        found.add("1/N'")
    return found


def _divisors(n: np.ndarray, micro: np.ndarray, accumulate: int) -> dict[str, np.ndarray]:
    """By what each slot's loss is divided under each rule but "1/N'"."""
    of_batch = np.bincount(micro, n)[micro].astype(float)
    k = int(micro.max()) + 1
    wanted = {"1/N": np.full(len(n), float(n.sum())), "1/n": of_batch}
    return wanted | {"1/(k n)": k * of_batch, "1/(A n)": accumulate * of_batch}


def nearest_rule(
    weights: np.ndarray, n: np.ndarray, micro: np.ndarray, accumulate: int, room: float
) -> np.ndarray:
    """The weights of the rule that is nearest to those of a step, where one is near enough.

    Parameters
    ----------
    weights, n, micro, accumulate
        As for `rules_of_weights`.
    room : float
        How far the weights may be from it, relatively.

    Returns
    -------
    float array, shape (slot,)
        Those of the rule where there are labels; the given ones if no rule is near enough.
    """
    trains = n > 0
    if not trains.any() or not (weights[trains] > 0).all():
        return weights
    divisors = list(_divisors(n, micro, accumulate).values())
    more = round(float(np.median(1 / weights[trains])) - float(n.sum()))
    if n.max() > 1 and 0 < more <= len(n):
        divisors.append(np.full(len(n), float(n.sum()) + more))
    off = [float(np.abs(weights * d - 1)[trains].max()) for d in divisors]
    if min(off) > room:
        return weights
    return np.where(trains, 1 / np.maximum(divisors[int(np.argmin(off))], 1e-300), weights)


@dataclass(frozen=True)
class Denominators:
    """By what a step's loss divides, as far as it changes when an example leaves its batch.

    Attributes
    ----------
    counts : float array, shape (train,)
        What each example adds to it: its trained labels.
    over : "step", "batch" or None
        Which examples share one: all of the step, or of one of its batches. None where the record
        fits both.
    micro : list of int array, or None
        Which batch of its step each slot came in.
    """

    counts: np.ndarray
    over: str | None = "step"
    micro: Sequence[np.ndarray] | None = None

    def shares(self, step: int, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of each slot of a step, which denominator it is in, and its share of that."""
        n = self.counts[places]
        group = np.zeros(len(places), dtype=np.int64)
        if self.over == "batch" and self.micro is not None:
            group = self.micro[step]
        total = np.bincount(group, n)[group]
        return group, np.divide(n, total, out=np.zeros(len(n)), where=total > 0)


def trained_loss(run) -> TrainedLoss | None:
    """What the recorder found about the loss of a run's training; None where it did not look."""
    found = run.attrs.get("trained_loss")
    return TrainedLoss(**found) if isinstance(found, dict) else None


def check_assumed_loss(run, loss_name: str) -> None:
    """Refuse to assume a loss that the record contradicts.

    Parameters
    ----------
    loss_name : str
        What the caller would assume for want of a task.

    Raises
    ------
    TrainedLossError
        The recorder compared the two and they differ.
    """
    found = trained_loss(run)
    if found is None or not found.contradicts:
        return
    raise TrainedLossError(
        f"{loss_name} would assume that {found.recorded} was trained, and the record says "
        f"otherwise. {found.words} Pass task= with the loss that was trained: "
        f"CustomTask(output=..., loss=...); or task='classification' if scores for plain "
        f"{found.recorded} are what you want."
    )


def example_weights(fits: Sequence[LossFit]) -> np.ndarray:
    """Weight of each slot of a step, 1 for the mean over its slots, float64, shape (slot,)."""
    weights = torch.cat([fit.weights for fit in fits]).cpu().numpy()
    # an example whose loss is flat has some weight, though nothing shows it
    return np.where(np.isnan(weights), np.nanmedian(weights), weights) * len(weights)
