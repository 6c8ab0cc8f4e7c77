"""`Run` at its import path of version 0.1; it is `dg_explorer.record.run`."""

from .record.run import Run

__all__ = ["Run"]
