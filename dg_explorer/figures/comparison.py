"""Several runs on one time axis, from start to end."""

from __future__ import annotations

import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from .style import COLOURS, DASHES, SHAPES, dress, escape

PANELS = {
    "train_accuracy": ("Train accuracy", "share right, 0–1"),
    "test_accuracy": ("Test accuracy", "share right, 0–1"),
    "memorization_score": ("Memorization (train − test)", "accuracy"),
}


def comparison_figure(runs: xr.Dataset, *, theme: str = "light") -> go.Figure:
    """Accuracies and memorization of several runs on normalised time.

    Parameters
    ----------
    runs : Dataset
        As `compare_runs` gives it: variables over (run, moment), `moment` from 0 to 1.
    """
    figure = make_subplots(
        rows=1,
        cols=3,
        subplot_titles=[title for title, _ in PANELS.values()],
        horizontal_spacing=0.08,
    )
    for column, (name, (_, unit)) in enumerate(PANELS.items(), start=1):
        for index, run in enumerate(runs["run"].values):
            figure.add_scatter(
                x=runs["moment"].values,
                y=runs[name].sel(run=run).values,
                name=escape(run),
                legendgroup=str(run),
                showlegend=column == 1,
                mode="lines+markers",
                line={
                    "color": COLOURS[index % len(COLOURS)],
                    "dash": DASHES[index % len(DASHES)],
                    "width": 2.5,
                },
                # a few marks only: enough to tell lines apart without colour
                marker={
                    "symbol": SHAPES[index % len(SHAPES)],
                    "size": 8,
                    "maxdisplayed": 8,
                },
                row=1,
                col=column,
            )
        figure.update_xaxes(
            title="Share of training done (0–1)", range=[-0.02, 1.02], row=1, col=column
        )
        low = -0.13 if name == "memorization_score" else -0.03
        figure.update_yaxes(title=unit, range=[low, 1.03], row=1, col=column)
    dress(figure, f"{runs.sizes['run']} runs side by side", theme=theme, height=440)
    return figure.update_layout(
        legend={"orientation": "h", "x": 0, "y": -0.25, "yanchor": "top"}, margin={"t": 90}
    )
