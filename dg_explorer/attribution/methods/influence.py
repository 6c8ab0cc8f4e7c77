"""Influence functions: what a little more weight on a training example would have changed."""

from __future__ import annotations

import torch

from ...arguments import checked
from ...errors import SettingError
from ...memory import memory_advice
from ..attributor.base import Attributor
from ..attributor.features import GradientFeatures
from ..gradients.factors import Factor, summed
from ..gradients.watching import whatever_the_caller_does
from ..projections.kernel import diagonal, squared_sum
from ..projections.of_gradients import sketch_of
from ..solve.damping import DEFAULT_RELATIVE, resting_damping
from ..solve.gauss_newton import GaussNewton
from ..solve.hessian import DampedHessian, loss_hessian
from ..solve.kronecker import KroneckerCurvature
from ..solve.solvers import SOLVERS

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
        to predict models trained on part of the data, and those are less sure than the one at
        hand, which has seen every example: at 1 its residuals, nearly zero on what it knows by
        heart, rank the few hard examples above all others.
        It is not read off the data at hand: .3, .6 and 1 have mean LDS .657, .730 and .702 on
        breast cancer (three recipes), wine and iris, though .6 is not best on each
        (`python -m benchmarks.damping_choice --path FOLDER --seeds 2 --temperatures .3 1 --only
        "breast cancer" "breast cancer, 8 epochs" "breast cancer, strong decay" wine iris`).
    rows : int, optional
        Directions of curvature kept for each example, the largest first: 3, or 16 for "ekfac" and
        "kfac". The Hessian of a softmax has as many as there are classes, less one.
    proj_dim : int, optional
        Project gradients to this many numbers, and solve there: less memory, and scores of the
        projected model. Not with the Hessian, "ekfac" or "kfac", which need the layers.
    projection : "factored", "rademacher", "gaussian" or "sparse"
    projection_seed : int
    **settings
        Those of every attributor: `task`, `checkpoints`, `layers`, `device`, `damping`,
        `batch_size`.

    Examples
    --------
    ::

        influence = InfluenceFunctionAttributor(model).fit(train)
        influence.score(questions_of_today)
        influence.score(questions_of_today, candidates=never_trained_on)

    References
    ----------
    Koh & Liang (2017), "Understanding Black-box Predictions via Influence Functions", ICML.
    Bae et al. (2022), "If Influence Functions are the Answer, Then What is the Question?",
    NeurIPS, for the damped Gauss-Newton form. Grosse et al. (2023), "Studying Large Language
    Model Generalization with Influence Functions", for EK-FAC.
    """

    method = "influence"

    @checked
    def __init__(
        self,
        model,
        *,
        curvature: str = "gauss_newton",
        solver: str = "exact",
        steps: int | None = None,
        temperature: float | None = None,
        rows: int | None = None,
        proj_dim: int | None = None,
        projection: str = "factored",
        projection_seed: int = 0,
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
        self.sketch = sketch_of(proj_dim, projection, projection_seed)
        if self.sketch is not None and (hessian or solver in KRONECKER):
            needs = curvature if hessian else solver
            raise SettingError(
                f"proj_dim={proj_dim} mixes the layers, and {needs!r} needs them apart: use "
                f"curvature='gauss_newton' with solver='exact', or no proj_dim."
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
        told = f"gradients for {self.curvature} at temperature {self.temperature:g}"
        return told + self.sketched

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
        return self.compute_features(dataloader, num_samples, self.test_outputs)

    def test_outputs(self, prediction, batch) -> torch.Tensor:
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

    @whatever_the_caller_does()
    def fit(self, train, num_samples: int | None = None) -> InfluenceFunctionAttributor:
        """Solve the curvature of the training examples once, for every `score` after."""
        super().fit(train, num_samples)
        self._curvatures = self._solved(self._fitted)
        return self

    @whatever_the_caller_does()
    def score(self, test, *, candidates=None) -> torch.Tensor:
        fitted = self._fitted
        if fitted is None or candidates is not None:
            return super().score(test, candidates=candidates)
        features = test if hasattr(test, "origin") else self.compute_test_features(test)
        self.check_pair(fitted, features)
        return self._mean(self._curvatures, fitted, _first_rows(features)).cpu()

    def _candidate_scores(self, candidates, test_features) -> torch.Tensor:
        features = self.compute_features(candidates, None, self._ascents)
        if self._fitted is not None:
            self.check_pair(self._fitted, test_features)
            self.check_pair(self._fitted, features)
        return self._mean(self._curvatures, features, _first_rows(test_features)).cpu()

    def _ascents(self, prediction, batch):
        return self.task.ascent(prediction, batch, temperature=self.temperature)

    def compute_attributions(self, train_features, test_features) -> torch.Tensor:
        self.check_pair(train_features, test_features)
        return self._scores(train_features, _first_rows(test_features)).cpu()

    def compute_attributions_by_layer(self, train_features, test_features):
        if self.sketch is not None:
            return super().compute_attributions_by_layer(train_features, test_features)
        self.check_pair(train_features, test_features)
        queries = _first_rows(test_features)
        each = [
            curvature.by_layer(query, train[0])
            for curvature, train, query in zip(
                self._solved(train_features), train_features.models, queries, strict=True
            )
        ]
        first, *more = each
        return {
            name: sum((one[name] for one in more), scores).cpu() / len(each)
            for name, scores in first.items()
        }

    not_by_layer = "with proj_dim= mix the layers"

    def self_influence(self, train_features: GradientFeatures) -> torch.Tensor:
        """How far each example lowers its own loss: (-grad l)' (H + damping I)^-1 (-grad l)."""
        queries = _first_rows(train_features)
        return self._scores(train_features, queries).diagonal().cpu()

    @memory_advice("Lower rows=, attribute fewer examples, or use TRAKAttributor with proj_dim=")
    def _scores(self, train_features, queries) -> torch.Tensor:
        return self._mean(self._solved(train_features), train_features, queries)

    def _mean(self, curvatures, features, queries) -> torch.Tensor:
        """Scores of the examples of `features`, averaged over checkpoints."""
        first, *more = (
            curvature.scores(query, rows[0])
            for curvature, rows, query in zip(curvatures, features.models, queries, strict=True)
        )
        return sum(more, first) / len(queries)

    def _solved(self, train_features) -> list[GaussNewton | KroneckerCurvature | DampedHessian]:
        """The damped curvature of the training examples at each checkpoint."""
        found = []
        for m, train in enumerate(train_features.models):
            damping = self._relative(train, train_features.weight[m])
            rows = train[1:-1] if self.task.doubts else train[1:]
            if self.curvature == "hessian":
                n, hessian = len(train[0][0]), train_features.curvature[m]
                found.append(DampedHessian(hessian, train[0], n, damping, self.solver, self.steps))
            elif self.solver in KRONECKER:
                found.append(KroneckerCurvature(rows, damping, self.solver == "ekfac"))
            else:
                found.append(GaussNewton(rows, damping, self.solver, self.steps))
        self.damping_used = [curvature.added for curvature in found]
        return found

    def _relative(self, train: list[list[Factor]], weight: torch.Tensor):
        """The damping asked for, or the one that training came to rest on."""
        if self.damping != "auto":
            return self.damping
        if not self.task.doubts:
            return DEFAULT_RELATIVE
        output, lengths = train[-1], diagonal(train[-1])
        weight = weight.to(lengths)
        left_over = summed([f.scaled(weight) for f in output]).double().square().sum()
        return resting_damping(weight, lengths, left_over, squared_sum(output))


def _first_rows(features: GradientFeatures) -> list[list[Factor]]:
    return [rows[0] for rows in features.models]


def _flat_names(layers) -> list[str]:
    """Parameters in the order in which factors write their gradients out."""
    return [name for factor in layers for name in factor.gradients()]
