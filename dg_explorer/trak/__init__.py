"""The specification's import path for TRAK, and the TRAK library's: `trak` becomes
`dg_explorer.trak`. The code lives in `dg_explorer.attribution`."""

from importlib import import_module

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

__all__ = list(_EXPORTS)


def __getattr__(name: str):
    if name not in _EXPORTS:
        raise AttributeError(f"module 'dg_explorer.trak' has no attribute {name!r}")
    value = getattr(import_module(f"dg_explorer.{_EXPORTS[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted(__all__)
