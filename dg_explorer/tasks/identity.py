"""What a user's function does, as a short name: results of another function are not its own."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from types import CodeType
from typing import Any

import numpy as np
import torch

_PLAIN = (str, bytes, int, float, complex, bool, type(None), type(Ellipsis))


def code_digest(function: Callable) -> str:
    """A short name for what a function does: its code, its defaults and what it closes over.

    Two functions of one text have one digest, in any session of one version of Python; names,
    places and line numbers do not count. Its own global functions are followed; what it calls of
    installed libraries counts by name.
    """
    told = hashlib.sha256()
    _tell(function, told, frozenset())
    return told.hexdigest()[:16]


def _tell(value: Any, told: Any, inside: frozenset[int]) -> None:
    if id(value) in inside:
        told.update(b"itself")
        return
    if isinstance(value, CodeType):
        _tell_code(value, told, inside)
    elif isinstance(value, torch.Tensor):
        array = value.detach().cpu().contiguous()
        told.update(f"{array.dtype} {tuple(array.shape)}".encode())
        told.update(array.reshape(-1).view(torch.uint8).numpy().tobytes())
    elif isinstance(value, np.ndarray):
        told.update(f"{value.dtype} {value.shape}".encode() + value.tobytes())
    elif isinstance(value, torch.nn.Module):
        told.update(repr(value).encode())
        for name, tensor in value.state_dict().items():
            told.update(name.encode())
            _tell(tensor, told, inside)
    elif hasattr(value, "__code__"):
        _tell_function(value, told, inside | {id(value)})
    elif hasattr(value, "__func__"):  # a bound method
        _tell(value.__func__, told, inside)
        _tell(getattr(value.__self__, "__dict__", None), told, inside | {id(value)})
    elif hasattr(value, "func") and hasattr(value, "keywords"):  # functools.partial
        for part in (value.func, value.args, value.keywords):
            _tell(part, told, inside)
    elif isinstance(value, (tuple, list)):
        for part in value:
            _tell(part, told, inside)
    elif isinstance(value, dict):
        for key in sorted(value, key=repr):
            told.update(repr(key).encode())
            _tell(value[key], told, inside | {id(value)})
    elif isinstance(value, (set, frozenset)):
        told.update(repr(sorted(value, key=repr)).encode())
    elif isinstance(value, _PLAIN):
        told.update(repr(value).encode())
    else:
        name = getattr(value, "__qualname__", type(value).__qualname__)
        told.update(f"{getattr(value, '__module__', '')}.{name}".encode())


def _tell_function(function: Any, told: Any, inside: frozenset[int]) -> None:
    _tell(function.__code__, told, inside)
    _tell(function.__defaults__, told, inside)
    _tell(function.__kwdefaults__, told, inside)
    for cell in function.__closure__ or ():
        try:
            _tell(cell.cell_contents, told, inside)
        except ValueError:  # not filled yet
            told.update(b"empty")
    for name in function.__code__.co_names:
        value = function.__globals__.get(name)
        own = getattr(value, "__module__", None) == function.__module__
        if isinstance(value, _PLAIN) or (own and hasattr(value, "__code__")):
            told.update(name.encode())
            _tell(value, told, inside)


def _tell_code(code: CodeType, told: Any, inside: frozenset[int]) -> None:
    told.update(code.co_code)
    told.update(repr(code.co_names).encode())
    for constant in code.co_consts[1:] if _has_docstring(code) else code.co_consts:
        _tell(constant, told, inside)


def _has_docstring(code: CodeType) -> bool:
    if sys.version_info >= (3, 13):
        return bool(code.co_flags & 0x4000000)  # CO_HAS_DOCSTRING
    first = code.co_consts[0] if code.co_consts else None
    return isinstance(first, str) and not code.co_name.startswith("<")
