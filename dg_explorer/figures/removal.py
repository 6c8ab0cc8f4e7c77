"""What happens when examples are really removed, beside removing as many at random."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from .style import COLOURS, TEST, dress, legend_above, time_label


def removal_figure(
    curves: xr.Dataset, *, time_unit: str = "epoch", theme: str = "light"
) -> go.Figure:
    """Test accuracy with everything, without the chosen examples, and without random ones.

    Parameters
    ----------
    curves : Dataset
        `with_all` (epoch), `without_chosen` (epoch), `without_random` (draw, epoch).
    """
    time = curves["epoch"].values
    random = curves["without_random"].transpose("draw", "epoch").values
    low, high = np.nanmin(random, axis=0), np.nanmax(random, axis=0)
    figure = go.Figure()
    figure.add_scatter(
        x=np.concatenate([time, time[::-1]]),
        y=np.concatenate([high, low[::-1]]),
        fill="toself",
        fillcolor="rgba(0,114,178,0.18)",
        line={"width": 0},
        hoverinfo="skip",
        name=f"without as many at random, range of {len(random)}",
    )
    lines = (
        ("with_all", "with every example", {"color": COLOURS[2], "dash": "dot"}),
        ("without_chosen", "without the chosen examples", TEST),
    )
    for name, words, look in lines:
        figure.add_scatter(x=time, y=curves[name].values, name=words, line={**look, "width": 2.5})
    n = curves.attrs.get("n_removed")
    dress(
        figure,
        f"Retrained without {n} chosen examples, and without {n} random ones",
        theme=theme,
    )
    figure.update_xaxes(title=time_label(time_unit))
    figure.update_yaxes(title="Test accuracy (share right, 0–1)", range=[-0.03, 1.03])
    return legend_above(figure)
