"""`Several`: the optimizers of one training as one, their groups and states one after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..errors import CheckpointError, SettingError


class Several:
    """Some optimizers of one model, each with parameters of its own.

    What a torch optimizer has under these names it has for all of them together, in their order.

    Parameters
    ----------
    optimizers : list of torch optimizers
    """

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer]):
        self.optimizers = list(optimizers)

    @property
    def param_groups(self) -> list[dict]:
        """The groups themselves, those of the first optimizer first."""
        return [group for one in self.optimizers for group in one.param_groups]

    def groups(self, k: int) -> slice:
        """Which of all groups are those of the k-th optimizer."""
        sizes = [len(one.param_groups) for one in self.optimizers]
        return slice(sum(sizes[:k]), sum(sizes[: k + 1]))

    def zero_grad(self) -> None:
        """Forget the gradients of all."""
        for one in self.optimizers:
            one.zero_grad()

    def state_dict(self) -> dict:
        """As that of one optimizer with all groups: parameters are numbered on."""
        state: dict = {}
        groups: list[dict] = []
        first = 0
        for one in self.optimizers:
            own = one.state_dict()
            strange = [key for key in own["state"] if not isinstance(key, int)]
            strange += [key for key in own if key not in ("state", "param_groups")]
            if strange:
                raise CheckpointError(
                    f"{type(one).__name__} keeps {strange[0]!r} beside the state of its "
                    f"parameters, and one checkpoint of several optimizers has no place for it. "
                    f"Save it yourself, and record with checkpoint_every=0."
                )
            state |= {first + i: value for i, value in own["state"].items()}
            groups += [group | {"params": _moved(group, first)} for group in own["param_groups"]]
            first += sum(len(group["params"]) for group in own["param_groups"])
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, saved: Mapping) -> None:
        """Give each optimizer its part of what `state_dict` gave.

        Raises
        ------
        CheckpointError
            It is that of other optimizers.
        """
        there = [len(group["params"]) for group in self.param_groups]
        kept = [len(group["params"]) for group in saved["param_groups"]]
        if there != kept:
            raise CheckpointError(
                f"The state is that of optimizers with groups of {kept} parameters; "
                f"{name_of(self)} have groups of {there}. Give the optimizers that were saved, in "
                f"their order."
            )
        first = 0
        for k, one in enumerate(self.optimizers):
            groups = saved["param_groups"][self.groups(k)]
            n = sum(len(group["params"]) for group in groups)
            own = {
                i - first: saved["state"][i] for i in range(first, first + n) if i in saved["state"]
            }
            moved = [{**group, "params": _moved(group, -first)} for group in groups]
            one.load_state_dict({"state": own, "param_groups": moved})
            first += n


def each_of(optimizer) -> list[torch.optim.Optimizer]:
    """The optimizers that step: those of several, or the one."""
    return optimizer.optimizers if isinstance(optimizer, Several) else [optimizer]


def name_of(optimizer) -> str:
    """The class of an optimizer, or the classes of several."""
    return " and ".join(type(one).__name__ for one in each_of(optimizer))


def hook_after_passes(optimizer, hook) -> Any:
    """Have a function called when all passes of a step are over; the handle of the hook.

    A closure takes its passes within the step; of several optimizers no one is known to be the
    last of a step, and they take no closures but in the first.
    """
    if isinstance(optimizer, Several):
        several: Any = optimizer  # while they train
        return several.register_step_pre_hook(hook)
    return optimizer.register_step_post_hook(hook)


def as_one(optimizer) -> Any:
    """One optimizer or None as it is, and a list of them as `Several`.

    Raises
    ------
    SettingError
        Something in the list is no optimizer, or two of them hold one parameter.
    """
    if not isinstance(optimizer, (list, tuple)):
        return optimizer
    if not optimizer:
        raise SettingError("An empty list of optimizers was given. Give those that step, or None.")
    for one in optimizer:
        if not hasattr(one, "param_groups"):
            raise SettingError(f"One of the optimizers has no param_groups: {one!r}. Give torch's.")
    if len(optimizer) == 1:
        return optimizer[0]
    return Several(optimizer)


def check_apart(optimizers: Sequence, model) -> None:
    """Refuse several optimizers of which two hold one parameter, by its name.

    Raises
    ------
    SettingError
    """
    names = {id(p): name for name, p in model.named_parameters()}
    holder: dict[int, int] = {}
    for k, one in enumerate(optimizers):
        for p in (p for group in one.param_groups for p in group["params"]):
            first = holder.setdefault(id(p), k)
            if first != k:
                kinds = type(optimizers[first]).__name__, type(one).__name__
                raise SettingError(
                    f"{names.get(id(p), 'A parameter')} is held by two of the optimizers, "
                    f"{kinds[0]} and {kinds[1]}, which would both step it. Give each parameter "
                    f"to one of them."
                )


def delegates_of(optimizer) -> list[torch.optim.Optimizer]:
    """The optimizers to which a wrapper leaves its parameters, one each; [] for any other.

    A wrapper is an optimizer that holds two or more in its attributes, which have all of its
    parameters between them and none twice.
    """
    if isinstance(optimizer, Several) or not hasattr(optimizer, "__dict__"):
        return []
    inner = held_in(optimizer)
    mine = [id(p) for group in optimizer.param_groups for p in group["params"]]
    theirs = [id(p) for one in inner for group in one.param_groups for p in group["params"]]
    apart = len(theirs) == len(set(theirs))
    return inner if len(inner) > 1 and apart and set(mine) <= set(theirs) else []


def held_in(optimizer) -> list[torch.optim.Optimizer]:
    """The torch optimizers among the attributes of another, each once."""
    found: dict[int, torch.optim.Optimizer] = {}
    for value in vars(optimizer).values():
        parts = value if isinstance(value, (list, tuple)) else [value]
        parts = list(value.values()) if isinstance(value, dict) else parts
        found |= {id(p): p for p in parts if isinstance(p, torch.optim.Optimizer)}
    found.pop(id(optimizer), None)
    return list(found.values())


def _moved(group: Mapping, by: int) -> list[int]:
    return [i + by for i in group["params"]]
