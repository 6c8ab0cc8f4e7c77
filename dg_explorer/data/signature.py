"""How a model is called: the names and the number of inputs that its `forward` takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

#: parameters of a model that are labels, not inputs
LABEL_NAMES = ("labels", "label", "targets", "target", "y")
_WRAPPERS = ("module", "_orig_mod")


@dataclass(frozen=True)
class Signature:
    """What a model's `forward` takes.

    Attributes
    ----------
    names : tuple of str
        Its parameters in order, without `*args` and `**kwargs`.
    required : int
        How many inputs it must get by position or name.
    most : int or None
        How many it can get by position; None for any number.
    any_name : bool
        Whether it takes names that it does not list.
    """

    names: tuple[str, ...]
    required: int
    most: int | None
    any_name: bool

    def takes(self, n: int) -> bool:
        """Whether n positional inputs are possible."""
        return self.required <= n and (self.most is None or n <= self.most)


def signature_of(model: Callable | None) -> Signature | None:
    """How a model is called; None where that cannot be seen."""
    if model is None:
        return None
    while type(model).__module__.startswith("torch") and any(
        hasattr(model, name) for name in _WRAPPERS
    ):
        # data parallel, sharded or compiled: the model is inside
        model = next(getattr(model, name) for name in _WRAPPERS if hasattr(model, name))
    function: Any = getattr(model, "forward", model)
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None
    kinds = {p.kind for p in parameters}
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if not named:
        return None  # (*args, **kwargs) says nothing
    positional = [p for p in named if p.kind is not p.KEYWORD_ONLY]
    required = [p for p in named if p.default is p.empty and p.name not in LABEL_NAMES]
    return Signature(
        tuple(p.name for p in named),
        len(required),
        None if inspect.Parameter.VAR_POSITIONAL in kinds else len(positional),
        inspect.Parameter.VAR_KEYWORD in kinds,
    )
