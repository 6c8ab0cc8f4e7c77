"""What a board shows at this moment as a plain plotly figure, for papers and for customising."""

from __future__ import annotations

from .marks import marks
from .tables import score_epoch, top_influencers

TRAIN, TEST, HELPED, HURT, MUTED = "#0072B2", "#D55E00", "#0072B2", "#D55E00", "#5A6472"
_K = 8


def board_figure(explorer):
    """A `plotly.graph_objects.Figure`: the timeline, and the influencers where scores are."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    reader, now = explorer._sources.reader, explorer.selection.value
    unit = reader.run.time_unit
    shows_influence = "influencers" in (explorer._views or ["influencers"])
    frame = _influencers(reader, now) if shows_influence else None
    if frame is None:
        figure = go.Figure()
    else:
        figure = make_subplots(
            rows=2,
            cols=1,
            row_heights=[0.42, 0.58],
            vertical_spacing=0.16,
            subplot_titles=(
                None,
                f"Influence on test example {now.test} at {unit} {frame.attrs['epoch']}",
            ),
        )
    if reader.has("metrics"):
        metrics = reader.group("metrics")
        for name, colour in (("train_accuracy", TRAIN), ("test_accuracy", TEST)):
            if name in metrics:
                figure.add_scatter(
                    x=metrics["epoch"].values,
                    y=metrics[name].values,
                    name=name.replace("_", " "),
                    mode="lines",
                    line={"color": colour},
                )
        if {"train_accuracy", "test_accuracy"} <= set(metrics.data_vars):
            figure.add_scatter(
                x=metrics["epoch"].values,
                y=metrics["train_accuracy"].values - metrics["test_accuracy"].values,
                name="memorization",
                mode="lines",
                line={"color": MUTED, "dash": "dash"},
            )
    for mark in marks(reader):
        figure.add_vline(
            x=mark["epoch"], line_dash="dot", annotation_text=mark["label"], row=1, col=1
        ) if frame is not None else figure.add_vline(
            x=mark["epoch"], line_dash="dot", annotation_text=mark["label"]
        )
    figure.update_xaxes(title_text=unit, **({"row": 1, "col": 1} if frame is not None else {}))
    figure.update_yaxes(
        title_text="accuracy (0-1)", **({"row": 1, "col": 1} if frame is not None else {})
    )
    if frame is not None:
        names = frame["text"].astype(str) if "text" in frame else frame["train"].astype(str)
        figure.add_bar(
            x=frame["score"],
            y=[f"{name[:40]}  (#{train})" for name, train in zip(names, frame["train"])],
            orientation="h",
            showlegend=False,
            marker_color=[HELPED if side == "helped" else HURT for side in frame["side"]],
            row=2,
            col=1,
        )
        figure.update_yaxes(autorange="reversed", row=2, col=1)
        figure.update_xaxes(
            title_text="score (positive: training on it raised the margin)", row=2, col=1
        )
    figure.update_layout(
        title=reader.run.name,
        template="plotly_white",
        height=360 if frame is None else 760,
        legend={"orientation": "h", "y": 1.06, "x": 0},
        margin={"l": 80, "r": 30},
    )
    return figure


def _influencers(reader, now):
    if now.test is None or not reader.methods:
        return None
    method = now.method or reader.methods[0]
    return top_influencers(
        reader, method, now.test, score_epoch(reader, method, None, now.epoch), _K
    )
