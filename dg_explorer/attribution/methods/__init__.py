"""The methods by name: one row each, read by `attribute()` and by the contract test."""

from __future__ import annotations

from importlib import import_module

from ...errors import SettingError

# name -> module and class
METHODS = {
    "trak": ("trak", "TRAKAttributor"),
    "source": ("source", "SourceAttributor"),
    "influence": ("influence", "InfluenceFunctionAttributor"),
    "tracin": ("gradient_similarity", "TracInAttributor"),
    "gradient_dot": ("gradient_similarity", "GradientDotAttributor"),
    "gradient_cosine": ("gradient_similarity", "GradientSimilarityAttributor"),
    "feature_knn": ("feature_neighbours", "FeatureKNNAttributor"),
    "representation_similarity": ("feature_neighbours", "RepresentationSimilarityAttributor"),
}


def method_class(name: str) -> type:
    """The attributor of a method's name."""
    if name not in METHODS:
        raise SettingError(f"No method {name!r}; there are {', '.join(METHODS)}.")
    module, cls = METHODS[name]
    return getattr(import_module(f"{__package__}.{module}"), cls)
