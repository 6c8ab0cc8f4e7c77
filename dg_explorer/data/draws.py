"""Random numbers for our own reading: whatever a data set draws, the training's come as before."""

from __future__ import annotations

import functools
import random
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch

_KINDS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
_PLAIN = (str, bytes, int, float, complex, type(None), torch.Tensor, np.ndarray, torch.nn.Module)
_FOREIGN = ("torch", "numpy", "builtins", "random", "transformers", "pandas", "PIL")
_MOST = 20_000  # things looked at in search of generators; a list of examples counts with 64


class PrivateDraws:
    """Generators as they are for the block, and outside as if it had not been.

    Covers the global generators of torch, NumPy and Python, and those that a data set, its
    transforms and its collate function keep, as attributes, in closures or as globals of their
    module. Inside, draws go on from block to block, so that augmentation is fresh each time.

    Parameters
    ----------
    *owners : data sets and functions whose own generators are looked for
    """

    def __init__(self, *owners):
        self._own = list(generators_in(*owners))
        self._inside: list | None = None

    @contextmanager
    def __call__(self):
        """Use the private state inside the block."""
        outside = self._take()
        if self._inside is not None:
            self._put(self._inside)
        try:
            yield
        finally:
            self._inside = self._take()
            self._put(outside)

    def seed(self, seed: int) -> None:
        """Begin all generators anew; only inside a block, or the training would notice."""
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002 - the global one is what transforms draw from
        random.seed(seed)
        for generator in self._own:
            if isinstance(generator, torch.Generator):
                generator.manual_seed(seed)
            elif isinstance(generator, np.random.Generator):
                bits = generator.bit_generator
                bits.state = type(bits)(seed).state
            else:
                generator.seed(seed % 2**32)

    def _take(self) -> list:
        state = [torch.get_rng_state(), np.random.get_state(), random.getstate()]  # noqa: NPY002
        cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
        state.append(torch.cuda.get_rng_state_all() if cuda else None)
        return [*state, [_state(generator) for generator in self._own]]

    def _put(self, state: list) -> None:
        torch.set_rng_state(state[0])
        np.random.set_state(state[1])  # noqa: NPY002
        random.setstate(state[2])
        if state[3] is not None:
            torch.cuda.set_rng_state_all(state[3])
        for generator, kept in zip(self._own, state[4], strict=True):
            _restore(generator, kept)


def _state(generator):
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    return generator.get_state() if hasattr(generator, "get_state") else generator.getstate()


def _restore(generator, state) -> None:
    if isinstance(generator, torch.Generator):
        generator.set_state(state)
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    elif hasattr(generator, "set_state"):
        generator.set_state(state)
    else:
        generator.setstate(state)


def generators_in(*owners) -> Iterator:
    """The random generators that some objects and functions hold, each once."""
    waiting, seen, kept = list(owners), set(), []
    while waiting and len(kept) < _MOST:
        thing = waiting.pop()
        if isinstance(thing, _PLAIN) or id(thing) in seen:
            continue
        seen.add(id(thing))
        kept.append(thing)  # an id means something only while its object lives
        if isinstance(thing, _KINDS):
            if not isinstance(thing, random.SystemRandom):
                yield thing
        else:
            waiting += _parts(thing)


def _parts(thing) -> list:
    if isinstance(thing, Mapping):
        return list(thing.values())[:64]
    if isinstance(thing, (list, tuple, set, frozenset)):
        return list(thing)[:64]
    if isinstance(thing, functools.partial):
        return [thing.func, *thing.args, *thing.keywords.values()]
    if isinstance(thing, types.MethodType):
        return [thing.__self__, thing.__func__]
    if isinstance(thing, types.FunctionType):
        return _parts_of_function(thing)
    if isinstance(thing, (type, types.ModuleType, types.BuiltinFunctionType)):
        return []
    if type(thing).__module__.split(".")[0] in ("numpy", "pandas", "PIL"):
        return []
    parts = list(getattr(thing, "__dict__", {}).values())
    for kind in type(thing).__mro__:
        if kind.__module__.split(".")[0] not in _FOREIGN:
            names = getattr(kind, "__slots__", ())
            parts += [
                getattr(thing, n, None) for n in ((names,) if isinstance(names, str) else names)
            ]
            parts += [
                p for p in vars(kind).values() if isinstance(p, (*_KINDS, types.FunctionType))
            ]
    return parts


def _parts_of_function(function) -> list:
    """What a function can draw from: its closure, its defaults, the globals that it names."""
    if (function.__module__ or "").split(".")[0] in _FOREIGN:
        return []
    parts = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    for cell in function.__closure__ or ():
        try:
            parts.append(cell.cell_contents)
        except ValueError:  # a name that is not bound yet
            continue
    names, codes = set(), [function.__code__]
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes += [const for const in code.co_consts if isinstance(const, types.CodeType)]
    named = (function.__globals__.get(name) for name in names)
    return parts + [g for g in named if not isinstance(g, (type, types.ModuleType, *_PLAIN))]
