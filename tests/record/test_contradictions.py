"""A record whose checksums fit and whose words do not: the part is named, the rest is read."""

from __future__ import annotations

import json
import zlib

import numpy as np
import pytest
import xarray as xr

import dg_explorer as dg
from dg_explorer.record.store.damage import damages

GROUP = "dynamics/train"


def rows(epoch: int) -> xr.Dataset:
    loss = np.full((1, 20), epoch, np.float32)
    return xr.Dataset(
        {"loss": (("epoch", "train"), loss)}, {"epoch": [epoch], "train": np.arange(20)}
    )


def recorded(path, *, flush=True) -> dg.Run:
    run = dg.Run.create(path, name="words", train_examples={"label": np.arange(20) % 2})
    for epoch in range(4):
        run.append(GROUP, rows(epoch))
    if flush:
        run.flush()
    return run


def rewrite(path, change) -> None:
    """Change what the manifest says of the group, and make its checksum fit."""
    file = path / "record" / "manifest.jsonl"
    lines = file.read_text().splitlines()
    for i, line in enumerate(lines):
        entry = json.loads(line)[1]
        if entry.get("group") == GROUP:
            change(entry, entry["blocks"][0], entry["blocks"][0]["pieces"]["loss"])
            text = json.dumps(entry, separators=(",", ":"))
            lines[i] = f'["{zlib.crc32(text.encode()):08x}",{text}]'
    file.write_text("\n".join([*lines, ""]))


WORDS = {
    "more bytes than there are": lambda group, block, piece: piece.__setitem__(2, 10**12),
    "a shape of other sizes": lambda group, block, piece: piece.__setitem__(4, [4, 10]),
    "a shape of as many values": lambda group, block, piece: piece.__setitem__(4, [2, 40]),
    "a start before the file": lambda group, block, piece: piece.__setitem__(1, -8),
    "objects": lambda group, block, piece: piece.__setitem__(3, "|O"),
    "no type at all": lambda group, block, piece: piece.__setitem__(3, "many"),
    "no piece": lambda group, block, piece: block["pieces"].__setitem__("loss", None),
    "an eighth part": lambda group, block, piece: piece.extend(["coded", 1]),
    "fewer labels than rows": lambda group, block, piece: block.__setitem__("labels", [0, 1, 3]),
    "more labels than rows": lambda group, block, piece: block.__setitem__("labels", [0, 1, 5]),
    "a label twice": lambda group, block, piece: block.update(labels={"list": [0, 1, 1, 2]}),
    "labels in words": lambda group, block, piece: block.update(labels={"list": list("abcd")}),
    "rows that are not there": lambda group, block, piece: block.update(used={"list": [0, 7]}),
    "rows counted from the end": lambda group, block, piece: block.update(used={"list": [-1, 0]}),
    "no blocks": lambda group, block, piece: group.pop("blocks"),
    "a variable it does not know": lambda group, block, piece: group["variables"].pop("loss"),
    "three dims for two axes": lambda group, block, piece: group["variables"]["loss"].update(
        dims=["epoch", "train", "unit"]
    ),
    "dims without the one it grows along": lambda group, block, piece: group["variables"][
        "loss"
    ].update(dims=["train", "unit"]),
    "attributes without names": lambda group, block, piece: group.update(attrs=[1]),
    "a file outside of the run": lambda group, block, piece: piece.__setitem__(0, "/etc/hostname"),
}


@pytest.mark.parametrize("words", WORDS)
def test_a_group_whose_words_cannot_be_is_named_and_the_rest_is_read(tmp_path, words):
    recorded(tmp_path / "run")
    rewrite(tmp_path / "run", WORDS[words])
    run = dg.Run.open(tmp_path / "run")
    assert run["train_examples"].label.values.tolist() == [0, 1] * 10
    with pytest.raises(dg.DamagedRecordError, match=GROUP):
        run[GROUP].load()
    assert [what for what, _ in damages(tmp_path / "run")] == [GROUP]


def test_a_journal_that_is_something_else_is_no_torn_one(tmp_path):
    recorded(tmp_path / "run", flush=False)
    [journal] = (tmp_path / "run" / "record").glob("journal-*")
    journal.write_bytes(b"this was copied here by mistake")
    assert list(damages(tmp_path / "run"))
    with pytest.raises(dg.RunError, match="damaged"):
        dg.Run.open(tmp_path / "run")[GROUP].load()


@pytest.mark.parametrize("left", [1, 5, 30])
def test_a_frame_that_was_cut_short_never_happened(tmp_path, left):
    recorded(tmp_path / "run", flush=False)
    [journal] = (tmp_path / "run" / "record").glob("journal-*")
    data = journal.read_bytes()
    last = data.rindex(b"DGJ2")
    journal.write_bytes(data[: last + left])
    assert dg.Run.open(tmp_path / "run")[GROUP].epoch.values.tolist() == [0, 1, 2]
    assert list(damages(tmp_path / "run")) == []


@pytest.mark.parametrize("name", ["record/manifest.jsonl", "rows"])
def test_a_folder_in_the_place_of_a_file_is_named(tmp_path, name):
    recorded(tmp_path / "run")
    file = tmp_path / "run" / name
    if name == "rows":
        [file] = (tmp_path / "run" / "record" / "rows").iterdir()
    file.unlink()
    file.mkdir()
    with pytest.raises(dg.DamagedRecordError, match="is a folder"):
        dg.Run.open(tmp_path / "run")[GROUP].load()
