"""One look for all figures: Okabe-Ito colours, never colour alone, light and dark."""

from __future__ import annotations

import plotly.graph_objects as go

from ..errors import SettingError

# Okabe and Ito (2008), "Color Universal Design"; the eighth, black, is the theme's ink
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid")
SHAPES = ("circle", "diamond", "square", "triangle-up", "x", "cross", "triangle-down")

# train and test look the same in every figure
TRAIN = {"color": COLOURS[0], "dash": "dash"}
TEST = {"color": COLOURS[1], "dash": "solid"}

_THEMES = {
    "light": {"ink": "#1b1f24", "soft": "#5b6470", "grid": "#e6e8eb", "paper": "#ffffff"},
    "dark": {"ink": "#e8eaed", "soft": "#a3abb5", "grid": "#2c323a", "paper": "#14171b"},
}
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def theme_colours(theme: str) -> dict[str, str]:
    """Ink, soft ink, grid and paper of "light" or "dark"."""
    if theme not in _THEMES:
        raise SettingError(f"There is no theme {theme!r}; choose 'light' or 'dark'.")
    return _THEMES[theme]


def dress(figure: go.Figure, title: str, *, theme: str = "light", height: int = 420) -> go.Figure:
    """Give a figure its title, fonts, grid and colours; returns it."""
    look = theme_colours(theme)
    figure.update_layout(
        title={"text": title, "x": 0, "xref": "paper", "xanchor": "left", "font": {"size": 17}},
        font={"family": _FONT, "size": 13, "color": look["ink"]},
        paper_bgcolor=look["paper"],
        plot_bgcolor=look["paper"],
        colorway=COLOURS,
        margin={"l": 70, "r": 30, "t": 70, "b": 60},
        height=height,
        hoverlabel={"font": {"family": _FONT}},
        legend={"bgcolor": "rgba(0,0,0,0)"},
    )
    axes = {
        "gridcolor": look["grid"],
        "zerolinecolor": look["grid"],
        "linecolor": look["soft"],
        "tickcolor": look["soft"],
        "ticks": "outside",
        "showline": True,
        "automargin": True,
    }
    figure.update_xaxes(**axes)
    figure.update_yaxes(**axes)
    figure.update_annotations(font={"color": look["ink"]})
    return figure


def legend_above(figure: go.Figure) -> go.Figure:
    """Put the legend in a row between title and plot; returns the figure."""
    return figure.update_layout(
        legend={"orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom"}
    )


def escape(text) -> str:
    """Text from a dataset as plain text: plotly reads a little HTML in labels."""
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def time_label(time_unit: str) -> str:
    """The title of a time axis."""
    return f"{time_unit.capitalize()} of training"


def say_empty(figure: go.Figure, text: str, *, theme: str = "light") -> go.Figure:
    """Say in the middle of an empty figure why it is empty; returns it."""
    return figure.add_annotation(
        text=text,
        x=0.5,
        y=0.5,
        xref="paper",
        yref="paper",
        showarrow=False,
        font={"color": theme_colours(theme)["soft"], "size": 15},
    )
