"""A run's examples on one page: the map, when they were learned, how often lost, and accuracy."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from .cartography import cartography_traces, label_axes
from .style import COLOURS, TRAIN, dress, time_label


def learning_dynamics_figure(
    table: xr.Dataset, dynamics: xr.Dataset, *, time_unit: str = "epoch", theme: str = "light"
) -> go.Figure:
    """Four panels about the training examples.

    Parameters
    ----------
    table : Dataset
        As `add_cartography` writes it.
    dynamics : Dataset
        `dynamics/train`.
    """
    figure = make_subplots(
        rows=2,
        cols=2,
        horizontal_spacing=0.12,
        vertical_spacing=0.17,
        subplot_titles=(
            "Map of the examples",
            "When examples were first right",
            "Accuracy and confidence",
            "How often examples were forgotten",
        ),
    )
    for trace in cartography_traces(table):
        figure.add_trace(trace, row=1, col=1)
    label_axes(figure, row=1, col=1)
    _first_learned(figure, table, time_unit)
    _curves(figure, dynamics, time_unit)
    _forgetting(figure, table)
    n = table.sizes[table["confidence"].dims[0]]
    events = int((table["forgetting_events"] > 0).sum())
    dress(
        figure,
        f"How {n:,} examples were learned: {events:,} were forgotten at least once",
        theme=theme,
        height=820,
    )
    figure.update_layout(
        legend={"orientation": "h", "x": 0, "y": -0.1, "yanchor": "top"}, margin={"t": 90}
    )
    return figure


def _first_learned(figure: go.Figure, table: xr.Dataset, time_unit: str) -> None:
    learned = np.sort(table["first_learned"].values)
    known = learned[np.isfinite(learned)]
    share = np.arange(1, len(known) + 1) / max(len(learned), 1)
    figure.add_scatter(
        x=known,
        y=share,
        name="examples right at least once",
        line={"color": COLOURS[2], "width": 2.5, "shape": "hv"},
        row=1,
        col=2,
    )
    figure.update_xaxes(title=time_label(time_unit), row=1, col=2)
    figure.update_yaxes(title="Share of examples (0–1)", range=[-0.03, 1.03], row=1, col=2)


def _curves(figure: go.Figure, dynamics: xr.Dataset, time_unit: str) -> None:
    seen = np.isfinite(dynamics["loss"])
    if "prediction" in dynamics:
        seen = seen | (dynamics["prediction"] >= 0)
    count = xr.DataArray(seen).sum("train").where(lambda n: n > 0)
    time = dynamics["epoch"].values
    figure.add_scatter(
        x=time,
        y=((dynamics["correct"] & seen).sum("train") / count).values,
        name="train accuracy",
        line={**TRAIN, "width": 2.5},
        row=2,
        col=1,
    )
    figure.add_scatter(
        x=time,
        y=dynamics["confidence"].mean("train").values,
        name="mean probability of the label",
        line={"color": COLOURS[3], "dash": "dot", "width": 2.5},
        row=2,
        col=1,
    )
    figure.update_xaxes(title=time_label(time_unit), row=2, col=1)
    figure.update_yaxes(title="Share, probability (0–1)", range=[-0.03, 1.03], row=2, col=1)


def _forgetting(figure: go.Figure, table: xr.Dataset) -> None:
    never = ~np.isfinite(table["first_learned"].values)
    events = table["forgetting_events"].values[~never]
    counts = np.bincount(events) if len(events) else np.zeros(1, dtype=int)
    names = [str(k) for k in range(len(counts))]
    if never.any():
        names, counts = [*names, "never right"], np.append(counts, never.sum())
    figure.add_bar(
        x=names,
        y=counts,
        name="examples",
        showlegend=False,
        marker={"color": COLOURS[0], "pattern": {"shape": ["", *["/"] * (len(names) - 1)]}},
        text=counts,
        textposition="outside",
        cliponaxis=False,
        row=2,
        col=2,
    )
    figure.update_xaxes(title="Times forgotten (right, then wrong)", type="category", row=2, col=2)
    figure.update_yaxes(title="Examples (count)", row=2, col=2)
