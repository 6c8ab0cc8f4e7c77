"""The specification's import path for TRAK, and the TRAK library's: `trak` becomes
`dg_explorer.trak`. The code lives in `dg_explorer.attribution`."""

from ..lazy_names import lazy_names

# public name -> the module that defines it
_EXPORTS = {
    "TRAKAttributor": "attribution.trak",
    "TRAKer": "attribution.traker",
    "DelayedGeneralizationTRAK": "attribution.delayed",
    "compute_attribution_stability": "attribution.stability",
    "validate_trak_setup": "attribution.setup_checks",
    "compute_features_chunked": "attribution.chunked",
    "create_dummy_loader": "attribution.dummy_data",
    "analyze_grokking_attributions": "attribution.grokking",
    "analyze_grokking_examples": "attribution.grokking",
    "analyze_bias_attributions": "evaluation.spurious",
    "benchmark_trak_efficiency": "evaluation.trak_efficiency",
    "evaluate_attribution_quality": "evaluation.attribution_quality",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _EXPORTS, within="dg_explorer")
