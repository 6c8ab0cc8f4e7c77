"""The specification's import path for TRAK, and the TRAK library's: `trak` becomes
`dg_explorer.trak`. The code lives in `dg_explorer.attribution`."""

from ..lazy_names import lazy_names

# public name -> the module that defines it
_EXPORTS = {
    "TRAKAttributor": "attribution.methods.trak",
    "TRAKer": "attribution.traker.traker",
    "DelayedGeneralizationTRAK": "attribution.over_epochs.delayed",
    "compute_attribution_stability": "attribution.over_epochs.stability",
    "validate_trak_setup": "attribution.attributor.setup_checks",
    "compute_features_chunked": "attribution.attributor.chunked",
    "create_dummy_loader": "attribution.attributor.dummy_data",
    "analyze_grokking_attributions": "attribution.over_epochs.grokking",
    "analyze_grokking_examples": "attribution.over_epochs.grokking",
    "analyze_bias_attributions": "evaluation.spurious",
    "benchmark_trak_efficiency": "evaluation.trak_efficiency",
    "evaluate_attribution_quality": "evaluation.attribution_quality",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _EXPORTS, within="dg_explorer")
