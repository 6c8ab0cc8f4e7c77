"""Is it true? Retraining on subsets, datamodeling scores, removals, and when to believe a score."""

from ..lazy_names import lazy_names

_EXPORTS = {
    "subset_retraining": "retraining",
    "random_subsets": "retraining",
    "linear_datamodeling_score": "lds",
    "analyze_bias_attributions": "spurious",
    "benchmark_trak_efficiency": "trak_efficiency",
    "evaluate_attribution_quality": "attribution_quality",
    "lds_over_time": "retrainings.lds_over_time",
    "derivative_error": "smoothness",
    "metasmoothness": "smoothness",
    "training_of_run": ".training.from_run",
    "add_unrolled_scores": ".attribution.unrolled.recorded",
    "counterfactual_check": "retrainings.counterfactual",
    "leave_one_out": "retrainings.counterfactual",
    "window_ablation": "retrainings.counterfactual",
    "validity_light": "light",
    "Light": "light",
    "brittleness": "retrainings.brittle",
    "calibrate": "retrainings.calibration",
    "Calibration": "retrainings.calibration",
    "retrain": "retrainings.again",
    "replicate": "retrainings.again",
    "what_if": "retrainings.what_if",
    "what_ifs": "retrainings.what_if",
    "WhatIf": "retrainings.what_if",
    "mislabel_auroc": "mislabels",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _EXPORTS)
