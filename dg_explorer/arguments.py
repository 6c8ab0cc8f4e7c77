"""`checked`: arguments of another kind, or out of range, are refused in one place and one way.

What an argument may be is read from the function's own annotations; which numbers make sense is a
matter of its name, as one word means one thing throughout this package. What only a run, a model or
data can tell is left to whoever reads them.
"""

from __future__ import annotations

import inspect
import math
import numbers
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import wraps
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from .errors import SettingError

#: Example ids, epochs or steps: whole numbers in any form that can be read again
Ids = Sequence[int] | np.ndarray
#: Default of a setting that cannot do without, refused by name where it is left out
REQUIRED: Any = None

Function = TypeVar("Function", bound=Callable[..., Any])

_COUNTS = """
    k top_k batch_size block_size models_at_once moments n_checkpoints n_subsets n_bootstrap n_curve
    n_random directions every steps rows segments proj_dim landmarks memory train_set_size width
    save_interval feature_examples sample_limit num_samples n_axes proj_max_batch_size
    windows
"""
_NONE_OR_MORE = "gradient_every checkpoint_every feature_every seed projection_seed"
# least and greatest of numbers by the name of their parameter
_RANGES: dict[str, tuple[str, float, float]] = {
    **dict.fromkeys(_COUNTS.split(), ("at least 1", 1, math.inf)),
    **dict.fromkeys(_NONE_OR_MORE.split(), ("at least 0", 0, math.inf)),
    **dict.fromkeys(("share", "weight", "from_share", "to_share"), ("between 0 and 1", 0, 1)),
    **dict.fromkeys(("drop", "keep", "level"), ("more than 0 and less than 1", 0, 1)),
    **dict.fromkeys(("h", "sharpness", "scale", "temperature"), ("more than 0", 0, math.inf)),
}
_OPEN = ("more than 0", "more than 0 and less than 1")
_CHOICES = {"theme": ("auto", "light", "dark"), "split": ("train", "test")}


