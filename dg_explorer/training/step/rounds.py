"""`Rounds`: several optimizers while they train, whose steps with one gradient are one step."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch.utils.hooks import RemovableHandle

from ...checkpoints.several import (
    Several,
    as_one,
    check_apart,
    delegates_of,
    each_of,
    held_in,
)
from ...errors import SettingError
from .by_hand import UnsupportedOptimizerError
from .choose import check_optimizer


class Rounds(Several):
    """Several optimizers whose steps with one gradient are one step of the training: a round.

    A round begins with the first of them, and is over when all have stepped, when one is about to
    step again, or when a gradient was taken anew. Hooks on it are called once a round.

    Parameters
    ----------
    optimizers : list of torch optimizers
    wrappers : list of torch optimizers
        Those of one's own that leave their steps to some of these.
    """

    def __init__(self, optimizers: Sequence, wrappers: Sequence = ()):
        super().__init__(optimizers)
        self.wrappers = list(wrappers)
        #: the rate of each group when its optimizer stepped last
        self.rates = [float(group["lr"]) for group in self.param_groups]
        #: called with what makes the steps of a round not those of one gradient, in words
        self.say: Callable[[str], None] = lambda words: None
        self._stepped: set[int] = set()
        self._over = True
        self._inside: int | None = None
        self._new_gradient = False  # since the last step
        self._met: set[int] = set()  # to whose gradients it has added
        self._left = False  # whether something had been left in those
        self._with_rests: set[int] = set()
        self._before: OrderedDict = OrderedDict()
        self._after: OrderedDict = OrderedDict()
        self._each: OrderedDict = OrderedDict()
        self._handles = []
        for k, one in enumerate(self.optimizers):
            self._handles += [
                one.register_step_pre_hook(partial(self._begin_step, k)),
                one.register_step_post_hook(partial(self._end_step, k)),
            ]
            for p in (p for group in one.param_groups for p in group["params"]):
                self._handles += self._hooks_on(p, k)

    def remove(self) -> None:
        """Take the hooks off the optimizers."""
        for handle in self._handles:
            handle.remove()

    def register_step_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Have a function called before a round; as that of a torch optimizer."""
        return _hung(self._before, hook)

    def register_step_post_hook(self, hook: Callable) -> RemovableHandle:
        """Have a function called after a round, at the latest before the next or in `settle`."""
        return _hung(self._after, hook)

    def register_each_hook(self, hook: Callable[[int], None]) -> RemovableHandle:
        """Have a function called before the step of each optimizer, with its number."""
        return _hung(self._each, hook)

    def begins(self, optimizer) -> bool:
        """Whether a step of this optimizer would begin a round."""
        k = next(i for i, one in enumerate(self.optimizers) if one is optimizer)
        return self._over or self._new_gradient or k in self._stepped

    def settle(self) -> None:
        """End the round: no further optimizer steps with its gradient."""
        if not self._over:
            self._over = True
            for hook in list(self._after.values()):
                hook(self, (), {})

    def _hooks_on(self, p: torch.Tensor, k: int) -> list:
        """Hooks on a parameter, also where it is frozen for now."""
        trains = p.requires_grad
        p.requires_grad_(True)
        handles = [
            p.register_hook(partial(self._come, k)),
            p.register_post_accumulate_grad_hook(partial(self._add, k)),
        ]
        p.requires_grad_(trains)
        return handles

    def _begin_step(self, k: int, optimizer, args, kwargs):
        if self._inside == k and steps_on_the_way(optimizer) > 1:
            return None  # part of a step: an own one that calls its parent's
        self._inside = k
        if len(self.rates) != len(self.param_groups):  # a group was added
            self.rates = [float(group["lr"]) for group in self.param_groups]
        self.rates[self.groups(k)] = rates_of(optimizer)
        changed = None
        if self.begins(optimizer):
            self.settle()
            self._stepped, self._over = set(), False
            for hook in list(self._before.values()):
                changed = hook(self, *(changed or (args, kwargs))) or changed
        self._stepped.add(k)
        for hook in list(self._each.values()):
            hook(k)
        if k in self._with_rests:
            self.say(
                f"gradients of one step alone: those of {type(optimizer).__name__} also hold what "
                f"was left in them by earlier batches, at which another optimizer stepped"
            )
        self._new_gradient, self._with_rests = False, self._with_rests - {k}
        return changed

    def _end_step(self, k: int, optimizer, args, kwargs) -> None:
        if steps_on_the_way(optimizer) > 1:
            return
        self._inside = None
        if len(self._stepped) == len(self.optimizers):
            self.settle()

    def _come(self, k: int, gradient) -> None:
        """A backward pass comes to a parameter of an optimizer, and has not added to it yet."""
        if self._inside is None and (not self._new_gradient or k not in self._met):
            rests = [p.grad for g in self.optimizers[k].param_groups for p in g["params"]]
            self._left = any(bool(rest.any()) for rest in rests if rest is not None)

    def _add(self, k: int, parameter) -> None:
        """A backward pass has added to the gradient of a parameter."""
        if self._inside is not None:
            if len(self._stepped) > 1:
                self.say(
                    f"one gradient a step: {type(self.optimizers[self._inside]).__name__} took "
                    f"one in a closure, after another optimizer had moved the weights"
                )
            return
        if not self._new_gradient:
            self._new_gradient, self._met = True, set()
        if k not in self._met:
            self._met.add(k)
            self._with_rests = self._with_rests | {k} if self._left else self._with_rests - {k}


