"""The contract of every attributor: features of train and test, then a matrix of scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ...errors import DataError, SettingError
from ..gradients.factors import Explicit
from ..gradients.watching import whatever_the_caller_does
from ..projections.fidelity import TEST, TRAIN, fidelity, half_of, spread_over
from .features import GradientFeatures, check_same_origin
from .gradient_reader import GradientReader
from .patterns import analyze_attribution_patterns, find_top_attributions


class Attributor(GradientReader):
    """Scores of training examples for test examples, from one checkpoint or an ensemble.

    Score > 0: training on the example raised the output of the test example.
    The model is only ever read: it leaves every call as it came, bit by bit.

    Parameters
    ----------
    model : torch module
        Its present weights are used unless `checkpoints` are given.
    task : str, Task, or pair (loss, output) of functions, optional
        What is attributed: "classification" (the margin of the right class),
        "language_modeling", "regression", ... By default what the model's class, its answers and
        the labels speak for; where they could mean several tasks, it is asked for.
    checkpoints : list or mapping of state dicts, models or paths, or a folder, optional
        An ensemble, such as the same recipe from several seeds.
    layers : list of str, optional
        Module or parameter names, or patterns; by default every trainable parameter.
    damping : "auto", float or ("absolute", float)
        Ridge, relative to the mean diagonal of the kernel. "auto" reads it off the checkpoint of
        a classifier (see `damping`) and is 1 for other tasks. ("absolute", x) adds x itself to
        the sum over the training examples (n times what is added to a mean). `damping_used`
        holds what was added, in absolute terms, at each checkpoint.
    batch_size : int
        Used where a dataset is given instead of a loader. Scores do not depend on it.
    """

    #: the unit of a score, or that scores only rank
    unit = "rank only"

    def settings(self) -> dict:
        """Everything that shapes the scores, as plain values for the record."""
        layers = self.layers if self.layers is None or isinstance(self.layers, str) else None
        return {
            "method": self.method,
            "task": self.task.name,
            "layers": layers if self.layers is None else list(np.atleast_1d(self.layers)),
            "damping": self.damping,
            "n_checkpoints": self.n_checkpoints,
        } | ({} if self.sketch is None else {"projection": str(self.sketch)})

    def compute_train_features(self, dataloader, num_samples: int | None = None):
        """Features of the training examples (of the first `num_samples`)."""
        return self.compute_features(dataloader, num_samples)

    def compute_test_features(self, dataloader, num_samples: int | None = None):
        """Features of the test examples (of the first `num_samples`)."""
        return self.compute_features(dataloader, num_samples)

    def compute_attributions(self, train_features, test_features) -> torch.Tensor:
        """Scores, float64, shape (n_test, n_train)."""
        raise NotImplementedError

    def self_influence(self, train_features) -> torch.Tensor:
        """Each training example's score for itself, float64, shape (n_train,)."""
        raise NotImplementedError

    def own_scores(self, train_features) -> torch.Tensor | None:
        """`self_influence` where it costs little beside the scores just computed, else None."""
        return None

    @whatever_the_caller_does()
    def attribute(self, train, test) -> torch.Tensor:
        """Features and scores in one go, float64, shape (n_test, n_train)."""
        return self.compute_attributions(
            self.compute_train_features(train), self.compute_test_features(test)
        )

    @whatever_the_caller_does()
    def attribute_by_layer(self, train, test) -> dict[str, torch.Tensor]:
        """Scores of each layer by itself, from one pass; over the layers they sum to the score.

        Returns
        -------
        dict of module name -> float64, shape (n_test, n_train)
            What the part of the test example's gradient that is in the layer is worth.

        Raises
        ------
        SettingError
            Scores of this method are no sum over layers.
        """
        return self.compute_attributions_by_layer(
            self.compute_train_features(train), self.compute_test_features(test)
        )

    def compute_attributions_by_layer(
        self, train_features, test_features
    ) -> dict[str, torch.Tensor]:
        """`attribute_by_layer` from features."""
        raise self.refused_by_layer()

    def check_by_layer(self) -> None:
        """Raise `SettingError` where scores of this method and these settings are no such sum."""
        one = type(self).compute_attributions_by_layer is Attributor.compute_attributions_by_layer
        if one or self.sketch is not None or getattr(self, "projection", None) is not None:
            raise self.refused_by_layer()

    def refused_by_layer(self) -> SettingError:
        """The error that says why scores are no sum over layers."""
        return SettingError(
            f"Scores of {self.method!r} {self.not_by_layer}. Those of 'trak', 'influence', "
            f"'tracin', 'gradient_dot' and 'gradient_cosine' are, without proj_dim=."
        )

    #: why `attribute_by_layer` is refused
    not_by_layer = "are no sum over layers"
    #: whether a row of a run has the scores of each layer beside their sum
    layers_too = False

    def layers_needed(self, run) -> bool:
        """Whether scores of this run are made from those of its layers."""
        return False

    def projection_fidelity(self, train_features, test_features) -> float | None:
        """The correlation with exact scores that two halves of the projection speak for, 0 to 1.

        Returns
        -------
        float, or None where nothing is projected at random; see `projections.fidelity`
        """
        if self.sketch is None or self.sketch.dim < 4:
            return None
        kept, places = self.damping_used, (TRAIN, TEST)
        some = [
            f.take(spread_over(len(f), most))
            for f, most in zip((train_features, test_features), places, strict=True)
        ]
        found = fidelity(lambda half: self.compute_attributions(*(_half(f, half) for f in some)))
        self.damping_used = kept
        return found

    # ------------------------------------------------------------ fitted once, asked often

    @whatever_the_caller_does()
    def fit(self, train, num_samples: int | None = None) -> Attributor:
        """Keep what scores need of the training examples, so that `score` can be called often.

        Parameters
        ----------
        train : data
            Of which curvature, kernel and damping are, whatever is scored later.

        Returns
        -------
        The attributor itself.
        """
        self._fitted = self.compute_train_features(train, num_samples)
        return self

    @whatever_the_caller_does()
    def score(self, test, *, candidates=None) -> torch.Tensor:
        """Scores for test examples that may have come up after `fit`.

        Parameters
        ----------
        test : data, or features of this attributor
        candidates : data, optional
            Examples to score in place of those of `fit`: such as never were trained on. Their
            scores say what a little weight on them would have done, by the curvature of `fit`.

        Returns
        -------
        float64, shape (n_test, n_train), or (n_test, n_candidates)

        Raises
        ------
        SettingError
            `fit` has not been called, or the method cannot score other candidates.
        FeatureMismatchError
            The model holds other weights than in `fit`.
        """
        if self._fitted is None:
            raise SettingError(f"{type(self).__name__}.score needs fit(train) before it.")
        if not hasattr(test, "origin") and not torch.is_tensor(test):
            test = self.compute_test_features(test)
        if candidates is None:
            return self.compute_attributions(self._fitted, test)
        return self._candidate_scores(candidates, test)

    def _candidate_scores(self, candidates, test_features) -> torch.Tensor:
        raise SettingError(
            f"candidates= goes with methods that score an example apart from the others: "
            f"'influence', 'tracin', 'gradient_dot' and 'gradient_cosine', not {self.method!r}."
        )

    find_top_attributions = staticmethod(find_top_attributions)
    analyze_attribution_patterns = staticmethod(analyze_attribution_patterns)

    @staticmethod
    def check_pair(train: GradientFeatures, test: GradientFeatures) -> None:
        """Refuse features that do not belong together."""
        for name, features in (("train", train), ("test", test)):
            if not isinstance(features, GradientFeatures):
                raise DataError(
                    f"{name} features must come from compute_{name}_features of this attributor; "
                    f"got {type(features).__name__}."
                )
        check_same_origin(train.origin, test.origin)


def _half(features: GradientFeatures, half: int) -> GradientFeatures:
    """Features by every second number of their projection."""
    models = [
        [
            [
                Explicit(half_of(f.gradient, half), f.names, ((f.numel // 2,),))
                for f in layers
                if isinstance(f, Explicit)  # as all are that are projected
            ]
            for layers in rows
        ]
        for rows in features.models
    ]
    return replace(features, models=models)
