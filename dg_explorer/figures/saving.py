"""Write a figure as one self-contained page, and as an image where that is possible."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import plotly.graph_objects as go
import plotly.io as pio

IMAGES = ("png", "svg", "pdf")


def save_figure(
    figure: go.Figure, save_dir, name: str, *, images: tuple[str, ...] = IMAGES
) -> go.Figure:
    """Write `<name>.html`, and `<name>.png`, `.svg` and `.pdf` with the `export` extra.

    The page needs no network: plotly is inside. Images need kaleido and a Chrome or
    Chromium; without them the page is written all the same, and
    `figure.layout.meta["images"]` says why there are no images.

    Parameters
    ----------
    save_dir : folder, made if need be; None writes nothing
    images : formats wanted

    Returns
    -------
    Figure
        The one given, with `layout.meta` naming the files written.
    """
    if save_dir is None:
        return figure
    folder = Path(save_dir)
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / f"{name}.html"
    figure.write_html(page, include_plotlyjs=True, full_html=True)
    written, why = [page.name], _why_no_images()
    if why is None and images:
        try:
            # one browser for all formats: starting it is what takes the time
            names = [f"{name}.{image}" for image in images]
            pio.write_images(
                [figure] * len(names),
                [str(folder / n) for n in names],
                width=1000,
                height=figure.layout.height,
            )
            written += names
        except Exception as error:
            # whatever ails the browser, the page is written and the reason is kept
            why = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    figure.update_layout(meta={"files": written, "images": why or "written"})
    return figure


def _why_no_images() -> str | None:
    if find_spec("kaleido") is None:
        return "Images need kaleido: pip install 'dg_explorer[export]'."
    return None