def _hung(hooks: OrderedDict, hook: Callable) -> RemovableHandle:
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    return handle


def to_watch(optimizer, model, *, replay: bool) -> Any:
    """The optimizer whose steps a recorder watches, or `Rounds` of several; None for none.

    Raises
    ------
    SettingError, UnsupportedOptimizerError
        What was given is no optimizer, or cannot be replayed; with its name.
    """
    optimizer = as_one(optimizer)
    if optimizer is None:
        return None
    steps, wrappers = [], []
    for one in map(_that_steps, each_of(optimizer)):
        if not hasattr(one, "param_groups"):
            raise SettingError(
                f"The optimizer has no param_groups: {one!r}. Give torch's, a list of them, or "
                f"None."
            )
        inner = delegates_of(one) if replay else []
        if inner:
            wrappers.append(one)
        elif replay and len(held_in(one)) > 1:
            names = " and ".join(type(part).__name__ for part in held_in(one))
            raise UnsupportedOptimizerError(
                f"{type(one).__name__} holds other optimizers ({names}) that do not share out its "
                f"parameters, so it is not known who steps what, and a replay cannot follow. Give "
                f"each parameter to one of them, and the recorder those: Recorder(run, model, "
                f"[one, other], replay=True)."
            )
        steps += inner or [one]
    if replay:
        for one in steps:
            check_optimizer(one)
    if len(steps) == 1:
        return steps[0]
    check_apart(steps, model)
    sharp = [type(one).__name__ for one in steps if hasattr(one, "first_step")]
    if replay and sharp:
        raise UnsupportedOptimizerError(
            f"{sharp[0]} takes a second gradient within its step, in which other optimizers have "
            f"no part: a replay follows it as the only optimizer, and not beside another."
        )
    return Rounds(steps, wrappers)


def _that_steps(optimizer):
    """The optimizer in a trainer's wrapper, whose hooks see the steps that are taken."""
    if type(optimizer).__name__ == "AcceleratedOptimizer":
        return optimizer.optimizer
    return (
        getattr(optimizer, "_optimizer", optimizer)
        if (type(optimizer).__name__.startswith("Lightning"))
        else optimizer
    )


def rates_of(optimizer) -> list[float]:
    """The learning rate of each parameter group; of several optimizers when each stepped last."""
    if isinstance(optimizer, Rounds):
        return list(optimizer.rates)
    return [float(group["lr"]) for group in optimizer.param_groups]


def steps_on_the_way(optimizer) -> int:
    """How many calls of an optimizer's step are being made: one that raised is none of them."""
    frame, found = sys._getframe(), 0
    while frame is not None:
        of_torch = frame.f_code.co_name == "wrapper" and "profile_name" in frame.f_code.co_varnames
        found += of_torch and frame.f_locals.get("self") is optimizer
        frame = frame.f_back
    return found
