"""`RunComparison`: several runs side by side on one normalised time axis."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import anywidget
import numpy as np
import pandas as pd
import traitlets
import xarray as xr

from ...analysis.comparison import compare_runs, comparison_table
from ...arguments import checked
from ...errors import SettingError
from ...record.run import as_run
from ...run import Run
from ..export.bundle import SCRIPT, STYLE
from ..export.page import page
from ..reading.blocks import Block, pack
from .settable import OnlyWhatIsThere

CURVES = ("test_accuracy", "train_accuracy", "memorization_score")
_TIMES = ("t_memorized", "t50", "t95", "onset", "delay")
_FACTS = (
    *_TIMES,
    "delay_ratio",
    "peak_memorization",
    "final_train_accuracy",
    "final_test_accuracy",
    "n_train",
    "examples_with_forgetting",
    "first_epoch",
    "last_epoch",
)


class RunComparison(OnlyWhatIsThere, anywidget.AnyWidget):
    """Grokking against bias against normal training: accuracies and memorization of several
    runs over the share of training done, and when each memorized and generalized.

    Attributes
    ----------
    runs : dict of name -> Run
    comparison : Dataset
        What is shown, as `compare_runs` gives it.
    """

    _esm = SCRIPT
    _css = STYLE
    _preview = traitlets.Bytes().tag(sync=True)
    _selection = traitlets.Dict().tag(sync=True, echo_update=False)
    _views = traitlets.List(traitlets.Unicode(), ["comparison"]).tag(sync=True)
    _error = traitlets.Unicode("").tag(sync=True)

    _fixed = {"runs": "RunComparison({name: run, ...}) compares others"}

    @checked
    def __init__(self, runs: Mapping[str, Run | str | Path]):
        if not isinstance(runs, Mapping) or not runs:
            raise SettingError("RunComparison takes a dict of runs: {'grokking': run, ...}.")
        self.runs = {str(name): as_run(run) for name, run in runs.items()}
        self._compared = compare_runs(self.runs)
        super().__init__(_preview=comparison_preview(self.comparison), _selection={"epoch": 100})

    @property
    def comparison(self) -> xr.Dataset:
        """What is shown."""
        return self._compared

    def frame(self) -> pd.DataFrame:
        """One row a run: when it memorized and generalized, and where it ended."""
        return comparison_table(self.comparison)

    def refresh(self) -> None:
        """Read the records again."""
        self._compared = compare_runs(self.runs)
        self._preview = comparison_preview(self.comparison)

    def to_html(self, path: str | Path, *, theme: str = "auto") -> Path:
        """Write the comparison as one self-contained page."""
        path = Path(path)
        path.write_text(self._page(theme), encoding="utf-8")
        return path

    def _page(self, theme: str) -> str:
        state = {"_selection": dict(self._selection), "_views": list(self._views)}
        title = "Comparison of runs · dg_explorer"
        return page(self._preview, state, title=title, theme=theme)

    def to_png(
        self, path: str | Path, *, theme: str = "light", width: int = 1280, scale: float = 2.0
    ) -> Path:
        """Write the comparison as a picture, `width * scale` pixels wide, through a Chromium."""
        from ..export.photograph import photograph

        return photograph(self._page(theme), path, theme=theme, width=width, scale=scale)

    def to_plotly(self, *, theme: str = "light"):
        """The same curves as a plain `plotly.graph_objects.Figure`."""
        from ...figures.comparison import comparison_figure

        return comparison_figure(self.comparison, theme=theme)

    def __repr__(self) -> str:
        return f"RunComparison({', '.join(self.runs)})"


def comparison_preview(comparison) -> bytes:
    """The container the browser starts from: percent of training done is its epoch."""
    percent = comparison["moment"].values * 100
    blocks: dict[str, Block] = {
        "epochs": np.arange(101, dtype=np.int32),
        "comparison/percent": percent.astype(np.float32),
        "comparison/names": [str(name) for name in comparison["run"].values],
        "comparison/units": [str(unit) for unit in comparison["time_unit"].values],
    }
    for name in CURVES:
        blocks[f"comparison/curve/{name}"] = comparison[name].values.astype(np.float32)
    for name in _FACTS:
        if name in comparison:
            blocks[f"comparison/fact/{name}"] = comparison[name].values.astype(np.float64)
    attrs = {
        "name": "Comparison of runs",
        "about": "",
        "unit": "percent",
        "count": {"train": 0, "test": 0},
        "chunk": 1,
        "methods": [],
        "marks": [],
        "layers": [],
        "has_comparison": True,
    }
    return pack(blocks, attrs)
