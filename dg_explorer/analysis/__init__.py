"""When a run memorized, when it generalized, which examples did it, and what moved inside.

Classes and functions that add results to a `Run`. Names load on first use.
"""

from ..lazy_names import lazy_names

# public name -> the module of this package that defines it
_EXPORTS = {
    "BiasAttributor": "bias",
    "FeatureEvolutionTracker": "feature_evolution",
    "GradientFlowAnalyzer": "gradient_flow",
    "LearningDynamicsAnalyzer": "learning_dynamics",
    "MemorizationDetector": "memorization_detector",
    "PhaseTransitionAttributor": "phase_transition",
    "add_bias": "bias_development",
    "add_cartography": "cartography",
    "add_feature_measures": "feature_measures",
    "add_memorization": "memorization",
    "add_projections": "projections",
    "add_transitions": "transitions",
    "compare_runs": "comparison",
    "comparison_table": "comparison",
    "debias": "debiasing",
    "find_mislabeled": "mislabeled",
    "gradient_flags": "flow_flags",
    "plot_comparison": "comparison",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _EXPORTS)
