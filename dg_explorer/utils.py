"""The specification's import path for simple attribution and the training tracker."""

from importlib import import_module

# public name -> the package that defines it
_EXPORTS = {
    "FeatureKNNAttributor": "attribution",
    "GradientSimilarityAttributor": "attribution",
    "RepresentationSimilarityAttributor": "attribution",
    "TrainingDynamicsTracker": "recording",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str):
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"dg_explorer.{_EXPORTS[name]}"), name)


def __dir__():
    return __all__
