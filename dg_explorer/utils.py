"""The specification's import path for simple attribution and the training tracker."""

from .lazy_names import lazy_names

# public name -> the package that defines it
_EXPORTS = {
    "FeatureKNNAttributor": "attribution",
    "GradientSimilarityAttributor": "attribution",
    "RepresentationSimilarityAttributor": "attribution",
    "TrainingDynamicsTracker": "recording",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _EXPORTS, within="dg_explorer")
