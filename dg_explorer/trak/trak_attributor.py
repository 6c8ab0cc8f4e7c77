"""The specification's import path `trak.trak_attributor`."""

import dg_explorer.trak as _trak

__all__ = list(_trak.__all__)


def __getattr__(name: str):
    return getattr(_trak, name)
