"""Weights and optimizer states: of a run, and as other tools write them. Never unpickled."""

from ..lazy_names import lazy_names

# public name -> the module that defines it
_EXPORTS = {
    "Checkpoint": "store",
    "ModelCheckpoints": "formats",
    "load_checkpoint": "store",
    "load_initial": "store",
    "load_into": "loading",
    "load_weights": "store",
    "model_checkpoints": "formats",
    "save_checkpoint": "store",
    "save_initial": "store",
    "saved_epochs": "store",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _EXPORTS)
