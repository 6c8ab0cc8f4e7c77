"""Labelled data in, a plotly Figure out; nothing here knows what a run or a widget is."""

from ..lazy_names import lazy_names

# public name -> the module of this package that defines it
_EXPORTS = {
    "bias_figure": "bias",
    "cartography_figure": "cartography",
    "comparison_figure": "comparison",
    "critical_examples_figure": "critical_examples",
    "feature_evolution_figure": "feature_evolution",
    "feature_measures_figure": "feature_measures",
    "gradient_flow_figure": "gradient_flow",
    "influence_figure": "influence",
    "learning_dynamics_figure": "learning_dynamics",
    "memorization_figure": "memorization",
    "removal_figure": "removal",
    "save_figure": "saving",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _EXPORTS)
