"""Pictures of figures need a browser and are tested once, in tests/figures."""

import pytest


@pytest.fixture(autouse=True)
def no_images(monkeypatch):
    monkeypatch.setattr("dg_explorer.figures.saving._why_no_images", lambda: "not in this test")
