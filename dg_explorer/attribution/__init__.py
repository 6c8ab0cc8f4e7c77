"""One checkpoint in, scores out: which training examples moved which answers."""

from ..lazy_names import lazy_names

# public name -> the module that defines it
_EXPORTS = {
    "Attributor": "base",
    "TRAKAttributor": "trak",
    "InfluenceFunctionAttributor": "influence",
    "TRAKer": "traker",
    "TracInAttributor": "gradient_similarity",
    "GradientSimilarityAttributor": "gradient_similarity",
    "GradientDotAttributor": "gradient_similarity",
    "FeatureKNNAttributor": "feature_neighbours",
    "RepresentationSimilarityAttributor": "feature_neighbours",
    "DelayedGeneralizationTRAK": "delayed",
    "EachToken": "token_examples",
    "CLIPPairsTask": "clip_task",
    "attribution_evolution": "score_changes",
    "phase_transition_examples": "score_changes",
    "compute_attribution_stability": "stability",
    "validate_trak_setup": "setup_checks",
    "compute_features_chunked": "chunked",
    "create_dummy_loader": "dummy_data",
    "analyze_grokking_attributions": "grokking",
    "analyze_grokking_examples": "grokking",
    "UnrolledAttributor": "unrolled",
    "SourceAttributor": "source",
    "attribute_trajectory": "trajectory",
    "mixed_scores": "unrolled_mixed",
    "Training": "unrolled_training",
    "OptimizerSettings": "unrolled_optimizers",
    "attribute": "walk",
    "FactoredSketch": "sketches",
    "top_attributions": "top_scores",
    "METHODS": "methods",
    "Task": "tasks",
    "CustomTask": "tasks",
    "margin": "tasks",
    "FeatureMismatchError": "features",
    "UnsupportedModelError": "attach",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _EXPORTS)
