"""When a run memorized, when it generalized, which examples did it, and what moved inside.

Classes and functions that add results to a `Run`. Names load on first use.
"""

from ..lazy_names import lazy_names

# public name -> the module of this package that defines it
_EXPORTS = {
    "BiasAttributor": "bias.attributor",
    "FeatureEvolutionTracker": "features.feature_evolution",
    "GradientFlowAnalyzer": "gradients.gradient_flow",
    "LearningDynamicsAnalyzer": "examples.learning_dynamics",
    "MemorizationDetector": "examples.memorization_detector",
    "PhaseTransitionAttributor": "transition.phase_transition",
    "add_bias": "bias.development",
    "add_cartography": "examples.cartography",
    "add_feature_measures": "features.feature_measures",
    "add_memorization": "examples.memorization",
    "add_projections": "features.projections",
    "add_transitions": "transition.transitions",
    "compare_runs": "comparison",
    "comparison_table": "comparison",
    "complete": "whole_board",
    "debias": "bias.debiasing",
    "find_mislabeled": "examples.mislabeled",
    "gradient_flags": "gradients.flow_flags",
    "plot_comparison": "comparison",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _EXPORTS)
