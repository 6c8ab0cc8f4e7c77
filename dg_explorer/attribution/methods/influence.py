"""Influence functions: what a little more weight on a training example would have changed."""

from __future__ import annotations

import torch

from ...errors import SettingError
from ...memory import memory_advice
from ..attributor.base import Attributor
from ..attributor.features import GradientFeatures
from ..gradients.factors import Factor, summed
from ..projections.kernel import diagonal, squared_sum
from ..solve.damping import DEFAULT_RELATIVE, absolute_damping, resting_damping
from ..solve.gauss_newton import gauss_newton_scores
from ..solve.hessian import loss_hessian
from ..solve.kronecker import kronecker_scores
from ..solve.solvers import SOLVERS, leading_eigenpairs, solve

KRONECKER = ("ekfac", "kfac")
CURVATURES = ("gauss_newton", "hessian")
SOFTENED = 0.6


class InfluenceFunctionAttributor(Attributor):
    """Influence functions; by default with the Gauss-Newton matrix, solved exactly.

    score(q, i) = grad f_q' (H + damping I)^-1 (-grad l_i), averaged over checkpoints.

    Parameters
    ----------
    curvature : "gauss_newton" or "hessian"
        The exact Hessian is for models of up to 20,000 parameters; its negative directions count
        as flat.
    solver : "exact", "cg", "lissa", "arnoldi", "ekfac" or "kfac"
        The first three agree; "arnoldi" keeps the leading `steps` eigenvectors; the last two take
        each layer by itself, as a Kronecker product.
    steps : int, optional
        Most steps of "cg" (1,000) and "lissa" (20,000), eigenvectors of "arnoldi" (100).
    temperature : float, optional
        Probabilities behind curvature and residuals, and those of the wrong answers of a test
        example, are of the logits times this, .6 unless the curvature is the Hessian. Scores are
        to foretell models trained on part of the data, and those are less sure than the one at
        hand, which has seen every example: at 1 its residuals, nearly zero on what it knows by
        heart, rank the few hard examples above all others.
        It is not read off the data: of .3, .6 and 1, .6 foretold best on digits and wine, 1 on
        breast cancer (`python -m benchmarks.damping_choice --temperatures .3 1`).
    rows : int, optional
        Directions of curvature kept for each example, the largest first: 3, or 16 for "ekfac" and
        "kfac". The Hessian of a softmax has as many as there are classes, less one.
    **settings
        Those of every attributor: `task`, `checkpoints`, `layers`, `device`, `damping`,
        `batch_size`.

    References
    ----------
    Koh & Liang (2017), "Understanding Black-box Predictions via Influence Functions", ICML.
    Bae et al. (2022), "If Influence Functions are the Answer, Then What is the Question?",
    NeurIPS, for the damped Gauss-Newton form. Grosse et al. (2023), "Studying Large Language
    Model Generalization with Influence Functions", for EK-FAC.
    """

    method = "influence"

    def __init__(
        self,
        model,
        *,
        curvature: str = "gauss_newton",
        solver: str = "exact",
        steps: int | None = None,
        temperature: float | None = None,
        rows: int | None = None,
        task=None,
        checkpoints=None,
        layers=None,
        device=None,
        damping="auto",
        batch_size: int = 256,
    ):
        super().__init__(
            model,
            task=task,
            checkpoints=checkpoints,
            layers=layers,
            device=device,
            damping=damping,
            batch_size=batch_size,
        )
        hessian = curvature == "hessian"
        if temperature is None:
            temperature = 1.0 if hessian else SOFTENED
        if rows is None:
            rows = 16 if solver in KRONECKER else 3
        if steps is None:
            steps = {"lissa": 20_000, "arnoldi": 100}.get(solver, 1000)
        if curvature not in CURVATURES:
            raise SettingError(f"No curvature {curvature!r}; there are {', '.join(CURVATURES)}.")
        if solver not in SOLVERS + KRONECKER:
            known = ", ".join(SOLVERS + KRONECKER)
            raise SettingError(f"No solver {solver!r}; there are {known}.")
        if hessian and (solver in KRONECKER or temperature != 1):
            raise SettingError(
                "The exact Hessian goes with solver 'exact', 'cg', 'lissa' or 'arnoldi' and "
                "temperature 1."
            )
        if not 0 < temperature <= 1:
            raise SettingError(f"temperature={temperature!r} must be above 0 and at most 1.")
        for name, value in (("rows", rows), ("steps", steps)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise SettingError(f"{name}={value!r} must be a whole number, at least 1.")
        self.curvature, self.solver, self.steps = curvature, solver, steps
        self.temperature, self.rows = float(temperature), rows
        self.keeps_factors = solver in KRONECKER

    def settings(self) -> dict:
        own = ("curvature", "solver", "steps", "temperature", "rows")
        return super().settings() | {name: getattr(self, name) for name in own}

    @property
    def kind(self) -> str:
        return f"gradients for {self.curvature} at temperature {self.temperature:g}"

    def compute_train_features(self, dataloader, num_samples=None) -> GradientFeatures:
        """Rows: minus the gradient of the loss, those of the curvature, that of the output."""
        dataloader = self.served(dataloader, num_samples)
        features = self.compute_features(dataloader, None, self._train_outputs)
        if self.curvature == "hessian":
            features.curvature = [
                loss_hessian(
                    model,
                    self.task,
                    (batch for batch, _ in self.batches(dataloader, None, model)),
                    _flat_names(features.models[m][0]),
                )
                for m, (model, _) in enumerate(self.models())
            ]
        return features

    def compute_test_features(self, dataloader, num_samples=None) -> GradientFeatures:
        """Gradients of the output, among answers as unsure as `temperature` says."""
        return self.compute_features(dataloader, num_samples, self._test_outputs)

    def _test_outputs(self, prediction, batch):
        return self.task.softened(prediction, batch, temperature=self.temperature)

    def _train_outputs(self, prediction, batch):
        found = [self.task.ascent(prediction, batch, temperature=self.temperature)[:, None]]
        if self.curvature != "hessian":
            found.append(
                self.task.curvature_rows(
                    prediction, batch, rows=self.rows, temperature=self.temperature
                )
            )
        if self.task.doubts:
            found.append(self.task.output(prediction, batch)[:, None])
        return torch.cat([row.to(found[0].dtype) for row in found], 1)

    def compute_attributions(self, train_features, test_features) -> torch.Tensor:
        self.check_pair(train_features, test_features)
        queries = [rows[0] for rows in test_features.models]
        return self._scores(train_features, queries).cpu()

    def self_influence(self, train_features: GradientFeatures) -> torch.Tensor:
        """How far each example lowers its own loss: (-grad l)' (H + damping I)^-1 (-grad l)."""
        queries = [rows[0] for rows in train_features.models]
        return self._scores(train_features, queries).diagonal().cpu()

    @memory_advice("Lower rows=, attribute fewer examples, or use TRAKAttributor with proj_dim=")
    def _scores(self, train_features, queries) -> torch.Tensor:
        total, self.damping_used = 0.0, []
        for m, (train, query) in enumerate(zip(train_features.models, queries, strict=True)):
            damping = self._relative(train, train_features.weight[m])
            curvature = train[1:-1] if self.task.doubts else train[1:]
            if self.curvature == "hessian":
                hessian = train_features.curvature[m]
                scores, added = self._hessian_scores(hessian, train[0], query, damping)
            elif self.solver in KRONECKER:
                corrected = self.solver == "ekfac"
                scores, added = kronecker_scores(curvature, train[0], query, damping, corrected)
            else:
                scores, added = gauss_newton_scores(
                    curvature, train[0], query, damping, self.solver, self.steps
                )
            total = total + scores
            self.damping_used.append(added)
        return total / len(queries)

    def _relative(self, train: list[list[Factor]], weight: torch.Tensor) -> float:
        """The damping asked for, or the one that training came to rest on."""
        if self.damping != "auto":
            return float(self.damping)
        if not self.task.doubts:
            return DEFAULT_RELATIVE
        output, lengths = train[-1], diagonal(train[-1])
        weight = weight.to(lengths)
        left_over = summed([f.scaled(weight) for f in output]).double().square().sum()
        return resting_damping(weight, lengths, left_over, squared_sum(output))

    def _hessian_scores(self, hessian, train, query, damping):
        v = torch.cat([f.flat() for f in train], 1).double()
        q = torch.cat([f.flat() for f in query], 1).double()
        added = absolute_damping((hessian.diagonal().abs().sum() / len(v))[None, None], damping)
        if self.solver == "arnoldi":
            values, vectors = leading_eigenpairs(hessian, self.steps)
            # negative directions count as flat, as in the exact solve
            weight = 1 / (values.clamp(min=0) + added)
            return ((q @ vectors) * weight) @ (v @ vectors).T, added
        return solve(hessian, q, added, self.solver, steps=self.steps) @ v.T, added


def _flat_names(layers) -> list[str]:
    """Parameters in the order in which factors write their gradients out."""
    return [name for factor in layers for name in factor.gradients()]
