"""The specification's import path for influence functions; see `dg_explorer.attribution`."""

from .attribution.methods.influence import InfluenceFunctionAttributor

__all__ = ["InfluenceFunctionAttributor"]
