"""The specification's import path for TRAK, and the TRAK library's: `trak` becomes
`dg_explorer.trak`. The code lives in `dg_explorer.attribution`."""

from importlib import import_module

# public name -> the module that defines it
_EXPORTS = {
    "TRAKAttributor": "attribution.trak",
    "TRAKer": "attribution.traker",
    "DelayedGeneralizationTRAK": "attribution.delayed",
}

__all__ = list(_EXPORTS)


def __getattr__(name: str):
    if name not in _EXPORTS:
        raise AttributeError(f"module 'dg_explorer.trak' has no attribute {name!r}")
    value = getattr(import_module(f"dg_explorer.{_EXPORTS[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted(__all__)
