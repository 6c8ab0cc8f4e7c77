"""Gradients layer by layer over training, with what is wrong marked by its own sign."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from .style import dress, say_empty, theme_colours, time_label

UNITS = {
    "norm": ("Gradient norm", "log10 of the L2 norm", True),
    "update_ratio": ("Size of an update", "log10 of |change| / |weights|", True),
    "cosine_to_previous": ("Cosine to the previous gradient", "cosine, −1 to 1", False),
    "dead_units": ("Dead units", "share of units without a gradient, 0–1", False),
    "noise_scale": ("Gradient noise scale", "log10 of batches", True),
    "sign_agreement": ("Sign agreement with the previous gradient", "share, 0–1", False),
}
# sign of each flag: readable without colour
FLAGS = {"vanishing": "▽", "exploding": "▲", "not finite": "✕"}


def gradient_flow_figure(
    gradients: xr.Dataset,
    *,
    variable: str = "norm",
    flags: xr.DataArray | None = None,
    time_unit: str = "epoch",
    theme: str = "light",
) -> go.Figure:
    """Heatmap of layers and epochs.

    Parameters
    ----------
    gradients : Dataset
        The group `gradients`.
    variable : str
        One of its variables over (epoch, layer).
    flags : str DataArray (epoch, layer), optional
        "vanishing", "exploding", "not finite" or "": as `gradient_flags` gives them.
    """
    title, unit, logarithmic = UNITS.get(variable, (variable, variable, False))
    figure = go.Figure()
    values = gradients[variable].transpose("layer", "epoch").values.astype(float)
    if logarithmic:
        with np.errstate(divide="ignore", invalid="ignore"):
            shown = np.log10(values)
        shown[~np.isfinite(shown)] = np.nan
    else:
        shown = values
    layers = [str(name) for name in gradients["layer"].values]
    # positions, not times: recorded epochs are rarely evenly spaced, and cells should be
    epochs = [f"{epoch:g}" for epoch in gradients["epoch"].values]
    centred = variable == "cosine_to_previous"
    figure.add_heatmap(
        z=shown,
        x=epochs,
        y=layers,
        customdata=values,
        colorscale="RdBu" if centred else "Cividis",
        zmid=0 if centred else None,
        zmin=-1 if centred else None,
        zmax=1 if centred else None,
        colorbar={"title": {"text": unit, "side": "right"}, "thickness": 14},
        hovertemplate=f"%{{y}}, {time_unit} %{{x}}<br>{title.lower()} %{{customdata:.3g}}"
        "<extra></extra>",
        hoverongaps=False,
    )
    note = ""
    if flags is not None:
        note = _mark(figure, flags.transpose("layer", "epoch").values, layers, epochs, theme)
    dress(
        figure,
        f"{title} by layer{note}",
        theme=theme,
        height=max(320, 160 + 34 * len(layers)),
    )
    figure.update_xaxes(title=time_label(time_unit), type="category", nticks=12, showgrid=False)
    figure.update_yaxes(title="Layer, input at the top", autorange="reversed", showgrid=False)
    if not values.size or not np.isfinite(values).any():
        say_empty(figure, "No gradients are recorded.", theme=theme)
    return figure


def _mark(figure: go.Figure, flags: np.ndarray, layers, epochs, theme: str) -> str:
    said = []
    for flag, sign in FLAGS.items():
        rows, columns = np.nonzero(flags == flag)
        if not len(rows):
            continue
        said.append(f"{sign} {flag} ({len(rows)})")
        figure.add_scatter(
            x=[epochs[c] for c in columns],
            y=[layers[r] for r in rows],
            mode="text",
            text=sign,
            textfont={
                "size": 15,
                "color": theme_colours(theme)["ink"] if flag == "not finite" else "#ffffff",
            },
            name=flag,
            showlegend=False,
            hovertemplate=f"{flag}<extra></extra>",
        )
    return f"<br><sup>{'   '.join(said) or 'nothing vanishing, exploding or not finite'}</sup>"
