"""While a model trains: write what happens into its record."""

from importlib import import_module

# public name -> the module that defines it; callbacks load their frameworks only when asked for
_EXPORTS = {
    "Recorder": "recorder",
    "TrainingDynamicsTracker": "tracker",
    "HuggingFaceRecorder": "huggingface",
    "LightningRecorder": "lightning",
}

__all__ = list(_EXPORTS)


def __getattr__(name: str):
    if name not in _EXPORTS:
        raise AttributeError(f"module 'dg_explorer.recording' has no attribute {name!r}")
    value = getattr(import_module(f".{_EXPORTS[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted(__all__)
