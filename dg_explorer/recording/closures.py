"""Steps that make their gradients themselves, through a closure (LBFGS, Lightning)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def closure_of(args: tuple, kwargs: dict) -> Callable | None:
    """The closure that an optimizer's `step` was called with, if any."""
    return args[1] if len(args) > 1 else kwargs.get("closure")


def look_after_closure(args: tuple, kwargs: dict, look: Callable[[], None]) -> tuple[tuple, dict]:
    """The arguments of a step whose closure is followed by a look at the gradients it made.

    A closure may run several times in a step; only its first gradients are looked at.
    """
    closure: Any = closure_of(args, kwargs)
    looked: list[bool] = []

    def then_look(*arguments, **settings):
        result = closure(*arguments, **settings)
        if not looked:
            looked.append(True)
            look()
        return result

    rest = {name: value for name, value in kwargs.items() if name != "closure"}
    return (args[0], then_look, *args[2:]), rest
