"""Write docs/images: the board and every view, light and dark, from real runs.

    python docs/make_images.py [--runs FOLDER] [--only NAME ...]

Trains the demos (about three minutes), or opens those an earlier call left in FOLDER. Needs a
Chromium and Pillow (`pip install 'dg_explorer[dev]'`). The pictures are for people: no test
compares them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from make_boards import BOARDS
from PIL import Image

import dg_explorer as dg
from dg_explorer.demos import grokking

IMAGES = Path(__file__).parent / "images"
MOST_BYTES = 300_000  # of one picture
SCALE = 1.6  # pixels for each CSS pixel: sharp on most screens


def demo(name: str) -> Callable[[Path], dg.Run]:
    """How a demo's run is made complete."""

    def make(path: Path) -> dg.Run:
        made = dg.demos.make(name, path, seed=0, progress=False, overwrite=True)
        dg.complete(made.run, made.model(), made.train, made.test, progress=False)
        return made.run

    return make


def checked(path: Path) -> dg.Run:
    """A short smooth run whose scores were checked in all three ways."""
    recipe = replace(grokking.SMOOTH, steps=400, record_every=20)
    made = grokking.make(path, recipe=recipe, progress=False, overwrite=True)
    dg.complete(made.run, made.model(), made.train, made.test, moments=21, progress=False)
    training = dg.training_of_run(made.run, made.model(), train=made.train, test=made.test)
    moments = (100, 200, 300, 400)
    dg.metasmoothness(made.run, training=training.with_changes(record_at=moments))
    dg.lds_over_time(made.run, training=training, n_subsets=32)
    scores = made.run["scores/trak"]["score"].sel(epoch=260).mean("test").to_series()
    named = scores.nlargest(16).index.tolist()
    dg.counterfactual_check(made.run, remove=named, training=training, at=moments, n_random=16)
    return made.run


def believable(path: Path) -> dg.Run:
    """The default demo after the first parts of its board's check of itself."""
    run, training = with_smoothness("grokking-smooth", path)
    dg.retrain(run, training, n=32)
    return run


def chaotic(path: Path) -> dg.Run:
    """The same kind of run with AdamW's default eps, and the check that it does not pass."""
    return with_smoothness("grokking", path)[0]


def with_smoothness(recipe: str, path: Path) -> tuple[dg.Run, dg.Training]:
    """A demo with scores, after the check that comes first."""
    made = dg.demos.make(recipe, path, seed=0, progress=False, overwrite=True)
    dg.complete(made.run, made.model(), made.train, made.test, progress=False)
    training = dg.training_of_run(made.run, made.model(), train=made.train, test=made.test)
    dg.metasmoothness(made.run, training=training, directions=2)
    return made.run, training


def own_run(path: Path) -> dg.Run:
    """The run that the plain loop in the README makes, as it is pasted."""
    text = (IMAGES.parents[1] / "README.md").read_text()
    block = text.split("**A plain loop.**")[1].split("```python\n")[1].split("```")[0]
    names: dict = {}
    path.mkdir()
    with contextlib.chdir(path):
        exec(compile(block, "README.md", "exec"), names)
    return names["run"]


