"""How quick the board is on large runs: `python tests/browser/board_sizes.py [--runs FOLDER]`.

Synthetic runs of the sizes in the README are written once into FOLDER (3 GB) and opened in a real
JupyterLab by a headless Chromium: once as the board is where there is no graphics card, on a 2D
canvas, and once with WebGL imitated on the processor, where what it shows is checked and times mean
nothing. Measured in the page, from the moment the cell is run, a card clicked, the pointer moved.
The cell opens the run and shows its board; an earlier one looked at the run, so that the libraries
are imported (xarray imports dask where it is installed, which takes .3 s).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from guarded import BROWSER_OPTIONS, assert_clean, guarded_page
from lab_pages import Notebook, start_lab, write_cells
from playwright.sync_api import sync_playwright

import dg_explorer as dg
from dg_explorer.maths.extents import extents
from dg_explorer.schema import SIGN
from dg_explorer.widgets.export.browsers import find_browser


@dataclass(frozen=True)
class Size:
    """One line of the table; `dense` is how many epochs have every score, 0: stored top scores."""

    n_train: int
    n_test: int
    epochs: int
    dense: int

    @property
    def name(self) -> str:
        return f"{self.n_train:,} x {self.n_test:,} x {self.epochs}"


SIZES = (Size(1_000, 300, 60, 60), Size(60_000, 1_000, 50, 10), Size(1_000_000, 10_000, 50, 0))
CLASSES, TOP = 10, 32
# what a score keeps of itself until the next moment: of a top 8, 7 in 10 or fewer stay, as in the
# demo of grokking (of digits 9 in 10); `kept` measures it
DRIFT = 0.97

# how long a card is on screen before it is clicked: as long as a person needs to read and aim, in
# which the board fetches what a click will need; and less than anybody needs
SEEN_MS, AT_ONCE_MS = 600, 100

NO_WEBGL = """const real = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
  return kind.startsWith('webgl') ? null : real.call(this, kind, ...rest); };"""
PAINTED = """const at = (id) => document.querySelector(`[data-testid=${id}]`);
const frame = () => new Promise(requestAnimationFrame);
const painted = () => at('dg-test') && at('dg-influencer') && at('dg-scatter')?.dataset.points
  && !('waiting' in at('dg-scatter').dataset);"""
OPEN = f"""async () => {{ {PAINTED}
  const began = performance.now();
  jupyterapp.commands.execute('notebook:run-all-cells');
  while (!painted()) await frame();
  await frame();
  return performance.now() - began; }}"""
SCRUB = f"""async ([from, to, frames]) => {{ {PAINTED}
  Element.prototype.setPointerCapture = () => {{}}; // the pointer below is not a real one
  const area = at('dg-timeline'), box = area.getBoundingClientRect(), gaps = [];
  const point = (kind, share) => area.dispatchEvent(new PointerEvent(kind, {{bubbles: true,
    isPrimary: true, button: 0, buttons: 1, clientY: box.y + box.height / 2,
    clientX: box.x + box.width * share}}));
  point('pointerdown', from);
  let last = await frame(), waited = 0, followed = 0;
  const panel = new MutationObserver(() => followed++); // once a frame that changed the influencers
  panel.observe(at('dg-helped'), {{subtree: true, childList: true, characterData: true}});
  for (let i = 1; i <= frames; i++) {{
    await new Promise((done) => setTimeout(done)); // a pointer's moves come between frames
    point('pointermove', from + (to - from) * i / frames);
    const now = await frame();
    gaps.push(now - last); last = now;
    if ('waiting' in at('dg-scatter').dataset) waited++;
  }}
  point('pointerup', to);
  panel.disconnect();
  while (!painted()) await frame();
  return {{gaps, waited, followed}}; }}"""
CLICK = f"""async (pause) => {{ {PAINTED}
  const said = () => at('dg-helped').innerText + at('dg-hurt').innerText;
  const times = [];
  for (let i = 0; i < 12; i++) {{
    const cards = [...document.querySelectorAll('[data-testid=dg-test]')]
      .sort((a, b) => a.getBoundingClientRect().y - b.getBoundingClientRect().y);
    const list = cards[0].closest('[role=listbox]'), box = list.getBoundingClientRect();
    const next = cards.find((card) => card.getBoundingClientRect().y >= box.y
      && card.getAttribute('aria-selected') !== 'true');
    const before = said(), began = performance.now();
    next.click();
    while (said() === before || !at('dg-influencer')) await frame();
    times.push(performance.now() - began);
    list.scrollTop += 7 * 68; // rows nobody has asked for yet
    await new Promise((done) => setTimeout(done, pause));
  }}
  return times; }}"""
# WebGL's picture can be read in the frame that drew it only: a step there and back draws it anew
STATE = f"""async () => {{ {PAINTED}
  const press = (key) => at('dg-timeline').dispatchEvent(new KeyboardEvent('keydown', {{key, bubbles: true, cancelable: true}}));
  press('ArrowLeft');
  do await frame(); while (!painted());
  press('ArrowRight');
  const stage = document.querySelector('.dg-right .dg-stage');
  return new Promise((done) => requestAnimationFrame(() => {{
    const small = new OffscreenCanvas(200, 200), pen = small.getContext('2d');
    pen.drawImage(stage.firstChild, 0, 0, 200, 200);
    const {{ data }} = pen.getImageData(0, 0, 200, 200);
    let ink = 0;
    for (let i = 3; i < data.length; i += 4) if (data[i]) ink++;
    done({{painter: stage.dataset.painter, ink}});
  }})); }}"""


def make(size: Size, path: Path) -> dg.Run:
    """A run of this size, written epoch by epoch in small types; nothing in it was trained."""
    rng = np.random.default_rng(0)
    ids = {"train": np.arange(size.n_train), "test": np.arange(size.n_test)}
    labels = {split: (i % CLASSES).astype(np.int16) for split, i in ids.items()}
    tables = {s: xr.Dataset({"label": (s, labels[s])}, {s: ids[s]}) for s in ids}
    run = dg.Run.create(
        path,
        name=size.name,
        train_examples=tables["train"],
        test_examples=tables["test"],
        seed=0,
    )
    both = np.concatenate([labels["train"], labels["test"]])
    angle = 2 * np.pi * both / CLASSES
    centre = np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)
    spread = rng.standard_normal((len(both), 2), dtype=np.float32)
    who = {
        "split": ("example", np.repeat(["train", "test"], [size.n_train, size.n_test])),
        "id": ("example", np.concatenate(list(ids.values()))),
    }
    ease = {s: rng.standard_normal(len(i), dtype=np.float32) for s, i in ids.items()}
    rows = rng.standard_normal((size.n_test, 64), dtype=np.float32)
    last: dict[str, np.ndarray] = {}  # scores drift
    scored = np.linspace(0, size.epochs - 1, size.dense or size.epochs).astype(int)
    for epoch in range(size.epochs):
        share, metrics = epoch / (size.epochs - 1), {}
        for split in ids:
            margin = 8 * share - (2 if split == "train" else 5) + ease[split]
            right = margin > 0
            data = {
                "loss": np.logaddexp(0, -margin).astype(np.float16),
                "margin": margin.astype(np.float16),
                "correct": right,
                "prediction": np.where(right, labels[split], (labels[split] + 1) % CLASSES),
            }
            run.append(
                f"dynamics/{split}",
                xr.Dataset(
                    {name: (("epoch", split), values[None]) for name, values in data.items()},
                    {"epoch": [epoch], split: ids[split]},
                ),
            )
            metrics[f"{split}_accuracy"] = ("epoch", [right.mean()])
        run.append("metrics", xr.Dataset(metrics, {"epoch": [epoch]}))
        position = (share * centre + (1.1 - share) * 0.3 * spread).astype(np.float32)
        run.append(
            "projections/hidden",
            xr.Dataset(
                {
                    "position": (("epoch", "example", "axis"), position[None]),
                    **{
                        name: (("epoch", "axis"), ends)
                        for name, ends in extents(position[None]).items()
                    },
                },
                {"epoch": [epoch], **who},
            ),
        )
        if epoch in scored:
            _append_scores(run, size, epoch, ids, rows, rng, last)
    run.flush()
    return run


def _append_scores(run, size, epoch, ids, rows, rng, last) -> None:
    where = {"epoch": [epoch], "test": ids["test"]}
    about = {"method": "synthetic", "sign": SIGN, "output": "margin", "settings": "{}"}
    if size.dense:
        column = rng.standard_normal((64, size.n_train), dtype=np.float32)
        if last:
            column = DRIFT * last["column"] + (1 - DRIFT**2) ** 0.5 * column
        last["column"] = column
        score = (rows @ column)[None]  # low rank: quick to make, none alike
        where["train"] = ids["train"]
        data = {
            "score": (("epoch", "test", "train"), score),
            "weight": (("epoch", "train"), np.ones((1, size.n_train), np.float32)),
            "damping": ("epoch", [1.0]),
        }
        run.append("scores/trak", xr.Dataset(data, where, about))
        return
    shape = (1, size.n_test, TOP)
    score = np.sort(np.abs(rng.standard_normal(shape, dtype=np.float32)), axis=2)[..., ::-1]
    score[..., TOP // 2 :] *= -1  # half of the ranks helped, half hurt
    among = rng.integers(0, size.n_train, shape, dtype=np.int32)
    if last:
        among = np.where(rng.random(shape, dtype=np.float32) < 0.7, last["among"], among)
    last["among"] = among
    dims = ("epoch", "test", "rank")
    run.append(
        "top_scores/trak",
        xr.Dataset({"score": (dims, score), "train_id": (dims, among)}, where, about),
    )


def kept(run: dg.Run, k: int = 8) -> float:
    """Of each test example's k top training examples, how many stay until the next scored moment."""
    data = run["scores/trak"] if "scores/trak" in run.groups() else run["top_scores/trak"]
    data = data.isel(test=slice(None, None, -(-data.sizes["test"] // 100)))
    if "train" in data.dims:
        top = np.argsort(-data["score"].values, axis=-1)[..., :k]
    else:
        top = data["train_id"].values[..., :k]
    pairs = zip(top[:-1].reshape(-1, k), top[1:].reshape(-1, k), strict=True)
    return float(np.mean([len(np.intersect1d(a, b)) for a, b in pairs]) / k)


def measure(browser, lab, size: Size, path: Path, *, webgl: bool) -> dict:
    """What one opening of one run took; milliseconds."""
    page = guarded_page(browser, allowed=rf"127\.0\.0\.1:{lab.port}/")
    page.context.set_default_timeout(300_000)
    if not webgl:
        page.context.add_init_script(NO_WEBGL)
    cell = "ex = dg.explore(dg.Run.open(path))\nex"
    notebook = Notebook(page, lab, write_cells(lab, f"{size.name} {webgl}", cell), "doc")
    # a notebook shows its run before its board, and has imported by then what that takes
    notebook.execute(
        f"import dg_explorer as dg; dg.explore; path = {str(path)!r}; "
        "run = dg.Run.open(path); run._repr_html_(); [run[name] for name in run.groups()]"
    )
    out = {"open": page.evaluate(OPEN)}
    cold = page.evaluate(SCRUB, [0.1, 0.95, 60])
    warm = page.evaluate(SCRUB, [0.95, 0.5, 40])
    out |= {"first": cold["gaps"], "waited": cold["waited"], "again": warm["gaps"]}
    out["panel"] = warm["followed"] / sum(warm["gaps"]) * 1000
    out["click"] = page.evaluate(CLICK, SEEN_MS)
    out["cold"] = page.evaluate(CLICK, AT_ONCE_MS)
    out |= page.evaluate(STATE)
    assert out["painter"] == ("webgl" if webgl else "canvas"), out["painter"]
    assert out["ink"] > 300, "the scatter is blank"
    page.context.close()
    lab.end_kernels()
    assert_clean(page)
    return out


def line(size: Size, found: dict) -> str:
    """One line of the table."""
    per_second = 1000 / statistics.median(found["again"])
    mean = 1000 / statistics.mean(found["again"])
    slow = 1000 / statistics.quantiles(found["again"], n=20)[-1]
    return (
        f"{size.name:>24}  {found['painter']:6}  opens {found['open'] / 1000:4.2f} s  "
        f"scrub {per_second:3.0f} per s (mean {mean:2.0f}; 19 of 20 frames >= {slow:3.0f}; first pass "
        f"{1000 / statistics.median(found['first']):3.0f}, {found['waited']} of 60 frames waited "
        f"for positions; influencers {found['panel']:2.0f} per s)  click {statistics.median(found['click']):3.0f} ms "
        f"(worst of 12: {max(found['click']):3.0f}; right after scrolling "
        f"{statistics.median(found['cold']):3.0f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, help="where the runs are, or will be kept")
    parser.add_argument("--sizes", type=int, nargs="+", default=[0, 1, 2], help="of 0, 1 and 2")
    parser.add_argument("--only-make", action="store_true", help="write the runs and stop")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        runs = asked.runs or Path(scratch) / "runs"
        runs.mkdir(parents=True, exist_ok=True)
        for number in asked.sizes:
            path = runs / f"{SIZES[number].n_train}"
            if not (path / "done").exists():
                began = time.monotonic()
                run = make(SIZES[number], path)
                (path / "done").touch()
                print(
                    f"made {SIZES[number].name} in {time.monotonic() - began:.0f} s; "
                    f"{kept(run):.2f} of the top 8 stay from one scored moment to the next",
                    flush=True,
                )
        if asked.only_make:
            return
        (Path(scratch) / "root").mkdir()
        lab = start_lab(Path(scratch) / "root", Path(scratch) / "state")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=find_browser(), args=BROWSER_OPTIONS
            )
            try:
                for number in asked.sizes:
                    size = SIZES[number]
                    for webgl in (False, True):
                        path = runs / f"{size.n_train}"
                        print(
                            line(size, measure(browser, lab, size, path, webgl=webgl)), flush=True
                        )
            finally:
                browser.close()
                lab.stop()


if __name__ == "__main__":
    main()
