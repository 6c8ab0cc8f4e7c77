"""The picture that stands in for a board: what it says, and that nothing in it is markup."""

import base64
import datetime
import io
from xml.etree import ElementTree

from PIL import Image

import dg_explorer as dg
from dg_explorer.run import Run
from dg_explorer.testing import tiny_run


def bundle(board):
    found = board._repr_mimebundle_()
    return found[0] if isinstance(found, tuple) else found


def words(svg):
    return [text.text for text in ElementTree.fromstring(svg).iter() if text.tag.endswith("text")]


def test_it_says_what_the_board_shows():
    run = tiny_run(seed=1)
    board = dg.explore(run, epoch=30, test=1004)
    said = words(bundle(board)["image/svg+xml"])
    assert {"Tiny synthetic run", "epoch 30", "Test example test example 1004"} <= set(said)
    row = run["scores/trak"]["score"].sel(epoch=30, test=1004).to_series()
    for best in (row[row > 0].nlargest(3), row[row < 0].nsmallest(3)):
        named = [f"train example {i}" for i in best.index]
        assert [text for text in said if text in named] == named
    assert any(datetime.date.today().isoformat() in text for text in said)


def test_the_png_is_the_same_picture_at_twice_700_pixels():
    data = bundle(dg.explore(tiny_run()))
    image = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    box = ElementTree.fromstring(data["image/svg+xml"]).get("viewBox").split()
    assert image.size == (2 * int(box[2]), 2 * int(box[3]))
    assert image.width == 1400
    colours = {colour for _, colour in image.convert("RGB").getcolors()}
    assert (0x00, 0x72, 0xB2) in colours  # the train curve's blue


def test_text_of_the_data_is_text():
    old = tiny_run()
    tables = {}
    for split in ("train", "test"):
        table = old[f"{split}_examples"].load()
        table["text"] = (split, ["<script>alert(1)</script>"] * table.sizes[split])
        tables[f"{split}_examples"] = table
    run = Run.create(name="<b onclick=x>", **tables)
    for group in set(old.groups()) - set(tables):
        run.add(group, old[group].load())
    svg = bundle(dg.explore(run))["image/svg+xml"]
    assert {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(svg).iter()} <= {
        *("svg", "rect", "text", "path"),
    }
    assert "<b onclick=x>" in words(svg)


def test_an_empty_run_has_a_picture_too():
    data = bundle(dg.explore(Run.create(name="Nothing yet")))
    assert "Nothing yet" in words(data["image/svg+xml"])
    assert data["image/png"]
