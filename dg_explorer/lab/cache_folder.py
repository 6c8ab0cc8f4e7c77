"""Where programs of this user keep what can be made again."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """This package's folder in the user's cache; it is not made here.

    `$XDG_CACHE_HOME` or `~/.cache` on Linux, `~/Library/Caches` on macOS, `%LOCALAPPDATA%` on
    Windows.
    """
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        asked = os.environ.get("XDG_CACHE_HOME", "")
        # the standard says to pass over a relative path
        base = Path(asked) if os.path.isabs(asked) else home / ".cache"
    return base / "dg_explorer"
