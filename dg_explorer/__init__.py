"""Which training examples made the model behave like this, and when did they start to matter?

One record (`Run`), three verbs: recorders write it, functions add to it, views read it.
Names load on first use, so that opening somebody else's run needs neither torch nor plotly;
`__init__.pyi` has the same names as plain imports, for editors and type checkers.
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
    "CustomTask": "attribution",
    "GradientSimilarityAttributor": "attribution",
    "InfluenceFunctionAttributor": "attribution",
    "RepresentationSimilarityAttributor": "attribution",
    "SourceAttributor": "attribution",
    "TRAKAttributor": "attribution",
    "TRAKer": "attribution",
    "TracInAttributor": "attribution",
    "Training": "attribution",
    "UnrolledAttributor": "attribution",
    "mixed_scores": "attribution",
    # evaluation
    "add_unrolled_scores": "evaluation",
    "brittleness": "evaluation",
    "counterfactual_check": "evaluation",
    "lds_over_time": "evaluation",
    "leave_one_out": "evaluation",
    "linear_datamodeling_score": "evaluation",
    "metasmoothness": "evaluation",
    "mislabel_auroc": "evaluation",
    "random_subsets": "evaluation",
    "subset_retraining": "evaluation",
    "training_of_run": "evaluation",
    "validity_light": "evaluation",
    "window_ablation": "evaluation",
    # checkpoints
    "load_into": "checkpoints",
    "model_checkpoints": "checkpoints",
    "save_checkpoint": "checkpoints",
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
    "complete": "analysis",
    "find_mislabeled": "analysis",
    "add_bias": "analysis",
    "add_cartography": "analysis",
    "add_feature_measures": "analysis",
    "add_memorization": "analysis",
    "add_projections": "analysis",
    "add_transitions": "analysis",
    "comparison_table": "analysis",
    "debias": "analysis",
    "plot_comparison": "analysis",
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
    # errors: each says what was asked, what there is, and what to do
    "ArchitectureMismatchError": "errors",
    "CheckpointError": "errors",
    "DGExplorerError": "errors",
    "DataError": "errors",
    "MissingGroupError": "errors",
    "NewerSchemaError": "errors",
    "NonFiniteError": "errors",
    "NotARunError": "errors",
    "ReadOnlyRunError": "errors",
    "RunError": "errors",
    "SchemaError": "errors",
    "SettingError": "errors",
    "ShuffledLoaderError": "errors",
    "UnknownExampleError": "errors",
    "UnsafeCheckpointError": "errors",
    "FactorMismatchError": "attribution.gradients.joining",
    "FeatureMismatchError": "attribution.attributor.features",
    "LibraryChangedError": "training.from_run",
    "MisalignedScoresError": "evaluation.lds",
    "NoScoresError": "evaluation.lds_by_method",
    "NoSecondDerivativeError": "training.products",
    "NotConvergedError": "attribution.solve.solvers",
    "NotDeterministicError": "training.training",
    "OptimizerStateMissingError": "training.from_run",
    "OutOfMemoryError": "memory",
    "PictureError": "widgets.export.photograph",
    "ReplayMissingError": "training.from_run",
    "ResumeMismatchError": "evaluation.retraining",
    "TooLittleMemoryError": "attribution.unrolled.memory_needed",
    "TrainedLossError": "training.trained_loss",
    "UnfinishedError": "attribution.traker.store",
    "UnsupportedModelError": "attribution.gradients.proof",
    "UnsupportedOptimizerError": "training.optimizers",
    "CoupledBatchError": "tasks.coupling",
    "TaskUnclearError": "tasks.inference",
    "DamagedRecordError": "errors",
    "WorkerLostError": "attribution.units",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _EXPORTS)
__all__.append("__version__")
