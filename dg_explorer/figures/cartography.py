"""The map of a dataset: how sure the model is of each example, against how much that wavers."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from .style import COLOURS, SHAPES, dress, escape, legend_above

REGIONS = {
    "easy": (COLOURS[0], SHAPES[0]),
    "ambiguous": (COLOURS[4], SHAPES[1]),
    "hard": (COLOURS[1], SHAPES[2]),
}


def cartography_figure(
    table: xr.Dataset, *, labels: xr.DataArray | None = None, theme: str = "light"
) -> go.Figure:
    """Every example by variability and confidence, coloured and shaped by region.

    Parameters
    ----------
    table : Dataset
        As `add_cartography` writes it.
    labels : DataArray over the same examples, optional
        Shown when hovering.
    """
    figure = go.Figure()
    for trace in cartography_traces(table, labels):
        figure.add_trace(trace)
    n = int(np.isfinite(table["confidence"]).sum())
    dress(figure, f"Which of the {n:,} examples are easy, ambiguous or hard", theme=theme)
    label_axes(figure)
    return legend_above(figure)


def label_axes(figure: go.Figure, **where) -> None:
    """Name the axes of a map, in the whole figure or in one subplot."""
    figure.update_xaxes(title="Variability (s.d. of probability)", **where)
    figure.update_yaxes(title="Confidence (mean probability)", range=[-0.03, 1.03], **where)


def cartography_traces(table: xr.Dataset, labels=None) -> list[go.Scatter]:
    """One trace a region, examples named by id."""
    dim = table["confidence"].dims[0]
    region = table["region"].values.astype(str)
    traces = []
    for name, (colour, shape) in REGIONS.items():
        chosen = np.flatnonzero(region == name)
        part = table.isel({dim: chosen})
        ids = part[dim].values
        learned = part["first_learned"].values
        words = [
            f"{dim} {i}"
            + ("" if labels is None else f", label {escape(labels.sel({dim: i}).item())}")
            + f"<br>forgotten {int(events)} times, "
            + (f"first right at {when:,.0f}" if np.isfinite(when) else "never right")
            for i, events, when in zip(ids, part["forgetting_events"].values, learned)
        ]
        traces.append(
            go.Scatter(
                x=part["variability"].values,
                y=part["confidence"].values,
                mode="markers",
                name=f"{name} ({len(ids):,})",
                marker={"color": colour, "symbol": shape, "size": 6, "opacity": 0.65},
                text=words,
                hovertemplate="%{text}<br>confidence %{y:.2f}, variability %{x:.2f}<extra></extra>",
            )
        )
    return traces
