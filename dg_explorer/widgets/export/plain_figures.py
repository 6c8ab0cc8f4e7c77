"""What a board shows at this moment as a plain plotly figure, for papers and for customising."""

from __future__ import annotations

from ..reading.lights import light_of, stamped
from ..reading.marks import marks
from ..reading.tables import score_epoch, top_influencers

_K = 8


def board_figure(explorer, *, theme: str = "light"):
    """A `plotly.graph_objects.Figure`: the timeline, and the influencers where scores are."""
    from ...figures.influence import influence_figure

    reader, now = explorer._sources.reader, explorer.selection.value
    settings = {
        "name": reader.run.name,
        "marks": marks(reader),
        "time_unit": reader.run.time_unit,
        "theme": theme,
    }
    metrics = reader.group("metrics") if reader.has("metrics") else None
    shows_influence = "influencers" in (explorer._views or ["influencers"])
    if not shows_influence or now.test is None or not reader.methods:
        return influence_figure(metrics, **settings)
    method = now.method or reader.methods[0]
    epoch = score_epoch(reader, method, None, now.epoch)
    light = light_of(reader, method, epoch)
    frame = top_influencers(reader, method, now.test, epoch, _K)
    figure = influence_figure(metrics, frame, causal=light.colour != "red", **settings)
    return stamped(figure, light)
