"""The training timeline, and under it the training examples that scored highest and lowest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from .style import COLOURS, TEST, TRAIN, dress, escape, legend_above, theme_colours, time_label

_LENGTH = 40  # characters of a name


def influence_figure(
    metrics: xr.Dataset | None,
    influencers: pd.DataFrame | None = None,
    *,
    name: str = "",
    marks: Sequence[dict] = (),
    causal: bool = True,
    time_unit: str = "epoch",
    theme: str = "light",
) -> go.Figure:
    """Accuracies over training with its marks, and one moment's influencers as bars.

    Parameters
    ----------
    metrics : Dataset over `epoch`, optional
        `train_accuracy` and `test_accuracy` (0 to 1), each drawn where it is there.
    influencers : DataFrame, optional
        Columns side ("helped" or "hurt"), train (id), score and, where recorded, text; attrs
        epoch and test. Left out, the timeline stands alone.
    marks : dicts of label and epoch
    causal : False where a check found that the scores predict nothing
        The axis then says no more than that they are scores.
    """
    alone = influencers is None
    figure = make_subplots(
        rows=1 if alone else 2,
        cols=1,
        row_heights=None if alone else [0.42, 0.58],
        vertical_spacing=0.2,
        subplot_titles=None if alone else (None, _about(influencers, causal, time_unit)),
    )
    top: dict[str, Any] = {"row": 1, "col": 1}
    if metrics is not None:
        epochs = metrics["epoch"].values
        for label, (values, look) in _lines(metrics, theme_colours(theme)["soft"]).items():
            figure.add_scatter(x=epochs, y=values, name=label, mode="lines", line=look, **top)
    for mark in marks:
        figure.add_vline(x=mark["epoch"], line_dash="dot", annotation_text=mark["label"], **top)
    dress(figure, escape(name), theme=theme, height=380 if alone else 780)
    figure.update_xaxes(title=time_label(time_unit), **top)
    figure.update_yaxes(title="Accuracy (share right, 0–1)", range=[-0.03, 1.03], **top)
    if not alone:
        _add_bars(figure, influencers, causal)
    return legend_above(figure)


def _lines(metrics: xr.Dataset, soft: str) -> dict[str, tuple]:
    found = {}
    for split, look in (("train", TRAIN), ("test", TEST)):
        if f"{split}_accuracy" in metrics:
            found[f"{split} accuracy"] = metrics[f"{split}_accuracy"].values, look
    if len(found) == 2:
        gap = metrics["train_accuracy"].values - metrics["test_accuracy"].values
        found["memorization"] = gap, {"color": soft, "dash": "dot"}
    return found


def _about(influencers: pd.DataFrame, causal: bool, time_unit: str) -> str:
    words = "Influence on" if causal else "Scores for"
    attrs = influencers.attrs
    return f"{words} test example {attrs['test']} at {time_unit} {attrs['epoch']}"


def _add_bars(figure: go.Figure, influencers: pd.DataFrame, causal: bool) -> None:
    ids = influencers["train"]
    texts = influencers["text"].astype(str) if "text" in influencers else [""] * len(ids)
    above = influencers["side"] == "helped"
    figure.add_bar(
        x=influencers["score"],
        y=[f"{escape(text[:_LENGTH])} #{id}".strip() for text, id in zip(texts, ids)],
        orientation="h",
        showlegend=False,
        marker={
            "color": [COLOURS[0] if up else COLOURS[1] for up in above],
            "pattern": {"shape": ["" if up else "/" for up in above]},
        },
        row=2,
        col=1,
    )
    words = "positive: training on it raised the margin" if causal else "test margin, log odds"
    figure.update_yaxes(autorange="reversed", type="category", row=2, col=1)
    figure.update_xaxes(title=f"Score ({words})", row=2, col=1)
