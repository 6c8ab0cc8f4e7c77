"""A model that is only looked at: which parameters, in what state, put back as it was."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase

import torch
import torch.utils.checkpoint
from torch import nn

from ...data.forward import as_written, in_own_precision
from ...errors import SettingError
from ...tasks.model_kinds import check_shaped


def select_parameters(model: nn.Module, layers=None) -> list[str]:
    """Names of the trainable parameters, or of those in the named layers.

    `layers` holds module or parameter names or patterns: "blocks.0", "*.mlp", "head.weight".
    """
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    if layers is None:
        chosen = names
    else:
        layers = [layers] if isinstance(layers, str) else list(layers)
        chosen = []
        for wanted in layers:
            hits = [n for n in names if fnmatchcase(n, wanted) or fnmatchcase(n, f"{wanted}.*")]
            if not hits:
                raise SettingError(
                    f"No layer matches {wanted!r}; the model's parameters are {', '.join(names)}."
                )
            chosen += hits
    if not chosen:
        raise SettingError(
            "The model has no trainable parameter: every one has requires_grad=False, as in an "
            "averaged copy (EMA). Name those to attribute: model.requires_grad_(True)."
        )
    wanted = set(chosen)
    return [name for name in names if name in wanted]


@contextmanager
def whatever_the_caller_does():
    """Gradients in full precision, also where the caller is in inference mode or in autocast.

    In inference mode every gradient would be zero, and autocast would round the scores.
    """
    with torch.inference_mode(False), in_own_precision():
        yield


@contextmanager
def undisturbed(model: nn.Module, tracked: Collection[str] = ()):
    """Evaluation mode with only some parameters in the graph; everything put back afterwards.

    What would hide operations from autograd's graph is off meanwhile: fused attention, compiled
    code, layers that are computed again in the backward pass, recurrent layers in one piece.
    """
    training, named = {}, {}
    for prefix, module in model.named_modules():
        training[module] = module.training
        for name, parameter in module.named_parameters(prefix, recurse=False):
            named.setdefault(parameter, name)
    flags = {parameter: parameter.requires_grad for parameter in named}
    fast = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        try:
            if any(training.values()):
                model.eval()
            names = set(tracked)
            for parameter, name in named.items():
                if parameter.requires_grad != (name in names):
                    parameter.requires_grad_(name in names)
            torch.backends.mha.set_fastpath_enabled(False)
            stack.enter_context(_nothing_computed_again())
            if any(isinstance(module, nn.RNNBase) for module in training):
                stack.enter_context(_without_mkldnn())
                stack.enter_context(torch.backends.cudnn.flags(enabled=False))
            stack.enter_context(as_written(model))
            for parameter in flags:
                stack.enter_context(_without_hooks(parameter))
            for module in training:
                weight = getattr(module, "weight", None)
                if getattr(module, "max_norm", None) is not None and torch.is_tensor(weight):
                    stack.enter_context(_written_back(weight))
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
            for module, mode in training.items():
                if module.training != mode:
                    module.training = mode
            for parameter, flag in flags.items():
                if parameter.requires_grad != flag:
                    parameter.requires_grad_(flag)


def check_ready(model: nn.Module) -> None:
    """Refuse parameters that do not exist yet, or that autograd may never see.

    Raises
    ------
    SettingError
    """
    check_shaped(model)
    for name, parameter in model.named_parameters():
        if parameter.is_inference():
            raise SettingError(
                f"The parameter {name!r} was made in torch.inference_mode(), so that it never has "
                f"a gradient. Make or load the model outside of it; torch.no_grad() does no harm."
            )


@contextmanager
def _without_hooks(parameter: torch.Tensor):
    """A parameter without the hooks of its training, so that its gradient is the derivative."""
    hooks = parameter._backward_hooks
    if not hooks:
        yield
        return
    kept = list(hooks.items())
    hooks.clear()
    try:
        yield
    finally:
        hooks.update(kept)


@contextmanager
def _written_back(weight: torch.Tensor):
    """A table with `max_norm` shortens its rows as they are looked up; they are put back."""
    before = weight.detach().clone()
    try:
        yield
    finally:
        weight.data.copy_(before)


@contextmanager
def _without_mkldnn():
    before = torch.backends.mkldnn.set_flags(False)
    try:
        yield
    finally:
        torch.backends.mkldnn.set_flags(before[0])


class _AtOnce:
    """In place of a layer that is computed again in the backward pass: the layer."""

    @staticmethod
    def apply(function, preserve, *args):
        return function(*args)


def _once(*args, **kwargs):
    yield


@contextmanager
def _nothing_computed_again():
    """Gradient checkpointing off: gradients are the same, and the graph shows every layer."""
    place = torch.utils.checkpoint
    instead = {"CheckpointFunction": _AtOnce, "_checkpoint_without_reentrant_generator": _once}
    there = {name: getattr(place, name) for name in instead if hasattr(place, name)}
    try:
        for name in there:
            setattr(place, name, instead[name])
        yield
    finally:
        for name, own in there.items():
            setattr(place, name, own)
