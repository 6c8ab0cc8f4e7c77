"""While a model trains: write what happens into its record."""

from ..lazy_names import lazy_names

# public name -> the module that defines it; callbacks load their frameworks only when asked for
_EXPORTS = {
    "Recorder": "recorder",
    "TrainingDynamicsTracker": "tracker",
    "HuggingFaceRecorder": "trainers.huggingface",
    "LightningRecorder": "trainers.lightning",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _EXPORTS)
