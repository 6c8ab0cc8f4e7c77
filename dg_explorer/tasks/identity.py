"""What a user's function does, as a short name: results of another function are not its own.

A function is its code and all that the code can reach: defaults, closures, the object that it is
bound to, and the globals that it names. What of these cannot be read is listed, so that no reader
takes results of such a function for results of the same one.
"""

from __future__ import annotations

import dis
import hashlib
import sys
from collections.abc import Callable, Iterator
from functools import partial
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch

#: begins a digest of what cannot be read whole, so that it is never taken for the same
UNKNOWN = "cannot be known: "
_PLAIN = (str, bytes, int, float, complex, bool, type(None), type(Ellipsis), range, slice)
_PLAIN += (torch.dtype, torch.device, torch.Size, np.dtype, np.generic)
_DRAWS = (torch.Generator, np.random.Generator, np.random.RandomState, Iterator)
# parts of functions that are looked at; one that reaches farther is not known
_MOST = 20_000


def code_digest(function: object) -> str:
    """A short name for what a function does: its code, and the values of all that it can reach.

    Two functions of one text and equal values have one digest, in any session of one version of
    Python; names, places and line numbers do not count. Own functions, classes and objects are
    followed into; what belongs to installed libraries counts by its name.
    """
    return _Teller().of(function)[0]


def unknown_in(function: Callable) -> list[str]:
    """What a function reaches that cannot be read as a value, in words; mostly nothing."""
    return _Teller().of(function)[1]


def model_digest(model: torch.nn.Module, *, counters: bool = True) -> str:
    """A short name for what a model computes but for its weights: code, settings and shapes.

    Without `counters`, whole numbers that the model keeps as attributes do not count.
    """
    return _Teller(weights=False, counters=counters).of(model)[0]


class _Teller:
    """Walks through values and tells them to a hash, each object once."""

    def __init__(self, weights: bool = True, counters: bool = True):
        self.weights, self.counters = weights, counters
        self.told = hashlib.sha256()
        self.unknown: list[str] = []
        self.places: dict[int, int] = {}
        self.kept: list = []  # an id means something only while its object lives

    def of(self, value: Any) -> tuple[str, list[str]]:
        self.tell(value)
        return self.told.hexdigest()[:16], self.unknown

    def say(self, *words: Any) -> None:
        self.told.update(("|".join(map(str, words)) + ";").encode())

    def tell(self, value: Any) -> None:
        if isinstance(value, _PLAIN):
            self.say(type(value).__name__, repr(value))
        elif isinstance(value, CodeType):
            self._code(value)
        elif isinstance(value, (tuple, list)):
            self.say(type(value).__name__, len(value))
            for part in value:
                self.tell(part)
        elif isinstance(value, (set, frozenset)):
            self.say("set", sorted(value, key=repr))
        elif id(value) in self.places:
            self.say("again", self.places[id(value)])
        elif len(self.kept) > _MOST:
            if len(self.kept) == _MOST + 1:
                self.unknown.append("more than can be looked through")
                self.kept.append(None)
        else:
            self.places[id(value)] = len(self.places)
            self.kept.append(value)
            self._object(value)

    def _object(self, value: Any) -> None:
        if isinstance(value, torch.Tensor):
            self._tensor(value)
        elif isinstance(value, np.ndarray) and value.dtype != object:
            self.say(value.dtype, value.shape)
            self.told.update(np.ascontiguousarray(value).tobytes())
        elif isinstance(value, torch.nn.Module):
            self._module(value)
        elif isinstance(value, dict):
            self.say("dict", len(value))
            for key in sorted(value, key=repr):
                self.say(repr(key))
                self.tell(value[key])
        elif isinstance(value, FunctionType):
            self._function(value)
        elif isinstance(value, MethodType):
            self.tell(value.__func__)
            self.tell(value.__self__)
        elif isinstance(value, partial):
            for part in (value.func, value.args, value.keywords):
                self.tell(part)
        elif isinstance(value, type):
            self._class(value)
        elif isinstance(value, (ModuleType, BuiltinFunctionType)):
            self.say(getattr(value, "__module__", ""), value.__name__)
        elif isinstance(value, _DRAWS):
            self._unknown(value)
        else:
            self._state(value)

    def _tensor(self, value: torch.Tensor) -> None:
        self.say(value.dtype, tuple(value.shape), value.layout)
        if value.layout != torch.strided or value.is_nested or value.is_meta:
            self._unknown(value)
            return
        raw = value.detach().resolve_conj().resolve_neg().cpu().contiguous()
        self.told.update(raw.reshape(-1).view(torch.uint8).numpy().tobytes())

    def _module(self, value: torch.nn.Module) -> None:
        self.tell(type(value))
        self.say(value.extra_repr(), value.training if self.weights else "")
        lasting = set() if self.weights else set(value.state_dict(keep_vars=True))
        for kind in (value._parameters, value._buffers):
            for name, tensor in kind.items():
                shape = None if tensor is None else (tensor.dtype, tuple(tensor.shape))
                self.say(name, shape)
                if tensor is not None and name not in lasting:
                    self.tell(tensor)
        for name, part in sorted(vars(value).items()):
            known = _is_plain(part) or not _installed(type(value))
            if not self.counters and _may_count(part):
                continue
            if name not in _OF_MODULES and known and (self.weights or _is_setting(name, part)):
                self.say(name)
                self.tell(part)
        for name, part in value._modules.items():
            self.say(name)
            self.tell(part)

    def _function(self, value: FunctionType) -> None:
        if _installed(value):
            self.say(value.__module__, value.__qualname__)
            return
        self._code(value.__code__)
        self.tell(value.__defaults__)
        self.tell(value.__kwdefaults__)
        for cell in value.__closure__ or ():
            try:
                self.tell(cell.cell_contents)
            except ValueError:  # not filled yet
                self.say("empty")
        for name in sorted(_globals_of(value.__code__)):
            if name in value.__globals__:
                self.say(name)
                self._global(value.__globals__[name], value.__code__)

    def _global(self, value: Any, code: CodeType) -> None:
        if not isinstance(value, ModuleType) or _installed(value):
            self.tell(value)
            return
        for name in sorted(_names_of(code) & set(vars(value))):  # of a module of the user's own
            self.say(name)
            self.tell(getattr(value, name))

    def _class(self, value: type) -> None:
        self.say(value.__module__ if _installed(value) else "own", value.__qualname__)
        if _installed(value):
            return
        for base in value.__bases__:
            self.tell(base)
        for name, part in sorted(vars(value).items()):
            part = getattr(part, "__func__", getattr(part, "fget", part))
            own = not name.startswith("__")  # others but methods Python itself makes
            kinds = (*_PLAIN, torch.Tensor, np.ndarray, tuple, list, dict, type)
            if isinstance(part, FunctionType) or (own and isinstance(part, kinds)):
                self.say(name)
                self.tell(part)

    def _state(self, value: Any) -> None:
        """Any other object: its class, and what it would be saved as."""
        self.tell(type(value))
        try:
            saved = value.__reduce_ex__(2)
        except Exception:  # an object may refuse in its own way
            self._unknown(value)
            return
        if isinstance(saved, str):  # a name in its module
            self.say(saved)
            return
        make, arguments, *state = saved
        self.say(getattr(make, "__module__", ""), getattr(make, "__qualname__", make))
        for part in (arguments, *state):
            self.tell(list(part) if isinstance(part, Iterator) else part)

    def _unknown(self, value: Any) -> None:
        kind = type(value)
        self.say(kind.__module__, kind.__qualname__)
        self.unknown.append(f"a {kind.__module__}.{kind.__qualname__}")

    def _code(self, code: CodeType) -> None:
        self.told.update(code.co_code)
        self.say(code.co_names)
        for constant in code.co_consts[1:] if _has_docstring(code) else code.co_consts:
            self.tell(constant)


