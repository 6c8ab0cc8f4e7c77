"""The specification's import path for TRAK; the code lives in `dg_explorer.attribution`."""

from .attribution.trak import TRAKAttributor

__all__ = ["TRAKAttributor"]
