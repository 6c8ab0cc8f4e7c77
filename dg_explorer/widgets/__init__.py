"""Views: a run, the selection, and nothing computed on a click. One anywidget a board."""

from .comparison import RunComparison
from .explorer import Explorer, InfluenceExplorer, MemorizationTimeline, explore
from .panel_views import BiasView, DynamicsMap, FeatureEvolution, GradientFlow, TransitionView
from .selection import Selection

__all__ = [
    "BiasView",
    "DynamicsMap",
    "Explorer",
    "FeatureEvolution",
    "GradientFlow",
    "InfluenceExplorer",
    "MemorizationTimeline",
    "RunComparison",
    "Selection",
    "TransitionView",
    "explore",
]