def only_checkpoints(path: Path) -> dg.Run:
    """The run that the page on checkpoints makes, as it is pasted, but for the board."""
    text = (IMAGES.parent / "only_checkpoints.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    names: dict = {}
    path.mkdir()
    with contextlib.chdir(path):
        exec(compile("\n".join(blocks[:-1]), "only_checkpoints.md", "exec"), names)
    return names["run"]


def finished(path: Path) -> dg.Run | None:
    """The run that an earlier call left, if it got as far as the scores."""
    run = dg.Run.open(path) if (path / "record").is_dir() else None
    return run if run is not None and "scores/trak" in run else None


RUNS: dict[str, Callable[[Path], dg.Run]] = {
    "grokking": demo("grokking"),
    "grokking-smooth": demo("grokking-smooth"),
    "mislabeled-digits": demo("mislabeled-digits"),
    "spurious-digits": demo("spurious-digits"),
    "checked": checked,
    "believable": believable,
    "chaotic": chaotic,
    "own-run": own_run,
    "only-checkpoints": only_checkpoints,
}


def compared(turn: dg.Run, digits: dg.Run, shortcut: dg.Run) -> dg.RunComparison:
    return dg.RunComparison({"grokking": turn, "mislabelled digits": digits, "shortcut": shortcut})


# picture name -> the runs on it, what shows them, and how wide it is in CSS pixels
PICTURES: dict[str, tuple[tuple[str, ...], Callable, int]] = {
    "board": (("believable",), lambda run: dg.explore(run, epoch=300, tab="validity"), 1280),
    "board-chaotic": (
        ("chaotic",),
        lambda run: dg.explore(run, epoch=300, views=["timeline", "influencers"]),
        820,
    ),
    "own-run": (("own-run",), dg.explore, 1280),
    "only-checkpoints": (("only-checkpoints",), dg.explore, 1280),
    "board-digits": (("mislabeled-digits",), lambda run: dg.explore(run, tab="map"), 1280),
    "memorization-timeline": (("grokking",), dg.MemorizationTimeline, 960),
    "influence-explorer": (("mislabeled-digits",), dg.InfluenceExplorer, 960),
    "feature-evolution": (
        ("mislabeled-digits",),
        lambda run: dg.FeatureEvolution(run, epoch=62),
        800,
    ),
    "dynamics-map": (("mislabeled-digits",), dg.DynamicsMap, 960),
    "transition": (("grokking",), dg.TransitionView, 1120),
    "gradient-flow": (("mislabeled-digits",), dg.GradientFlow, 960),
    "bias": (("spurious-digits",), dg.BiasView, 960),
    "validity": (("checked",), lambda run: dg.explore(run, views=["timeline", "validity"]), 960),
    "run-comparison": (("grokking", "mislabeled-digits", "spurious-digits"), compared, 960),
}

# small ones that the gallery links to its boards
PICTURES |= {
    f"gallery-{recipe}": ((recipe,), lambda run, epoch=epoch: dg.explore(run, epoch=epoch), 1280)
    for recipe, epoch in BOARDS.items()
}


def smaller(picture: bytes) -> bytes:
    """A PNG with 256 colours, which flat pictures hardly show, at about a third of the bytes."""
    out = io.BytesIO()
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    few = image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    few.save(out, "PNG", optimize=True)
    return out.getvalue()


def draw(name: str, runs: dict[str, dg.Run], folder: Path) -> int:
    """Write one picture in both themes; returns their bytes. Stops where one is too large."""
    total, (names, view, width) = 0, PICTURES[name]
    shown = view(*(runs[run] for run in names))
    for theme in ("light", "dark"):
        file = folder / f"{name}-{theme}.png"
        scale = 0.65 if name.startswith("gallery-") else SCALE
        shown.to_png(file, theme=theme, width=width, scale=scale)
        picture = smaller(file.read_bytes())
        file.write_bytes(picture)
        print(f"{file.name}  {len(picture) / 1000:.0f} kB", flush=True)
        if len(picture) > MOST_BYTES:
            raise SystemExit(f"{file.name} is larger than {MOST_BYTES / 1000:.0f} kB.")
        total += len(picture)
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, help="where the runs are, or will be kept")
    parser.add_argument("--to", type=Path, default=IMAGES, help="(default: docs/images)")
    parser.add_argument("--only", nargs="+", choices=PICTURES, default=list(PICTURES))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    asked.to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as fresh:
        kept = asked.runs or Path(fresh)
        kept.mkdir(parents=True, exist_ok=True)
        runs = {}
        for name in dict.fromkeys(run for picture in asked.only for run in PICTURES[picture][0]):
            runs[name] = finished(kept / name) or RUNS[name](kept / name)
            print(runs[name], flush=True)
        total = sum(draw(name, runs, asked.to) for name in asked.only)
        print(f"{total / 1e6:.2f} MB in all")


if __name__ == "__main__":
    main()
