"""Public names that load their module on first use, so that importing a package costs nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any


def lazy_names(
    package: str, exports: dict[str, str], *, within: str | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """The `__getattr__`, `__dir__` and `__all__` of a package whose names load on first use.

    Parameters
    ----------
    package : its `__name__`
    exports : public name -> the module that defines it (or is it, where the two are named alike),
        relative to the package: ".training.replay" is one floor up
    within : the package those modules lie in; by default `package` itself
    """
    within = within or package

    def load(name: str) -> object:
        if name not in exports:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = import_module(f".{exports[name]}", within)
        value = module if exports[name] == name else getattr(module, name)
        setattr(sys.modules[package], name, value)
        return value

    names = sorted(exports)
    return load, lambda: names, names
