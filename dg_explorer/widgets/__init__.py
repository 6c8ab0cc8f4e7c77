"""Views: a run, the selection, and nothing computed on a click. One anywidget a board."""

from .explorer import Explorer, InfluenceExplorer, MemorizationTimeline, explore
from .selection import Selection

__all__ = ["Explorer", "InfluenceExplorer", "MemorizationTimeline", "Selection", "explore"]