_OF_MODULES = set(vars(torch.nn.Module()))


def _is_plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return len(value) < 64 and all(isinstance(part, _PLAIN) for part in value)
    return isinstance(value, _PLAIN)


def _is_setting(name: str, value: Any) -> bool:
    """Whether an attribute of a model says how it computes: no log, cache or configuration."""
    return not name.startswith("_") and (_is_plain(value) or callable(value))


def _may_count(value: Any) -> bool:
    """Whether an attribute may be a counter, which a model moves while it is called."""
    parts = value if isinstance(value, (tuple, list)) else [value]
    return all(isinstance(part, int) and not isinstance(part, bool) for part in parts)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _globals_of(code: CodeType) -> set[str]:
    """Names that a function reads from its module: no attributes, which may be called the same."""
    return {
        str(step.argval)
        for one in _codes(code)
        for step in dis.get_instructions(one)
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    }


def _names_of(code: CodeType) -> set[str]:
    return {name for one in _codes(code) for name in one.co_names}


def _installed(value: Any) -> bool:
    """Whether something belongs to Python or a library, which versions tell apart."""
    name = value.__name__ if isinstance(value, ModuleType) else value.__module__
    top = str(name).partition(".")[0]
    if top == "__main__":
        return False
    if top in sys.stdlib_module_names or top in ("builtins", "dg_explorer"):
        return True
    where = getattr(sys.modules.get(str(name)), "__file__", None) or ""
    return "site-packages" in where or "dist-packages" in where


def _has_docstring(code: CodeType) -> bool:
    if sys.version_info >= (3, 13):
        return bool(code.co_flags & 0x4000000)  # CO_HAS_DOCSTRING
    first = code.co_consts[0] if code.co_consts else None
    return isinstance(first, str) and not code.co_name.startswith("<")
