"""`GrowingRun` at its import path of version 0.1; it is `dg_explorer.record.growing_run`."""

from .record.growing_run import GrowingRun

__all__ = ["GrowingRun"]
