"""How a `Run` shows itself in a notebook: what it is, its accuracy over time, what it holds."""

from __future__ import annotations

from html import escape

import numpy as np

from .schema import GROUPS, TIME_DIMS, spec_of

_STYLE = (
    "font:13px/1.45 system-ui,sans-serif;color:var(--jp-content-font-color1,inherit);"
    "font-variant-numeric:tabular-nums"
)
_CELL = 'style="text-align:left;white-space:nowrap;padding:2px 18px 2px 0"'
_MUTED = "color:var(--jp-content-font-color2,#667080)"
_TRAIN, _TEST = "#0072B2", "#D55E00"  # Okabe-Ito blue and vermillion


def run_html(run) -> str:
    """One HTML fragment; all text from the record is escaped, nothing is fetched or run."""
    rows = "".join(_row(run, group) for group in sorted(run.groups(), key=_place))
    config = ", ".join(f"{k} {v}" for k, v in run.attrs["config"].items() if np.isscalar(v))
    head = "".join(f"<th {_CELL}>{title}</th>" for title in ("group", "size", "what it holds"))
    return (
        f'<div style="{_STYLE}"><strong style="font-size:15px">{escape(run.name)}</strong> '
        f'<span style="{_MUTED}">{escape(run._summary())}</span>'
        f'<div style="{_MUTED};max-width:80ch">{escape(config)}</div>{_accuracy(run)}'
        f'<table style="{_STYLE};border-collapse:collapse;margin-top:6px"><thead>'
        f'<tr style="{_MUTED}">{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _row(run, group: str) -> str:
    data = run[group]
    sizes = sorted(data.sizes.items(), key=lambda item: (item[0] not in TIME_DIMS, item[0]))
    size = " × ".join(f"{n:,} {run.time_unit if dim == 'epoch' else dim}" for dim, n in sizes)
    names = ", ".join(sorted(map(str, data.data_vars)))
    return (
        f'<tr title="{escape(names, quote=True)}"><td {_CELL}><code>{escape(group)}</code></td>'
        f"<td {_CELL}>{escape(size)}</td>"
        f"<td {_CELL}><span style='{_MUTED}'>{escape(spec_of(group).about)}</span></td></tr>"
    )


def _place(group: str) -> tuple[int, str]:
    order = [spec.about for spec in GROUPS.values()]
    return order.index(spec_of(group).about), group


def _accuracy(run) -> str:
    if "metrics" not in run:
        return ""
    metrics = run["metrics"]
    if not {"train_accuracy", "test_accuracy"} <= set(metrics.data_vars) or len(metrics.epoch) < 2:
        return ""
    width, height = 420, 54
    epoch = metrics["epoch"].values.astype(float)
    x = 4 + (epoch - epoch[0]) / (epoch[-1] - epoch[0]) * (width - 8)
    lines = []
    for name, colour, dash in (
        ("train_accuracy", _TRAIN, ""),
        ("test_accuracy", _TEST, "5 3"),
    ):
        y = 4 + (1 - np.clip(metrics[name].values, 0, 1)) * (height - 8)
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y) if np.isfinite(b))
        lines.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2" '
            f'stroke-dasharray="{dash}"/>'
        )
    unit = escape(run.time_unit)
    return (
        f'<svg width="{width}" height="{height}" role="img" aria-label="accuracy over {unit}s" '
        f'style="display:block;margin-top:4px">{"".join(lines)}</svg>'
        f'<div style="{_MUTED};font-size:11px"><span style="color:{_TRAIN}">━</span> train, '
        f'<span style="color:{_TEST}">╍</span> test accuracy, {unit} {epoch[0]:,.0f} to '
        f"{epoch[-1]:,.0f}</div>"
    )
