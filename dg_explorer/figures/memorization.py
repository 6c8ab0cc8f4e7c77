"""Memorization over time: accuracies, the gap between them, and the transition."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from .style import COLOURS, TEST, TRAIN, dress, legend_above, say_empty, theme_colours, time_label


def memorization_figure(
    memorization: xr.Dataset,
    transitions: xr.Dataset | None = None,
    *,
    time_unit: str = "epoch",
    theme: str = "light",
) -> go.Figure:
    """Train and test accuracy, and the memorization score between them.

    Parameters
    ----------
    memorization : Dataset
        `train_accuracy`, `test_accuracy`, `memorization_score` over `epoch`, any may lack.
    transitions : Dataset, optional
        As `add_transitions` writes it; its times become marks, its interval a band.
    """
    figure = go.Figure()
    time = memorization["epoch"].values
    score = memorization.get("memorization_score")
    if score is not None:
        figure.add_scatter(
            x=time,
            y=score.values,
            name="memorization score (train − test)",
            line={"color": COLOURS[3], "dash": "dot", "width": 2},
            fill="tozeroy",
            fillcolor="rgba(204,121,167,0.12)",
        )
    for split, look in (("train", TRAIN), ("test", TEST)):
        name = f"{split}_accuracy"
        if name in memorization:
            mode = "lines+markers" if len(time) <= 40 else "lines"
            figure.add_scatter(
                x=time,
                y=memorization[name].values,
                name=f"{split} accuracy",
                mode=mode,
                line={**look, "width": 2.5},
                marker={"symbol": "circle" if split == "train" else "diamond", "size": 6},
            )
    if transitions is not None:
        _mark(figure, transitions, theme)
    figure.update_xaxes(title=time_label(time_unit))
    figure.update_yaxes(title="Accuracy (share right, 0–1)", range=[-0.03, 1.13])
    dress(figure, _title(transitions, time_unit), theme=theme)
    if not figure.data:
        say_empty(figure, "No accuracy is recorded in this run.", theme=theme)
    return legend_above(figure)


def _mark(figure: go.Figure, transitions: xr.Dataset, theme: str) -> None:
    look = theme_colours(theme)
    low, high = transitions["interval"].values
    if np.isfinite([low, high]).all():
        figure.add_vrect(x0=low, x1=high, fillcolor=COLOURS[4], opacity=0.18, line_width=0)
    marks = (("t_memorized", "memorized"), ("t50", "50 %"), ("t95", "95 %"))
    found = [(float(transitions[k]), words) for k, words in marks if k in transitions]
    found = [(at, words) for at, words in found if np.isfinite(at)]
    for index, (at, words) in enumerate(found):
        figure.add_vline(x=at, line={"color": look["soft"], "width": 1, "dash": "dot"})
        # words at the line, alternating in height so that near marks can both be read
        figure.add_annotation(
            x=at,
            y=1.06 + 0.05 * (index % 2),
            text=f"{words} · {at:,.0f}",
            showarrow=False,
            xanchor="left",
            xshift=4,
            font={"size": 12},
        )


def _title(transitions: xr.Dataset | None, time_unit: str) -> str:
    if transitions is None:
        return "Accuracy and memorization over training"
    memorized, settled = float(transitions["t_memorized"]), float(transitions["t95"])
    if not np.isfinite(memorized):
        return "The training set was not memorized in this record"
    if np.isfinite(settled) and memorized > 0:
        if settled > 1.5 * memorized:
            return (
                f"Memorized by {time_unit} {memorized:,.0f}, understood by {settled:,.0f}: "
                f"{settled / memorized:.1f} times as long"
            )
        return f"Train and test learned together, by {time_unit} {max(memorized, settled):,.0f}"
    return f"Memorized by {time_unit} {memorized:,.0f}; test accuracy never reached 95 %"
