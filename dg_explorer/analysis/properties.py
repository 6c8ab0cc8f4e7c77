"""The import path of 0.1 for enrichment; see `dg_explorer.analysis.transition.properties`."""

from .transition.properties import property_enrichment

__all__ = ["property_enrichment"]
