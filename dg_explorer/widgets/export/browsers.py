"""Which browser there is: for the browser tests, for pictures and for the doctor."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# where playwright keeps the ones it installs
INSTALLED = (
    "chromium-*/chrome-linux*/chrome",
    "chromium-*/chrome-mac*/Chromium.app/Contents/MacOS/Chromium",
    "chromium-*/chrome-win*/chrome.exe",
)


def find_browser() -> str | None:
    """The Chromium to use: $CHROMIUM, else one on the PATH, else the one playwright installed.

    Returns
    -------
    str or None
        The program's path; None where there is no such browser, also where $CHROMIUM names one
        that does not exist.
    """
    wanted = os.environ.get("CHROMIUM")
    if wanted:
        return shutil.which(wanted)
    for name in NAMES:
        found = shutil.which(name)
        if found:
            return found
    cache = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or Path.home() / ".cache/ms-playwright")
    programs = sorted(str(program) for pattern in INSTALLED for program in cache.glob(pattern))
    return programs[-1] if programs else None
