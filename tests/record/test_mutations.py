"""Whatever happens to the files of a run: the right values, or an error that names the damage."""

import os
import random
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from faults import a_run, contents, rows, scores

import dg_explorer as dg
from dg_explorer.errors import DGExplorerError
from dg_explorer.record.store.damage import damages

N = 200


def flip(file, dice, others):
    data = bytearray(file.read_bytes())
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    file.write_bytes(data)


def cut_short(file, dice, others):
    file.write_bytes(file.read_bytes()[: dice.randrange(file.stat().st_size)])


def remove(file, dice, others):
    file.unlink()


def swap(file, dice, others):
    other = dice.choice(others)
    mine, theirs = file.read_bytes(), other.read_bytes()
    file.write_bytes(theirs)
    other.write_bytes(mine)


def blank(file, dice, others):
    data = bytearray(file.read_bytes())
    at = dice.randrange(len(data))
    data[at : at + 40] = bytes(len(data[at : at + 40]))
    file.write_bytes(data)


def insert(file, dice, others):
    data = file.read_bytes()
    at = dice.randrange(len(data))
    file.write_bytes(data[:at] + dice.randbytes(3) + data[at:])


def point_elsewhere(file, dice, others):
    outside = file.parents[3] / f"outside{dice.random()}"
    shutil.copy(file, outside)
    file.unlink()
    os.symlink(outside, file)


WAYS = [flip, flip, flip, cut_short, remove, swap, blank, insert, point_elsewhere]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    run = a_run(tmp_path_factory.mktemp("mutations") / "deep" / "down" / "run")
    run.add("scores/wide", scores(0, tests=4, trains=30_000))  # several checksums
    run.blobs.write("checkpoints/epoch_3/weights", os.urandom(5 << 20))  # a file of its own
    run.flush()
    run.set_attrs(late=1)
    run.append("metrics", rows(60))
    return run


def kept(part):
    return repr(part)


@pytest.mark.second_ring(sample=25)
@pytest.mark.parametrize("seed", range(N))
def test_a_change_in_any_file_is_noticed(whole, tmp_path, seed):
    dice = random.Random(seed)
    right = contents(whole)
    path = tmp_path / "a" / "b" / "run"
    shutil.copytree(whole.path, path)
    files = sorted(p for p in path.rglob("*") if p.is_file() and p.name != "lock")
    file = dice.choice([p for p in files if p.stat().st_size])
    way = dice.choice(WAYS)
    way(file, dice, [p for p in files if p != file])
    told = []
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            run = dg.Run.open(path)
        except DGExplorerError:
            return
        told += [str(w.message) for w in said] + run.repaired
        for name in [n for n in right if n not in ("attrs", "blobs")]:
            try:
                data = run[name].load()
            except DGExplorerError as error:
                told.append(str(error))
                continue
            found = {
                n: (a.dims, str(a.dtype), a.values.tolist()) for n, a in data.variables.items()
            }
            if kept(found | {"": data.attrs}) != kept(right[name]):
                assert told, f"{way.__name__} of {file.name} altered {name} in silence"
        for name, data in right["blobs"].items():
            try:
                assert run.blobs.read(name) == data or told
            except DGExplorerError as error:
                told.append(str(error))
        assert run.attrs == right["attrs"] or told


def test_a_damaged_line_of_the_manifest_costs_its_group_only_and_names_the_file(whole, tmp_path):
    shutil.copytree(whole.path, tmp_path / "run")
    manifest = tmp_path / "run" / "record" / "manifest.jsonl"
    manifest.write_bytes(manifest.read_bytes().replace(b'"label"', b'"lebal"'))
    with pytest.warns(UserWarning, match="'train_examples' of the run .* cannot be read"):
        run = dg.Run.open(tmp_path / "run")
    assert "train_examples" not in run.groups()
    assert run.epochs().tolist() == [0, 1, 2, 60]
    with pytest.raises(DGExplorerError, match=r"manifest\.jsonl"):
        run["train_examples"]


def test_the_doctor_lists_all_that_is_damaged_and_nothing_else(whole, tmp_path):
    shutil.copytree(whole.path, tmp_path / "run")
    assert list(damages(tmp_path / "run")) == []
    [file] = (tmp_path / "run" / "record" / "scores" / "wide" / "score" / "c").iterdir()
    data = bytearray(file.read_bytes())
    data[1000] ^= 4
    file.write_bytes(data)
    [(what, why)] = damages(tmp_path / "run")
    assert what == "scores/wide: score"
    assert file.name in why
    # only reading the damaged part fails
    run = dg.Run.open(tmp_path / "run")
    last = run["scores/wide"].score.sel(epoch=0, test=3).values
    assert np.array_equal(last, np.float32(30) + np.arange(30_000, dtype=np.float32))
    with pytest.raises(DGExplorerError, match=file.name):
        run["scores/wide"].score.sel(epoch=0, test=0).load()


def test_what_links_lead_to_is_not_read(whole, tmp_path):
    shutil.copytree(whole.path, tmp_path / "run")
    Path(tmp_path / "secret").write_text("of somebody else")
    os.symlink(tmp_path / "secret", tmp_path / "run" / "notes.txt")
    run = dg.Run.open(tmp_path / "run")
    with pytest.raises(DGExplorerError, match="leads out of the run"):
        run.blobs.read("notes.txt")
    assert "notes.txt" not in run.blobs.names()
