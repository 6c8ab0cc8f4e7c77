"""Is this machine ready? `dg-explorer doctor` answers in plain words."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find_browser() -> str | None:
    """The Chromium to use: $CHROMIUM, else one on the PATH, else the one playwright installed.

    Returns
    -------
    str or None
        The program's path; None where there is no such browser.
    """
    wanted = os.environ.get("CHROMIUM")
    if wanted:
        return shutil.which(wanted)
    for name in BROWSERS:
        found = shutil.which(name)
        if found:
            return found
    cache = Path(
        os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or Path.home() / ".cache/ms-playwright"
    ).expanduser()
    programs = (
        program
        for pattern in (
            "chromium-*/chrome-linux*/chrome",
            "chromium-*/chrome-mac*/Chromium.app/Contents/MacOS/Chromium",
            "chromium-*/chrome-win*/chrome.exe",
        )
        for program in cache.glob(pattern)
    )
    return next((str(program) for program in sorted(programs, reverse=True)), None)
