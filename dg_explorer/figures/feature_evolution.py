"""Examples moving through a layer's feature space: a scatter that plays over epochs."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from .style import COLOURS, SHAPES, dress, escape

# beyond this many classes shapes and colours repeat; hovering still tells them apart
_MAX_CLASSES = 7


def feature_evolution_figure(
    projection: xr.Dataset,
    labels: xr.DataArray | None = None,
    *,
    time_unit: str = "epoch",
    theme: str = "light",
) -> go.Figure:
    """Positions at every epoch, with a slider and a play button.

    Parameters
    ----------
    projection : Dataset
        As `add_projections` writes it: `position` (epoch, example, axis), coordinates
        `split` and `id`.
    labels : DataArray over `example`, optional
        Colours and shapes; test examples are hollow.
    """
    position = projection["position"].values
    epochs = projection["epoch"].values
    groups = _groups(projection, labels)
    frames = [
        go.Frame(name=f"{epoch:g}", data=[_trace(position[index], *group) for group in groups])
        for index, epoch in enumerate(epochs)
    ]
    figure = go.Figure(data=frames[-1].data, frames=frames)
    layer = escape(projection.attrs.get("layer", "features"))
    method = projection.attrs.get("method", "")
    dress(
        figure,
        f"Examples in the features of layer {layer}, by {time_unit}",
        theme=theme,
        height=620,
    )
    # one pair of ranges for all epochs, or motion could not be told from zoom
    for axis, update in ((0, figure.update_xaxes), (1, figure.update_yaxes)):
        values = position[..., axis]
        low, high = np.nanmin(values), np.nanmax(values)
        pad = 0.05 * (high - low or 1.0)
        update(title=_axis_title(projection, axis, method), range=[low - pad, high + pad])
    figure.update_layout(
        sliders=[_slider(epochs, time_unit)],
        updatemenus=[_buttons()],
        legend={"title": {"text": "label; hollow = test"}, "itemsizing": "constant"},
        margin={"b": 130},
    )
    return figure


def _groups(projection: xr.Dataset, labels) -> list[tuple]:
    split = projection["split"].values.astype(str)
    ids = projection["id"].values
    names = np.zeros(len(ids), dtype=int) if labels is None else labels.values
    kinds = np.unique(names)
    groups = []
    for kind_index, kind in enumerate(kinds):
        for part in ("train", "test"):
            chosen = np.flatnonzero((names == kind) & (split == part))
            if not len(chosen):
                continue
            colour = COLOURS[kind_index % _MAX_CLASSES]
            shape = SHAPES[(kind_index + kind_index // _MAX_CLASSES) % _MAX_CLASSES]
            word = "examples" if labels is None else escape(kind)
            groups.append((chosen, ids[chosen], part, f"{word} · {part}", colour, shape))
    return groups


def _trace(position, chosen, ids, part, name, colour, shape) -> go.Scatter:
    return go.Scatter(
        x=position[chosen, 0],
        y=position[chosen, 1],
        mode="markers",
        name=name,
        marker={
            "symbol": shape if part == "train" else f"{shape}-open",
            "color": colour,
            "size": 7,
            "opacity": 0.75,
            "line": {"width": 0 if part == "train" else 1.4, "color": colour},
        },
        text=[f"{part} {i}" for i in ids],
        hovertemplate="%{text}, " + name + "<extra></extra>",
    )


def _axis_title(projection: xr.Dataset, axis: int, method: str) -> str:
    if "explained" not in projection:
        return f"{method.upper() or 'Embedding'} axis {axis + 1} (distances mean little)"
    share = projection["explained"].values[:, axis]
    share = share[np.isfinite(share)]
    if not len(share):
        return f"Axis {axis + 1} (activation units)"
    return f"Axis {axis + 1} (activation units; {share.min():.0%}–{share.max():.0%} of variance)"


def _slider(epochs, time_unit: str) -> dict:
    steps = [
        {
            "method": "animate",
            "label": f"{epoch:g}",
            "args": [
                [f"{epoch:g}"],
                {"mode": "immediate", "frame": {"duration": 0, "redraw": False}},
            ],
        }
        for epoch in epochs
    ]
    return {
        "steps": steps,
        "active": len(steps) - 1,
        "currentvalue": {"prefix": f"{time_unit} "},
        "x": 0.2,
        "len": 0.8,
        "pad": {"t": 60},
    }


def _buttons() -> dict:
    play = {"frame": {"duration": 300, "redraw": False}, "transition": {"duration": 250}}
    stop = {"mode": "immediate", "frame": {"duration": 0, "redraw": False}}
    return {
        "type": "buttons",
        "direction": "left",
        "x": 0,
        "y": 0,
        "xanchor": "left",
        "yanchor": "top",
        "pad": {"t": 70},
        "buttons": [
            {
                "label": "Play",
                "method": "animate",
                "args": [None, {**play, "fromcurrent": True, "mode": "immediate"}],
            },
            {"label": "Pause", "method": "animate", "args": [[None], stop]},
        ],
    }
