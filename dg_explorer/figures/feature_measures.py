"""A layer's geometry over training: separability, dimension, similarity, collapse."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from .style import COLOURS, DASHES, dress, theme_colours, time_label

PANELS = {
    "How far classes lie apart": {
        "unit": "silhouette (−1 to 1)",
        "silhouette_score": "silhouette",
    },
    "Between classes over within": {"unit": "Fisher ratio", "fisher_ratio": "Fisher ratio"},
    "Directions in use": {
        "unit": "directions (count)",
        "effective_rank": "effective rank",
        "participation_ratio": "participation ratio",
    },
    "Similarity to other moments": {
        "unit": "linear CKA (0–1)",
        "cka_to_previous": "to the previous record",
        "cka_to_last": "to the last",
    },
    "Neural collapse (0 = collapsed)": {
        "unit": "NC2, NC3, NC4",
        "nc2_norms": "NC2 lengths",
        "nc2_angles": "NC2 angles",
        "nc3": "NC3",
        "nc4": "NC4",
    },
    "Spread within classes (NC1)": {"unit": "NC1", "nc1": "NC1"},
}
_LOG = {"fisher_ratio", "nc1"}


def feature_measures_figure(
    measures: xr.Dataset,
    *,
    layer: str = "",
    transitions=(),
    time_unit: str = "epoch",
    theme: str = "light",
) -> go.Figure:
    """One panel a family of measures, those without any value left out.

    Parameters
    ----------
    measures : Dataset over `epoch`
        As `add_feature_measures` writes it.
    transitions : epochs to mark
    """
    panels = {
        title: panel
        for title, panel in PANELS.items()
        if any(k in measures and np.isfinite(measures[k]).any() for k in panel)
    }
    rows = max(1, -(-len(panels) // 2))
    figure = make_subplots(
        rows=rows,
        cols=2,
        subplot_titles=tuple(panels),
        horizontal_spacing=0.13,
        vertical_spacing=0.14 if rows > 2 else 0.2,
    )
    time = measures["epoch"].values
    for number, panel in enumerate(panels.values()):
        where: dict[str, Any] = {"row": number // 2 + 1, "col": number % 2 + 1}
        for index, (name, words) in enumerate((k, v) for k, v in panel.items() if k != "unit"):
            if name not in measures or not np.isfinite(measures[name]).any():
                continue
            figure.add_scatter(
                x=time,
                y=measures[name].values,
                name=words,
                mode="lines+markers" if len(time) <= 40 else "lines",
                line={"color": COLOURS[index], "dash": DASHES[index], "width": 2.5},
                marker={"size": 5},
                showlegend=len(panel) > 2,
                **where,
            )
        logarithmic = any(k in _LOG for k in panel)
        figure.update_yaxes(
            title=panel["unit"] + (", log scale" if logarithmic else ""),
            type="log" if logarithmic else "linear",
            **where,
        )
        figure.update_xaxes(title=time_label(time_unit), **where)
        for epoch in transitions:
            soft = theme_colours(theme)["soft"]
            figure.add_vline(x=epoch, line={"color": soft, "width": 1, "dash": "dot"}, **where)
    of_layer = f" of {layer}" if layer else ""
    marked = ", transitions dotted" if len(tuple(transitions)) else ""
    dress(
        figure, f"Geometry of the features{of_layer}{marked}", theme=theme, height=120 + 300 * rows
    )
    figure.update_layout(
        legend={"orientation": "h", "x": 0, "y": -0.4 / (rows + 1), "yanchor": "top"},
        margin={"t": 90},
    )
    return figure
