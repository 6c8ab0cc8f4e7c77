"""The import path of 0.1 for trainings; see `dg_explorer.training.training`."""

from ..training.training import Training, train_many

__all__ = ["Training", "train_many"]
