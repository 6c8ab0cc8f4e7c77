"""The TypeScript: its unit tests, and that the committed bundle is what it builds to."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from dg_explorer.testing import tiny_run
from dg_explorer.widgets.answers.trajectories import trajectories_of
from dg_explorer.widgets.reading.blocks import pack
from dg_explorer.widgets.reading.reader import RunReader
from dg_explorer.widgets.reading.tables import top_influencers

FRONTEND = Path(__file__).parents[2] / "frontend"
STATIC = FRONTEND.parent / "dg_explorer" / "widgets" / "static"


@pytest.fixture(scope="module")
def tools():
    assert shutil.which("npm"), "the front end's tests need Node; python3 tests/run.py installs it"
    if not all((FRONTEND / "node_modules" / ".bin" / name).exists() for name in ("tsc", "biome")):
        subprocess.run(["npm", "ci", "--no-fund", "--no-audit"], cwd=FRONTEND, check=True)


def npm(*command, **environment):
    return subprocess.run(
        ["npm", "run", "--silent", *command],
        cwd=FRONTEND,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def test_the_sources_are_formatted_and_pass_the_linter(tools):
    done = npm("lint")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_sources_are_strictly_typed(tools):
    done = npm("check")
    assert done.returncode == 0, done.stdout


def test_the_pure_logic_passes_its_tests_and_reads_what_python_writes(tools, tmp_path):
    write_fixture(tmp_path)
    done = npm("test", DG_FIXTURE=str(tmp_path))
    assert done.returncode == 0, done.stdout[-6000:]
    assert re.search(r"^# skipped 0$", done.stdout, re.M)


def test_the_committed_bundle_is_what_the_sources_build_to(tools, tmp_path):
    committed = {path.name: path.read_bytes() for path in STATIC.iterdir()}
    done = npm("build", DG_OUT=str(tmp_path))
    assert done.returncode == 0, done.stderr
    built = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert {n for n in built if built[n] != committed.get(n)} == set(), "run `npm run build`"


def test_the_bundle_stays_small():
    assert (STATIC / "board.js").stat().st_size <= 250 * 1024


def test_no_source_sets_markup_or_evaluates_text():
    banned = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc"
    for path in (FRONTEND / "src").rglob("*.ts"):
        assert not re.search(banned, path.read_text()), path


def test_modules_stay_small():
    sources = [p for p in (FRONTEND / "src").rglob("*") if p.suffix in (".ts", ".css")]
    long = {p.name: n for p in sources if (n := lines(p)) > 350}  # as the formatter leaves them
    assert long == {}


def test_the_lock_file_names_no_registry():
    assert '"resolved"' not in (FRONTEND / "package-lock.json").read_text()


def lines(path):
    return len(path.read_text().splitlines())


def write_fixture(folder):
    """Bytes as Python packs them, beside what they mean, for test/blocks.test.ts."""
    rng = np.random.default_rng(0)
    half = np.array([0, 1, -1.5, 6e-8, 65504, np.nan, 0.1], np.float16)
    blocks = {
        "half": half,
        "single": rng.normal(size=5).astype(np.float32),
        "double": rng.normal(size=3),
        "small": np.array([-3, 100], np.int8),
        "large": np.array([2**40, 7]),
        "texts": ["", "ünï", "مرحبا", "👨‍👩‍👧", "<b>"],
    }
    container = pack({**blocks, "inner": pack({"x": np.arange(1, 4)})}, {"title": "</script> ünï"})
    (folder / "container.bin").write_bytes(container)
    plain = {
        n: b if isinstance(b, list) else [None if np.isnan(v) else v for v in b.astype(float)]
        for n, b in blocks.items()
    }
    (folder / "container.json").write_text(json.dumps(plain))
    reader, test, k = RunReader(tiny_run(seed=5)), 1004, 6
    data = reader.scores("trak")
    (folder / "scores.bin").write_bytes(pack(trajectories_of(reader, "trak", test, k)))
    facts = {"epochs": data["epoch"].values.tolist(), "top": [], "score": [], "onset": []}
    for epoch in data["epoch"].values:
        frame = top_influencers(reader, "trak", test, int(epoch), k)
        sides = [frame[frame.side == side] for side in ("helped", "hurt")]
        facts["top"].append([side.train.tolist() for side in sides])
        facts["score"].append([side.score.tolist() for side in sides])
        facts["onset"].append([[slow_onset(data, test, i, epoch) for i in s.train] for s in sides])
    (folder / "scores.json").write_text(json.dumps(facts))


def slow_onset(data, test, train, until):
    """Index of the first epoch of the unbroken spell, up to `until`, on this side and outermost."""
    rows = data["score"].sel(test=test)
    sign = np.sign(float(rows.sel(epoch=until, train=train)))
    start = -1
    for index, epoch in enumerate(data["epoch"].values):
        if epoch > until:
            break
        row = rows.sel(epoch=epoch).values
        score = float(rows.sel(epoch=epoch, train=train))
        edge = np.quantile(row, 0.95 if sign > 0 else 0.05)
        outermost = sign * score > 0 and (score >= edge if sign > 0 else score <= edge)
        start = (index if start < 0 else start) if outermost else -1
    return start
