"""How each group fares over training, and which groups teach the shortcut."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from .style import COLOURS, DASHES, SHAPES, dress, escape, time_label


def bias_figure(bias: xr.Dataset, *, time_unit: str = "epoch", theme: str = "light") -> go.Figure:
    """Accuracy of each test group, and the mean score of each training group for the worst one.

    Parameters
    ----------
    bias : Dataset
        `group_accuracy` (epoch, group), and where scores are there
        `group_score` (score_epoch, train_group).
    """
    scored = "group_score" in bias and bool(np.isfinite(bias["group_score"]).any())
    titles = ("Accuracy of each test group", "What helps (+) or harms (−) the worst group")
    figure = make_subplots(
        rows=1,
        cols=2 if scored else 1,
        subplot_titles=titles[: 1 + scored],
        horizontal_spacing=0.13,
    )
    mode = "lines+markers" if bias.sizes["epoch"] <= 40 else "lines"
    for index, group in enumerate(bias["group"].values):
        figure.add_scatter(
            x=bias["epoch"].values,
            y=bias["group_accuracy"].sel(group=group).values,
            name=f"test: {escape(group)}",
            mode=mode,
            line={**_look(index), "width": 2.5},
            marker={"symbol": SHAPES[index % len(SHAPES)], "size": 6},
            row=1,
            col=1,
        )
    figure.update_xaxes(title=time_label(time_unit), row=1, col=1)
    figure.update_yaxes(title="Accuracy (share right, 0–1)", range=[-0.03, 1.03], row=1, col=1)
    if scored:
        for index, group in enumerate(bias["train_group"].values):
            figure.add_scatter(
                x=bias["score_epoch"].values,
                y=bias["group_score"].sel(train_group=group).values,
                name=f"train: {escape(group)}",
                mode="lines+markers",
                line={**_look(index + bias.sizes["group"]), "width": 2.5},
                marker={"symbol": SHAPES[(index + bias.sizes["group"]) % len(SHAPES)], "size": 7},
                row=1,
                col=2,
            )
        figure.update_xaxes(title=time_label(time_unit), row=1, col=2)
        figure.update_yaxes(title="Mean score (test margin, log odds)", row=1, col=2)
    dress(figure, _title(bias), theme=theme, height=470)
    return figure.update_layout(
        legend={"orientation": "h", "x": 0, "y": -0.22, "yanchor": "top"}, margin={"t": 90}
    )


def _look(index: int) -> dict:
    return {"color": COLOURS[index % len(COLOURS)], "dash": DASHES[index % len(DASHES)]}


def _title(bias: xr.Dataset) -> str:
    last = bias["group_accuracy"].isel(epoch=-1)
    if not np.isfinite(last).any():
        return "Accuracy by group"
    worst = int(np.where(np.isfinite(last.values), last.values, np.inf).argmin())
    name, value = escape(last["group"].values[worst]), float(last.values[worst])
    return f"Worst group at the end: {name}, {value:.0%} right"
