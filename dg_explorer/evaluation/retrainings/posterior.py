"""Scores as a prior, retrainings as data: a linear Gaussian model of what removals do.

The change of an output without some examples is, for one moment and test example::

    change = a(size) + sum over removed i of effect_i + noise
    effect_i = -(slope * score_i) + deviation_i

The slope comes from all test examples together and may differ a little for each; deviations have
one variance; noise grows with the size of a removal. How much of each there is, is what makes the
retrainings most likely. Everything is solved in the dual: matrices have the size of the number of
retrainings. NumPy only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.special import stdtrit

DEVIATIONS = tuple(np.logspace(-2.5, 2.5, 11))  # variance of deviations, in units of the noise
POWERS = (0.0, 1.0, 2.0)  # how the variance of the noise grows with the size of a removal
SPREADS = (1e-3, 0.03, 0.3, 3.0)  # of the slope between test examples
SATURATES = 3.0  # found on removals of best helpers in two data seeds, and judged on a third
_DEGREES = 4.0  # what the other test examples tell about the noise of one, in retrainings


@dataclass(frozen=True)
class Settings:
    """What the retrainings of one moment say about all test examples together.

    Attributes
    ----------
    slopes : shape (prior,)
        Of the truth on each prior column, 1 where scores have the right size.
    deviation : variance of what the scores do not say, for a removal of middle size
    power : the noise of a removal of size k has variance (k / middle size) ** power
    spread : variance of a slope between test examples; all in units of the noise
    """

    slopes: np.ndarray
    deviation: float
    power: float
    spread: float


class RemovalModel:
    """What removals do to each test example at one moment, given some that were tried.

    Parameters
    ----------
    removed : bool, shape (retraining, train)
    change : shape (retraining, test)
        Output without them minus output with all.
    scores : shape (prior, test, train)
        Positive where an example raises the output; several methods may stand side by side.
    settings : Settings
    foreseen : shape (prior, retraining, test), optional
        What `foreseen_by` gives for the removals, where it is at hand.
    """

    def __init__(
        self,
        removed: np.ndarray,
        change: np.ndarray,
        scores: np.ndarray,
        settings: Settings,
        *,
        foreseen: np.ndarray | None = None,
    ):
        self.removed = np.asarray(removed, float)
        self.scores = np.asarray(scores, float)
        self.settings = settings
        sizes = self.removed.sum(1)
        self.middle = float(np.median(sizes))
        self.n_sizes = 2 if several_sizes(sizes) else 1
        self._v = _variance(self.removed, self.middle, settings)
        self._factor = cholesky(self._v, lower=True)
        basis = self._basis(self.removed, foreseen)  # (test, retraining, column)
        self.scale = _scale(basis[..., self.n_sizes :])
        y = np.asarray(change, float).T
        self._basis_of_tried = basis
        self._by_basis = self._solve(basis)
        self._by_y = self._solve(y[..., None])[..., 0]
        precision = np.zeros(basis.shape[::2])
        precision[:, self.n_sizes :] = self.scale**2 / settings.spread
        prior = np.concatenate([np.zeros(self.n_sizes), settings.slopes])
        gram = np.einsum("qrc,qrd->qcd", basis, self._by_basis)
        gram += precision[:, :, None] * np.eye(gram.shape[1])
        self._inverse = np.linalg.inv(gram)
        right = np.einsum("qrc,qr->qc", basis, self._by_y) + precision * prior
        self.coefficients = np.einsum("qcd,qd->qc", self._inverse, right)
        self._by_residual = self._by_y - np.einsum("qrc,qc->qr", self._by_basis, self.coefficients)
        residual = y - np.einsum("qrc,qc->qr", basis, self.coefficients)
        off = self.coefficients - prior
        self.misfit = (residual * self._by_residual).sum(1) + (precision * off**2).sum(1)
        self.degrees = len(self.removed) - self.n_sizes
        self._log_determinant = (
            2 * np.log(np.diag(self._factor)).sum()
            - np.linalg.slogdet(self._inverse)[1]
            - np.log(precision[:, self.n_sizes :].clip(1e-300)).sum(1)
        )

    @property
    def log_likelihood(self) -> float:
        """Of the retrainings under the settings, sizes' effects and each noise integrated out."""
        each = -0.5 * self.degrees * np.log(self.noise(0.0)) - 0.5 * self._log_determinant
        return float(each.sum())

    def noise(self, degrees: float = _DEGREES) -> np.ndarray:
        """Variance of the noise of each test example, drawn to their middle; shape (test,)."""
        own = self.misfit / max(self.degrees, 1)
        typical = np.exp(np.log(own.clip(1e-300)).mean())
        found = (self.degrees * own + degrees * typical) / (self.degrees + degrees)
        return found.clip(1e-300)

    def predict(self, removed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Expected change and its standard deviation for removals, each (removal, test).

        What the scores say beyond the most that they said of any removal that was tried (as they do
        of the best helpers, which are chosen because their scores are high) saturates: all of it is
        expected up to `SATURATES` times that most, and then so much of it as falls with what is
        said; with a 90 % interval as wide as what is said beyond.
        """
        mean, deviation = self.posterior(removed)
        slopes = self.coefficients[:, self.n_sizes :]
        said, tried = (
            np.einsum("qmc,qc->mq", basis[..., self.n_sizes :], slopes)
            for basis in (self._basis(np.asarray(removed, float)), self._basis_of_tried)
        )
        size, most = np.abs(said), np.abs(tried).max(0)
        beyond = np.sign(said) * (size - most).clip(0)
        comes = np.minimum(1, SATURATES * most / size.clip(1e-300))
        return mean - (1 - comes) * beyond, np.sqrt(deviation**2 + (beyond / 2 / 1.645) ** 2)

    def posterior(self, removed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the linear model alone, each (removal, test)."""
        removed = np.asarray(removed, float)
        sizes = removed.sum(1)
        shared = self.settings.deviation / self.middle * (self.removed @ removed.T)
        by_shared = cho_solve((self._factor, True), shared)
        basis = self._basis(removed)
        mean = np.einsum("qmc,qc->mq", basis, self.coefficients)
        mean += (self._by_residual @ shared).T
        out = basis - np.einsum("qrc,rm->qmc", self._by_basis, shared)
        variance = np.einsum("qmc,qcd,qmd->mq", out, self._inverse, out)
        own = (sizes / self.middle) ** self.settings.power
        own = own + self.settings.deviation * sizes / self.middle - (shared * by_shared).sum(0)
        return mean, np.sqrt((variance + own[:, None]).clip(0) * self.noise())

    def left_out(self) -> tuple[np.ndarray, np.ndarray]:
        """Each retraining as the others let one expect it, minus itself; and the deviation.

        Both of shape (retraining, test); the settings are those of all.
        """
        inverse = cho_solve((self._factor, True), np.eye(len(self._v)))
        weight = np.diag(inverse) - np.einsum(
            "qrc,qcd,qrd->qr", self._by_basis, self._inverse, self._by_basis
        )
        off = self._by_residual / weight
        degrees = max(self.degrees - 1, 1)
        own = (self.misfit[:, None] - off * self._by_residual) / degrees
        typical = np.exp(np.log(own.clip(1e-300)).mean(0))
        noise = (degrees * own + _DEGREES * typical) / (degrees + _DEGREES)
        return -off.T, np.sqrt(noise / weight).T

    def reach(self, level: float) -> float:
        """How many standard deviations an interval reaches: of Student's t."""
        return float(stdtrit(max(self.degrees, 1) + _DEGREES, (1 + level) / 2))

    def _basis(self, removed: np.ndarray, foreseen: np.ndarray | None = None) -> np.ndarray:
        """What is known of a removal beforehand, shape (test, removal, column)."""
        size = removed.sum(1) / self.middle
        known = np.empty((self.scores.shape[1], len(removed), self.n_sizes + len(self.scores)))
        for power in range(1, self.n_sizes + 1):
            known[..., power - 1] = size**power
        if foreseen is None:
            foreseen = foreseen_by(self.scores, removed)
        known[..., self.n_sizes :] = foreseen.transpose(2, 1, 0)
        return known

    def _solve(self, right: np.ndarray) -> np.ndarray:
        """V^-1 of arrays (test, retraining, column)."""
        flat = np.moveaxis(right, 1, 0).reshape(right.shape[1], -1)
        solved = cho_solve((self._factor, True), flat)
        return np.moveaxis(solved.reshape(right.shape[1], len(right), -1), 0, 1)


def choose_settings(removed: np.ndarray, change: np.ndarray, scores: np.ndarray) -> Settings:
    """The settings under which the retrainings are most likely; arguments as of `RemovalModel`.

    One is searched after the other, twice round the first.
    """
    removed = np.asarray(removed, float)
    several = several_sizes(removed.sum(1))
    foreseen = foreseen_by(scores, removed)

    def with_slopes(deviation: float, power: float, spread: float) -> tuple[float, Settings]:
        slopes = pooled_slopes(removed, change, foreseen, deviation, power)
        settings = Settings(slopes, deviation, power, spread)
        model = RemovalModel(removed, change, scores, settings, foreseen=foreseen)
        return model.log_likelihood, settings

    def best(tried: list[tuple[float, Settings]]) -> Settings:
        return max(tried, key=lambda one: one[0])[1]

    found = best([with_slopes(deviation, 1.0, 0.1) for deviation in DEVIATIONS[::2]])
    if several:
        found = best([with_slopes(found.deviation, power, 0.1) for power in POWERS])
    if len(scores):
        found = best([with_slopes(found.deviation, found.power, s) for s in SPREADS])
    near = [d for d in DEVIATIONS if 0.3 < d / found.deviation < 3.3]
    return best([with_slopes(d, found.power, found.spread) for d in near])


def foreseen_by(scores: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """What sums of scores say of removals, shape (prior, removal, test)."""
    return -np.einsum("mn,pqn->pmq", removed, scores, optimize=True)


def pooled_slopes(removed, change, foreseen, deviation: float, power: float) -> np.ndarray:
    """Slope of the truth on each prior column, over all test examples; shape (prior,)."""
    if not len(foreseen):
        return np.zeros(0)
    removed = np.asarray(removed, float)
    sizes = removed.sum(1)
    middle = float(np.median(sizes))
    v = _variance(removed, middle, Settings(np.zeros(0), deviation, power, 1.0))
    factor = cholesky(v, lower=True)
    powers = range(1, 3 if several_sizes(sizes) else 2)
    columns = [np.stack([(sizes / middle) ** p for p in powers], 1), change, *foreseen]
    white = solve_triangular(factor, np.concatenate(columns, 1), lower=True)
    white = np.split(white, np.cumsum([c.shape[1] for c in columns])[:-1], axis=1)
    q, _ = np.linalg.qr(white[0])
    y, *rest = [part - q @ (q.T @ part) for part in white[1:]]
    x = np.stack(rest)  # (prior, retraining, test)
    slopes = np.zeros(len(x))
    for _ in range(3):
        rest = y - np.einsum("p,prq->rq", slopes, x)
        weight = 1 / (rest**2).mean(0).clip(1e-300)
        gram = np.einsum("prq,srq,q->ps", x, x, weight)
        right = np.einsum("prq,rq,q->p", x, y, weight)
        slopes = np.linalg.lstsq(gram, right, rcond=1e-10)[0]
    return slopes


def several_sizes(sizes: np.ndarray) -> bool:
    """Whether removals of sizes that differ by half were tried, four or more of each."""
    small, large = np.sort(sizes)[[3, -4]] if len(sizes) >= 8 else (1, 1)
    return bool(large >= 1.5 * small)


def _variance(removed: np.ndarray, middle: float, settings: Settings) -> np.ndarray:
    """Covariance of retrainings beside what the basis says, in units of the noise."""
    own = (removed.sum(1) / middle) ** settings.power
    return np.diag(own) + settings.deviation / middle * (removed @ removed.T)


def _scale(columns: np.ndarray) -> np.ndarray:
    """Typical size of prior columns, shape (test, prior); 1 where they are all 0."""
    scale = np.sqrt((columns**2).mean(1))
    return np.where(scale > 0, scale, 1.0)
