"""The import path of 0.1 for trainings; see `dg_explorer.training.training`."""

from ..training.many import train_many
from ..training.training import Training

__all__ = ["Training", "train_many"]
