"""A board in other forms: a page, a picture, a plotly figure, and what stands in for a widget."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from ...arguments import checked
from ...errors import SettingError
from ..answers.preview import MOST, fitting_k, preview
from ..answers.sources import Sources
from ..export.drawing import as_png, as_svg
from ..export.page import page
from ..export.still import WIDTH, still
from .linked import LinkedSelection


class Exporting(anywidget.AnyWidget):
    """The part of a board that writes it down where no kernel is needed."""

    _views = traitlets.List(traitlets.Unicode()).tag(sync=True)
    _still = traitlets.Unicode("").tag(sync=True)  # the end of the picture that stands in for it

    run: Any
    selection: LinkedSelection
    _sources: Sources
    _asked: Any
    _job: Any

    @checked
    def to_html(self, path: str | Path, *, theme: str = "auto", k: int | None = None) -> Path:
        """Write the board as one self-contained page that needs neither kernel nor network.

        Parameters
        ----------
        path : file to write
        theme : "light", "dark", or "auto" for the reader's own
        k : top training examples kept a side, epoch and test example
            By default 8, or down to 4 where the page would pass 5 MB.
        """
        if theme not in ("auto", "light", "dark"):
            raise SettingError(f"theme is 'auto', 'light' or 'dark', not {theme!r}.")
        path = Path(path)
        if path.is_dir():
            raise SettingError(f"The page is a file, and {path} is a folder: {path / 'run.html'}.")
        if not path.absolute().parent.is_dir():
            raise SettingError(
                f"There is no folder {path.absolute().parent} to write {path.name} to."
            )
        path.write_text(self._page(theme, k or fitting_k(self._sources)), encoding="utf-8")
        return path

    def _page(self, theme: str, k: int, *, scores: int | None = None) -> str:
        state = {"_selection": self.selection.value.to_wire(), "_views": list(self._views)}
        state |= {"_asked": self._asked, "_job": self._job}
        sources = replace(self._sources, k=k, brief=True, views=tuple(self._views))
        held = preview(sources, everything=True, first=self.selection.value, scores=scores)
        return page(held, state, title=f"{self.run.name} · dg_explorer", theme=theme)

    def to_png(
        self, path: str | Path, *, theme: str = "light", width: int = 1280, scale: float = 2.0
    ) -> Path:
        """Write the board as a picture, `width * scale` pixels wide, through a Chromium."""
        from ..export.photograph import photograph

        text = self._page(theme, MOST, scores=1)  # a picture has one test example
        return photograph(text, path, theme=theme, width=width, scale=scale)

    @checked
    def to_plotly(self, *, theme: str = "light"):
        """What is on the board now as a plain `plotly.graph_objects.Figure`."""
        from ..export.plain_figures import board_figure

        return board_figure(self, theme=theme)

    def _still_picture(self) -> dict[str, str]:
        """What stands in where no widget runs: a picture, as PNG and as SVG."""
        shapes, height = still(self._sources.reader, self.run.name, self.selection.value)
        picture = as_png(shapes, WIDTH, height)
        self._still = picture[-60:]
        return {"image/png": picture, "image/svg+xml": as_svg(shapes, WIDTH, height)}
