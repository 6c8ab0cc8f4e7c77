"""Views: a run, the selection, and nothing computed on a click. One anywidget a board."""

from ..lazy_names import lazy_names

# public name -> the module of this package that defines it
_EXPORTS = {
    "BiasView": "board.panel_views",
    "DynamicsMap": "board.panel_views",
    "Explorer": "board.explorer",
    "FeatureEvolution": "board.panel_views",
    "GradientFlow": "board.panel_views",
    "InfluenceExplorer": "board.panel_views",
    "MemorizationTimeline": "board.panel_views",
    "RunComparison": "board.comparison",
    "Selection": "reading.selection",
    "TransitionView": "board.panel_views",
    "explore": "board.explorer",
}

__getattr__, __dir__, __all__ = lazy_names(__name__, _EXPORTS)
