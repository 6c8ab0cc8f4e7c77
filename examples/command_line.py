"""What the examples' command lines share: numbers in range, and errors as sentences."""

import argparse
from collections.abc import Callable

from dg_explorer.errors import DGExplorerError


def at_least(least: int) -> Callable[[str], int]:
    """A whole number that is not smaller, for `add_argument(type=...)`."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} up")
        return int(text)

    return number


def run_script(main: Callable[[], None]) -> None:
    """Run a script; what it asked for and cannot have is said in a sentence, not a traceback."""
    try:
        main()
    except (DGExplorerError, FileExistsError) as error:
        raise SystemExit(str(error)) from error