def checked(function: Function) -> Function:
    """A function that looks at its arguments before it begins.

    Raises
    ------
    SettingError
        From the function: an argument is of another kind than its annotation says, NaN, or out of
        the range of its name.
    """
    signature = inspect.signature(function)
    rules = [
        (p.name, _kinds(p.annotation) or _UNANNOTATED.get(p.name), p.default)
        for p in signature.parameters.values()
        if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    called = function.__qualname__.removesuffix(".__init__")

    @wraps(function)
    def looked_at(*args, **kwargs):
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:  # a misspelt or missing name
            raise SettingError(f"{called}: {error}. It takes {_names(signature)}.") from None
        given = bound.arguments
        for name, kinds, default in rules:
            if name not in given or (given[name] is None and default is None):
                continue
            if why := _wrong(name, given[name], kinds):
                raise SettingError(f"{called}({name}={_short(given[name])}): {name} must be {why}.")
        if (inner := unwrapped(given.get("model"))) is not given.get("model"):
            given["model"] = inner
            args, kwargs = bound.args, bound.kwargs
        with _gradients_possible():
            return function(*args, **kwargs)

    return looked_at  # type: ignore[return-value]


def _gradients_possible():
    """Outside of `torch.inference_mode`, under which every gradient would be zero, unsaid."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.is_inference_mode_enabled():
        return nullcontext()
    return torch.inference_mode(False)


def unwrapped(model):
    """The model inside DistributedDataParallel or DataParallel, also where that was compiled.

    It has the same weights, and the names that the model has without the wrapper; and asking it
    sends nothing to other processes, which a wrapper does where there is batch normalization.
    """
    outer = model
    for _ in range(8):
        if type(outer).__name__ in ("DistributedDataParallel", "DataParallel"):
            return unwrapped(outer.module)
        outer = getattr(outer, "_orig_mod", None)
        if outer is None:
            return model
    return model


def _wrong(name: str, value: object, kinds: list[str] | None) -> str | None:
    """What an argument should be, where it is not that."""
    if kinds is not None and not any(_is(kind, value) for kind in kinds):
        return " or ".join(dict.fromkeys(_WORDS[kind] for kind in kinds))
    if name in _CHOICES and isinstance(value, str) and value not in _CHOICES[name]:
        return " or ".join(map(repr, _CHOICES[name]))
    if name in _RANGES and isinstance(value, numbers.Real) and not isinstance(value, bool):
        words, low, high = _RANGES[name]
        value = float(value)
        inside = low < value < high if words in _OPEN else low <= value <= high
        return None if inside else words
    return None


def _is(kind: str, value: Any) -> bool:
    match kind:
        case "None":
            return value is None
        case "bool":
            return isinstance(value, (bool, np.bool_))
        case "int":
            if isinstance(value, (bool, np.bool_)):
                return False
            one = getattr(value, "ndim", None) == 0 and np.asarray(value).dtype.kind in "iu"
            return isinstance(value, numbers.Integral) or one
        case "float":
            real = isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))
            return real and not math.isnan(value)  # type: ignore[arg-type]
        case "str":
            return isinstance(value, str)
        case "Path":
            return isinstance(value, (str, PathLike))
        case "Callable":
            return callable(value)
        case "functions":
            return isinstance(value, (list, tuple)) and all(v is None or callable(v) for v in value)
        case "Mapping":
            return isinstance(value, Mapping)
        case "ids":
            return _are_integers(value)
        case "names":
            many = _can_be_read_again(value) and not isinstance(value, (str, Mapping))
            return many and all(isinstance(one, str) for one in value)
        case "array":
            return hasattr(value, "__array__") or isinstance(value, (list, tuple, range))
        case "model":
            return hasattr(value, "named_parameters") and callable(value)
        case "optimizer":
            several = isinstance(value, (list, tuple)) and len(value) > 0  # `Recorder` says more
            return several or (hasattr(value, "param_groups") and hasattr(value, "state_dict"))
        case "device":
            return _is_device(value)
        case _:  # known by name, as this file imports neither xarray nor what is above it
            return any(one.__name__ == kind for one in type(value).__mro__)


def _is_device(value: object) -> bool:
    import torch

    try:
        torch.zeros(0, device=value)  # type: ignore[call-overload]
    except Exception:
        return False
    return True


def _can_be_read_again(value: object) -> bool:
    """Whether looking at its members leaves them there: a generator is empty afterwards."""
    return isinstance(value, Iterable) and hasattr(value, "__len__")


def _are_integers(value: object) -> bool:
    if isinstance(value, (str, bytes, Mapping, set, frozenset)) or not _can_be_read_again(value):
        return False
    as_it_is = hasattr(value, "__array__") or isinstance(value, (list, tuple, range))
    found = np.asarray(value if as_it_is else list(value))  # type: ignore[call-overload]
    whole = found.dtype.kind in "iu" or (found.dtype.kind == "f" and bool((found % 1 == 0).all()))
    return found.ndim == 1 and (whole or found.size == 0)


_WORDS = {
    "None": "None",
    "bool": "True or False",
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "Path": "a path",
    "Callable": "a function",
    "functions": "a list of functions",
    "Mapping": "a dict",
    "ids": "a list of whole numbers",
    "names": "a list of names",
    "array": "an array",
    "model": "a torch module",
    "optimizer": "a torch optimizer, or a list of them",
    "device": "a device that torch has on this machine ('cpu'; 'cuda' where there is CUDA)",
    "Run": "a run or its path",
    "Training": "a Training, as training_of_run gives it",
    "DataArray": "an xarray.DataArray",
    "Dataset": "an xarray.Dataset",
}
_ANNOTATED = {kind: kind for kind in ("None", "bool", "int", "float", "str", "Path", "Callable")}
_ANNOTATED |= {kind: kind for kind in ("Mapping", "Run", "Training")} | {
    "dict": "Mapping",
    "Sequence[int]": "ids",
    "Ids": "ids",
    "Sequence[str]": "names",
    "Sequence[Callable | None]": "functions",
    "np.ndarray": "array",
    "xr.DataArray": "DataArray",
    "xr.Dataset": "Dataset",
    "torch.nn.Module": "model",
    "nn.Module": "model",
}
# what older signatures do not say
_UNANNOTATED = {
    "model": ["model"],
    "device": ["device"],
    "run": ["Run", "Path"],
    "optimizer": ["optimizer"],
    "save_dir": ["Path"],
    "layers": ["names", "str"],
}


def _kinds(annotation: object) -> list[str] | None:
    """What an annotation allows; None where some of it is for others to look at."""
    if not isinstance(annotation, str):
        return None
    parts = [_ANNOTATED.get(part) or _generic(part) for part in _split(annotation)]
    return None if None in parts else parts  # type: ignore[return-value]


def _generic(part: str) -> str | None:
    head = part.partition("[")[0]
    return {"Callable": "Callable", "Mapping": "Mapping", "dict": "Mapping"}.get(head)


def _split(annotation: str) -> list[str]:
    """The alternatives of an annotation, of which brackets may hold others."""
    parts, depth = [""], 0
    for sign in annotation:
        depth += (sign == "[") - (sign == "]")
        if sign == "|" and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in parts]


def _names(signature: inspect.Signature) -> str:
    return ", ".join(name for name in signature.parameters if name not in ("self", "cls"))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


class Brief:
    """A `repr` that fits a screen: arrays by type and shape, long values cut, None left out."""

    def __repr__(self) -> str:
        known = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        shown = [f"{name}={brief(value)}" for name, value in known.items() if value is not None]
        return textwrap.fill(
            f"{type(self).__name__}({', '.join(shown)})",
            width=96,
            subsequent_indent="    ",
            max_lines=18,
            break_long_words=False,
            break_on_hyphens=False,
        )


def brief(value: Any) -> str:
    """A value on part of a line."""
    if hasattr(value, "data_vars"):  # a Dataset
        return f"<Dataset {dict(value.sizes)}>"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"<{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}>"
    if isinstance(value, (list, tuple, dict, set, frozenset)):
        text = _short(value) if len(value) <= 4 and all(map(_is_plain, value)) else ""
        return text if text and "..." not in text else f"<{type(value).__name__} of {len(value):,}>"
    if _is_plain(value):
        return _short(value)
    if isinstance(value, Path):
        return str(value)
    if inspect.isroutine(value) or isinstance(value, type):
        return value.__qualname__
    return f"<{type(value).__name__}>"


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, (bool, numbers.Number, str))
