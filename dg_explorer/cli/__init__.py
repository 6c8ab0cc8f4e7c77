"""The command line: `dg-explorer demo`, `open`, `doctor` and the rest."""

from ..lazy_names import lazy_names

_EXPORTS = {"main": "commands", "parser": "commands"}

__getattr__, __dir__, __all__ = lazy_names(__name__, _EXPORTS)
