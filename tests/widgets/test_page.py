"""The saved page as text; tests/browser opens it."""

import base64
import hashlib
import json
import re

import pytest

import dg_explorer as dg
from dg_explorer.errors import SettingError
from dg_explorer.testing import tiny_run

HOSTILE = "</script><img src=x onerror=alert(1)>"


@pytest.fixture
def text(tmp_path):
    run = tiny_run()
    run.set_attrs(name=HOSTILE)
    return dg.explore(run, show=lambda example: HOSTILE).to_html(tmp_path / "b.html").read_text()


def digests(text, tag):
    found = re.findall(rf"<{tag}(?: type=\"module\")?>(.*?)</{tag}>", text, re.S)
    return [base64.b64encode(hashlib.sha256(f.encode()).digest()).decode() for f in found]


def test_only_our_own_script_and_style_may_run_and_nothing_may_be_fetched(text):
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    (script,), (style,) = digests(text, "script"), digests(text, "style")
    assert f"script-src 'sha256-{script}'" in policy
    assert f"style-src 'sha256-{style}'" in policy


def test_no_text_of_the_run_closes_a_tag(text):
    assert "<img" not in text
    assert text.count("</script>") == 3  # the state, the record, the board
    state = re.search(r'id="dg-state">(.*?)</script>', text, re.S)[1]
    assert "<" not in state
    json.loads(state)


def test_a_page_names_no_other_place(text):
    links = set(re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", text))
    assert {link for link in links if "w3.org" not in link} == set()


def test_the_theme_is_checked_before_anything_is_written(tmp_path):
    with pytest.raises(SettingError, match="'drak'"):
        dg.explore(tiny_run()).to_html(tmp_path / "b.html", theme="drak")
    assert not list(tmp_path.iterdir())


def test_fewer_influencers_make_a_smaller_page(tmp_path):
    board = dg.explore(tiny_run(n_train=200, n_test=60, epochs=40))
    sizes = [board.to_html(tmp_path / f"{k}.html", k=k).stat().st_size for k in (8, 2)]
    assert sizes[1] < sizes[0]
