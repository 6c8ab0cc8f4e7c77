"""One checkpoint in, scores out: which training examples moved which answers."""

from ..lazy_names import lazy_names

# public name -> the module that defines it
_EXPORTS = {
    "Attributor": "attributor.base",
    "TRAKAttributor": "methods.trak",
    "InfluenceFunctionAttributor": "methods.influence",
    "TRAKer": "traker.traker",
    "TracInAttributor": "methods.gradient_similarity",
    "GradientSimilarityAttributor": "methods.gradient_similarity",
    "GradientDotAttributor": "methods.gradient_similarity",
    "FeatureKNNAttributor": "methods.feature_neighbours",
    "RepresentationSimilarityAttributor": "methods.feature_neighbours",
    "DelayedGeneralizationTRAK": "over_epochs.delayed",
    "EachToken": ".tasks.token_examples",
    "CLIPPairsTask": ".tasks.clip",
    "attribution_evolution": "over_epochs.score_changes",
    "phase_transition_examples": "over_epochs.score_changes",
    "compute_attribution_stability": "over_epochs.stability",
    "validate_trak_setup": "attributor.setup_checks",
    "compute_features_chunked": "attributor.chunked",
    "create_dummy_loader": "attributor.dummy_data",
    "analyze_grokking_attributions": "over_epochs.grokking",
    "analyze_grokking_examples": "over_epochs.grokking",
    "UnrolledAttributor": "unrolled.attributor",
    "SourceAttributor": "methods.source",
    "attribute_trajectory": "over_epochs.trajectory",
    "mixed_scores": "unrolled.mixed",
    "Training": ".training.training",
    "OptimizerSettings": ".training.step.by_hand",
    "OptimizerStep": ".training.step.generic",
    "step_from_torch": ".training.step.choose",
    "attribute": "walk",
    "Query": "queries.query",
    "QuerySet": "queries.query",
    "FactoredSketch": "projections.sketches",
    "top_attributions": "top.top_scores",
    "METHODS": "methods",
    "Task": ".tasks.task",
    "CustomTask": ".tasks.custom",
    "margin": ".tasks.margins",
    "FeatureMismatchError": "attributor.features",
    "UnsupportedModelError": "gradients.proof",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _EXPORTS)
