"""`to_png`: a picture of a board or of one view, through whatever Chromium there is."""

import base64
import struct

import pytest

import dg_explorer as dg
from dg_explorer.errors import SettingError
from dg_explorer.testing import tiny_run
from dg_explorer.widgets.export.photograph import PictureError

# Share of pixels whose colour is a dark or a light grey, as a browser decodes the picture.
SHARES = """async (data) => {
  const picture = await createImageBitmap(await (await fetch(data)).blob());
  const canvas = new OffscreenCanvas(picture.width, picture.height), pen = canvas.getContext('2d');
  pen.drawImage(picture, 0, 0);
  const { data: all } = pen.getImageData(0, 0, picture.width, picture.height);
  let dark = 0, light = 0, coloured = 0;
  for (let i = 0; i < all.length; i += 4) {
    const r = all[i], g = all[i + 1], b = all[i + 2]; // a slice of each takes ten times as long
    if (r + g + b < 150) dark++; else if (r + g + b > 690) light++;
    if (Math.max(r, g, b) - Math.min(r, g, b) > 80) coloured++;
  }
  const n = all.length / 4;
  return {dark: dark / n, light: light / n, coloured: coloured / n}; }"""


@pytest.fixture
def shares(browser):
    page = browser.new_page()

    def shares(path):
        data = base64.b64encode(path.read_bytes()).decode()
        return page.evaluate(SHARES, f"data:image/png;base64,{data}")

    yield shares
    page.close()


def size(path):
    """Width and height that a PNG declares."""
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", head[16:24])


def test_a_board_is_written_whole_light_and_dark(tmp_path, shares):
    board = dg.explore(tiny_run())
    light = shares(board.to_png(tmp_path / "light.png", width=1000, scale=1))
    dark = shares(board.to_png(tmp_path / "dark.png", theme="dark", width=1000, scale=1))
    assert light["light"] > 0.6 > light["dark"]
    assert dark["dark"] > 0.6 > dark["light"]
    assert min(light["coloured"], dark["coloured"]) > 0.005  # bars, lines and points are drawn
    width, height = size(tmp_path / "light.png")
    assert width == 1000
    assert height > 800  # tabs below the fold included


def test_one_view_alone_and_a_comparison_at_twice_the_size(tmp_path, shares):
    run = tiny_run()
    for name, view in (
        ("evolution", dg.FeatureEvolution(run)),
        ("runs", dg.RunComparison({"one": run, "two": tiny_run(1)})),
    ):
        path = view.to_png(tmp_path / f"{name}.png", width=700)
        assert size(path)[0] == 1400
        assert shares(path)["coloured"] > 0.002


def test_without_a_browser_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("CHROMIUM", "no-such-browser")
    with pytest.raises(PictureError, match="apt-get install chromium"):
        dg.explore(tiny_run()).to_png(tmp_path / "board.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong", [{"theme": "auto"}, {"width": 10}, {"scale": 9}, {"path": "board.jpg"}]
)
def test_settings_that_make_no_picture_are_refused(tmp_path, wrong):
    path = tmp_path / wrong.pop("path", "board.png")
    with pytest.raises(SettingError):
        dg.explore(tiny_run()).to_png(path, **wrong)
