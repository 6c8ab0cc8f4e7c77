"""When a run memorized, when it generalized, which examples did it, and what moved inside.

Classes and functions that add results to a `Run`. Names load on first use.
"""

from importlib import import_module

# public name -> the module of this package that defines it
_EXPORTS = {
    "add_cartography": "cartography",
    "add_memorization": "memorization",
    "add_projections": "projections",
    "add_transitions": "transitions",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str):
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return __all__
