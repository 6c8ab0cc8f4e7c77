"""Which training examples gained and lost influence between two moments."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from .style import COLOURS, dress, escape, theme_colours


def critical_examples_figure(
    table: xr.Dataset,
    *,
    names: dict[int, str] | None = None,
    k: int = 15,
    time_unit: str = "epoch",
    theme: str = "light",
) -> go.Figure:
    """The k examples with the largest rise of the mean score, and the k with the largest fall.

    Parameters
    ----------
    table : Dataset over `train`
        `change` (of the mean score), attrs `pre_epoch` and `post_epoch`.
    names : dict of id -> what to call an example, optional
    """
    change = table["change"]
    order = np.argsort(-change.values, kind="stable")
    k = min(k, len(order) // 2) or len(order)
    chosen = change.isel(train=np.concatenate([order[:k], order[len(order) - k :]]))
    ids = chosen["train"].values
    words = [escape((names or {}).get(int(i), f"train {i}")) for i in ids]
    # two examples may read the same, and a bar each they must have
    words = [f"{w} (#{i})" if words.count(w) > 1 else w for w, i in zip(words, ids)]
    gained = chosen.values > 0
    figure = go.Figure(
        go.Bar(
            x=chosen.values,
            y=words,
            orientation="h",
            marker={
                "color": np.where(gained, COLOURS[0], COLOURS[1]),
                "pattern": {"shape": np.where(gained, "", "/")},
            },
            customdata=ids,
            hovertemplate="train %{customdata}: %{x:+.3g}<extra></extra>",
        )
    )
    pre, post = table.attrs.get("pre_epoch"), table.attrs.get("post_epoch")
    dress(
        figure,
        f"Examples with more and with less influence between {time_unit} {pre} and {post}"
        "<br><sup>plain = grew, hatched = shrank</sup>",
        theme=theme,
        height=150 + 22 * len(ids),
    )
    figure.add_vline(x=0, line={"color": theme_colours(theme)["soft"], "width": 1})
    figure.update_xaxes(title="Change of the mean score (test margin, log odds)")
    figure.update_yaxes(title="Training example", autorange="reversed", type="category")
    return figure
