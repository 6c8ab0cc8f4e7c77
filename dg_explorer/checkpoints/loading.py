"""Weights into a model of the same architecture, or a copy of one: names, shapes, NaN checked."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import update_wrapper
from types import CellType, FunctionType, MethodType

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves

from ..arguments import checked
from ..errors import ArchitectureMismatchError, CheckpointError, NonFiniteError, SettingError
from .renaming import renamed

_SAME_SETTINGS = "Build the model with the settings it was trained with."
_OF_KERAS = (
    "These are keras's own names. In keras on torch: model.load_weights('w_1.weights.h5'); "
    "torch.save(model.state_dict(), 'epoch_1.pt'), and pass that."
)


@checked
def load_into(model, state_dict: Mapping, *, prefix: str | None = None) -> str:
    """Load weights into a model of the same architecture, checking names, shapes and NaN.

    What wrappers put into names may differ on either side, inside and outside (`module.`,
    `_orig_mod.`, those of FSDP and of activation checkpointing), and so may what all names begin
    with; the tensors of a criterion and the counter of averaged weights are left out; a tied weight
    that the checkpoint holds only once is found. Adapters are loaded onto a model that has them,
    and leave the rest of it as it is.

    Parameters
    ----------
    model : module
    state_dict : names of tensors to tensors
    prefix : str, optional
        What the names of this model begin with in a checkpoint of several networks.

    Returns
    -------
    str
        In words what was renamed and left out; empty where the names are the model's own.

    Raises
    ------
    ArchitectureMismatchError
        Names or shapes differ; the first that do are listed. The model is left unchanged.
    CheckpointError
        More than one renaming fits; `prefix=` chooses.
    NonFiniteError
        Weights are NaN or infinite; the first names are listed.
    """
    own = model.state_dict()
    if lazy := [name for name, weight in own.items() if is_lazy(weight)]:
        raise SettingError(
            f"{_first(lazy)} of this {type(model).__name__} have no size yet: call the model on "
            f"one batch first."
        )
    given, told = renamed(state_dict, model, prefix)
    counters = [name for name in own if name.endswith("num_batches_tracked")]
    # saved before torch counted batches, or by a library that does not; only momentum=None reads it
    given |= {name: own[name] for name in counters if name not in given}
    missing = [name for name in own if name not in given]
    unexpected = [name for name in given if name not in own]
    shapes = [
        f"{name}: {tuple(given[name].shape)} in the checkpoint, {tuple(own[name].shape)} here"
        for name in own
        if name in given and torch.is_tensor(own[name]) and given[name].shape != own[name].shape
    ]
    complex_ = [
        name
        for name in own
        if torch.is_tensor(given.get(name)) and given[name].is_complex() > own[name].is_complex()
    ]
    if empty := [name for name in own if getattr(given.get(name), "is_meta", False)]:
        raise CheckpointError(
            f"{_first(empty)} of the checkpoint are on the meta device and hold no values. Load "
            f"the file they came from."
        )
    differs = {
        "complex in the checkpoint, real in the model": complex_,
        "only in the model": missing,
        "only in the checkpoint": unexpected,
        "of other shape": shapes,
    }
    if any(differs.values()):
        several = "; ".join(f"{what}: {_first(names)}" for what, names in differs.items() if names)
        raise ArchitectureMismatchError(
            f"The checkpoint does not fit this {type(model).__name__}. {several}. "
            + (_OF_KERAS if any("/vars/" in name for name in unexpected) else _SAME_SETTINGS)
        )
    check_weights_finite(parameters_of(model, given))
    model.load_state_dict(given)
    return told


def parameters_of(model, state_dict: dict) -> dict:
    """The part of a state dict that is trained; a mask of -inf is a buffer like any other."""
    names = dict(model.named_parameters(remove_duplicate=False))
    return {name: tensor for name, tensor in state_dict.items() if name in names}


def check_weights_finite(state_dict: dict) -> None:
    """Raise `NonFiniteError` naming the weights that hold NaN or infinity."""
    broken = [
        name
        for name, tensor in state_dict.items()
        if torch.is_tensor(tensor)
        and tensor.is_floating_point()
        and not torch.isfinite(tensor).all()
    ]
    if broken:
        raise NonFiniteError(
            f"{len(broken)} of {len(state_dict)} weights hold NaN or infinity: {_first(broken)}. "
            f"The training diverged before this checkpoint; use an earlier one."
        )


def _first(names, k: int = 3) -> str:
    more = f" and {len(names) - k} more" if len(names) > k else ""
    return ", ".join(names[:k]) + more


def copied(model: nn.Module) -> nn.Module:
    """A copy of a model, also of one that keeps results of its last pass as attributes.

    torch copies no tensor that has a graph; the copy gets the numbers without it. A `forward` that
    a library has put into a module (TRL) holds on to that very module; the copy's holds the copy.
    """
    if not isinstance(model, nn.Module):
        raise SettingError(f"model must be a torch module, not {type(model).__name__}.")
    memo: dict[int, object] = {}
    for module in model.modules():
        for value in tree_leaves(dict(vars(module))):
            if torch.is_tensor(value) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    made = copy.deepcopy(model, memo)
    pairs = list(zip(model.modules(), made.modules(), strict=True))
    of = {id(module): twin for module, twin in pairs}
    for _, module in pairs:
        for name, value in vars(module).items():
            if isinstance(value, MethodType) and value.__func__.__closure__:
                vars(module)[name] = MethodType(_holding(value.__func__, of), value.__self__)
    return made


def _holding(function: FunctionType, of: Mapping[int, nn.Module]) -> Callable:
    """The same function with twins, of modules and of their methods, in its closure."""

    def twin(value):
        if isinstance(value, MethodType) and id(value.__self__) in of:
            own = _holding(value.__func__, of) if value.__func__.__closure__ else value.__func__
            return MethodType(own, of[id(value.__self__)])
        return of.get(id(value), value)

    cells = function.__closure__ or ()
    try:
        before = [cell.cell_contents for cell in cells]
    except ValueError:  # a name that has no value yet
        return function
    held = [twin(value) for value in before]
    if all(new is old for new, old in zip(held, before, strict=True)):
        return function
    one = FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        tuple(CellType(value) for value in held),
    )
    one.__kwdefaults__ = function.__kwdefaults__
    return update_wrapper(one, getattr(function, "__wrapped__", function))
