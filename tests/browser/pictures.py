"""Pictures of boards on awkward data, to be looked at: ``python tests/browser/pictures.py FOLDER``.

Each kind of data at each width, light and dark: sums, pictures with long class names, examples
without labels, 500 classes, table rows, long texts. `--only NAME ...`, `--widths`, `--themes` choose.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr

import dg_explorer as dg
from dg_explorer.run import Run
from dg_explorer.testing import tiny_run
from dg_explorer.widgets.export.photograph import Photographer

WIDTHS, THEMES = (390, 700, 848, 1280), ("light", "dark")
N_TRAIN, N_TEST = 480, 200
LONG = (
    "Labrador retriever, golden coat, photographed outdoors in summer",
    "Labrador retriever, golden coat, photographed outdoors in winter",
    "Norwegian forest cat (long-haired, large, not to be confused with the Maine Coon)",
    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamter",
)
REVIEW = (
    "The first half of this film drags without mercy and the dialogue is written as if nobody "
    "had ever spoken to another person, yet the last twenty minutes are"
)


def with_tables(table: Callable[[str, int, np.random.Generator], dict], **settings) -> Run:
    """The synthetic run with other columns: `table(split, n, rng)` gives them by name."""
    classes, config = settings.pop("n_classes", 4), settings.pop("config", {})
    old = tiny_run(
        3, n_train=N_TRAIN, n_test=N_TEST, epochs=40, every=25, n_classes=classes, **settings
    )
    rng, tables = np.random.default_rng(0), {}
    for split in ("train", "test"):
        known = old[f"{split}_examples"]
        columns = table(split, known.sizes[split], rng)
        if columns.pop("labelled", True):
            columns = {"label": (split, known["label"].values), **columns}
        tables[f"{split}_examples"] = xr.Dataset(columns, {split: known[split].values})
    run = Run.create(name="Tiny synthetic run", config=config, **tables)
    for group in old.groups():
        if group not in tables:
            run.add(group, old[group])
    return run


def sums(split: str, n: int, rng: np.random.Generator) -> dict:
    a, b = rng.integers(0, 31, (2, n))
    text = np.array([f"{x} + {y} = {(x + y) % 31}" for x, y in zip(a, b)], object)
    return {"text": (split, text), "a": (split, a), "b": (split, b)}


def pictures(split: str, n: int, rng: np.random.Generator) -> dict:
    dims = (split, "height", "width", "channel")
    return {"thumbnail": (dims, rng.integers(0, 255, (n, 12, 12, 3), np.uint8))}


def texts(split: str, n: int, rng: np.random.Generator) -> dict:
    ends = ("splendid.", "a disgrace.", "worth the wait.", "only for the patient.")
    text = np.array([f"{REVIEW} {ends[i]}" for i in rng.integers(0, 4, n)], object)
    return {"text": (split, text), "labelled": False}


def rows(split: str, n: int, rng: np.random.Generator) -> dict:
    return {
        "age": (split, rng.integers(18, 90, n)),
        "patient": (split, np.array([f"{split[0].upper()}-{i:05d}" for i in range(n)], object)),
        "pressure": (split, rng.normal(120, 15, n).round(1)),
        "smoker": (split, np.array([("no", "yes")[i] for i in rng.integers(0, 2, n)], object)),
    }


KINDS: dict[str, Callable[[], Run]] = {
    "sums": lambda: with_tables(sums),
    "long-names": lambda: with_tables(pictures, config={"class_names": list(LONG)}),
    "no-labels": lambda: with_tables(texts),
    "500-classes": lambda: with_tables(pictures, n_classes=500),
    "table": lambda: with_tables(rows),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--widths", nargs="+", type=int, default=WIDTHS)
    parser.add_argument("--themes", nargs="+", choices=THEMES, default=THEMES)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Photographer() as camera:
        for name in asked.only:
            board = dg.explore(KINDS[name](), epoch=600)
            for theme in asked.themes:
                page = board.to_html(Path(folder) / f"{name}.html", theme=theme, k=8)
                for width in asked.widths:
                    file = asked.folder / f"{name}-{width}-{theme}.png"
                    file.write_bytes(camera.take(page, width=width, scale=1))
                    print(file, flush=True)


if __name__ == "__main__":
    main()
