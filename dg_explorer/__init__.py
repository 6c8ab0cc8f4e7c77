"""Which training examples made the model behave like this, and when did they start to matter?

One record (`Run`), three verbs: recorders write it, functions add to it, views read it.
Names load on first use, so that opening somebody else's run needs neither torch nor plotly.
"""

from .lazy_names import lazy_names

__version__ = "0.1.0"

# public name -> the module that defines it
_EXPORTS = {
    # the record
    "Run": "run",
    "with_ids": "data.ids",
    "ids_of": "data.ids",
    # attribution
    "attribute": "attribution",
    "attribute_trajectory": "attribution",
    "DelayedGeneralizationTRAK": "attribution",
    "FeatureKNNAttributor": "attribution",
    "GradientSimilarityAttributor": "attribution",
    "RepresentationSimilarityAttributor": "attribution",
    "SourceAttributor": "attribution",
    "TRAKAttributor": "attribution",
    "TRAKer": "attribution",
    "TracInAttributor": "attribution",
    "UnrolledAttributor": "attribution",
    # evaluation
    "add_unrolled_scores": "evaluation",
    "brittleness": "evaluation",
    "counterfactual_check": "evaluation",
    "lds_over_time": "evaluation",
    "leave_one_out": "evaluation",
    "linear_datamodeling_score": "evaluation",
    "metasmoothness": "evaluation",
    "mixed_scores": "attribution",
    "mislabel_auroc": "evaluation",
    "subset_retraining": "evaluation",
    "training_of_run": "evaluation",
    "validity_light": "evaluation",
    "window_ablation": "evaluation",
    # checkpoints
    "model_checkpoints": "checkpoints",
    # recording
    "HuggingFaceRecorder": "recording",
    "LightningRecorder": "recording",
    "Recorder": "recording",
    "TrainingDynamicsTracker": "recording",
    # analysis
    "BiasAttributor": "analysis",
    "FeatureEvolutionTracker": "analysis",
    "GradientFlowAnalyzer": "analysis",
    "LearningDynamicsAnalyzer": "analysis",
    "MemorizationDetector": "analysis",
    "PhaseTransitionAttributor": "analysis",
    "compare_runs": "analysis",
    "find_mislabeled": "analysis",
    "add_cartography": "analysis",
    "add_memorization": "analysis",
    "add_projections": "analysis",
    "add_transitions": "analysis",
    "demos": "demos",
    # views
    "Explorer": "widgets",
    "InfluenceExplorer": "widgets",
    "MemorizationTimeline": "widgets",
    "explore": "widgets",
    "BiasView": "widgets",
    "DynamicsMap": "widgets",
    "FeatureEvolution": "widgets",
    "GradientFlow": "widgets",
    "RunComparison": "widgets",
    "TransitionView": "widgets",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _EXPORTS)
__all__.append("__version__")
