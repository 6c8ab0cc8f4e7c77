"""The path that a Jupyter configuration names; see `dg_explorer.lab.nodelay`."""

from .lab.nodelay import NoDelayWebsocket

__all__ = ["NoDelayWebsocket"]
