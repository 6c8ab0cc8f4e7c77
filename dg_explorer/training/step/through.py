"""A mode in which derivatives pass through code that was written to stop them.

Optimizers say `no_grad`, `detach`, `.data`, `.item()` and `out=`, and write in place. Under
`Through` the same code is a differentiable function of its tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

# What autograd may need unchanged: arguments and result are kept apart from later in-place work.
_KEPT = set(
    [
        "add",
        "sub",
        "mul",
        "div",
        "pow",
        "norm",
        "linalg_norm",
        "square",
        "sqrt",
        "rsqrt",
        "mm",
        "matmul",
        "bmm",
        "addmm",
        "baddbmm",
        "addcmul",
        "addcdiv",
        "lerp",
        "maximum",
        "minimum",
        "clamp",
        "exp",
        "log",
        "reciprocal",
        "where",
        "einsum",
        "mean",
        "sum",
        "dot",
        "__mul__",
        "__rmul__",
        "__truediv__",
        "__rtruediv__",
        "__pow__",
        "__matmul__",
    ]
)
_BESIDE = {"__iadd__": "add", "__isub__": "sub", "__imul__": "mul", "__itruediv__": "div"}
_AS_IS = {"copy_", "requires_grad_", "zero_", "fill_", "unsqueeze_", "squeeze_", "t_", "transpose_"}
_DATA: Any = Tensor.data  # of the class: a descriptor
_CUTS = {Tensor.detach, Tensor.detach_, torch.detach, _DATA.__get__}
_SET_DATA = _DATA.__set__
_NARROW = {torch.bfloat16, torch.float16}


class Number(float):
    """What `.item()` returns: a float that still knows its tensor."""

    tensor: Tensor

    @classmethod
    def of(cls, tensor: Tensor) -> Number:
        """The value of a tensor with one entry."""
        value = cls(Tensor.item(tensor))
        value.tensor = tensor
        return value


def _with_tensor(name: str) -> Callable:
    def operation(self, *others):
        value = getattr(self.tensor, name)(*(getattr(o, "tensor", o) for o in others))
        return value if any(map(torch.is_tensor, others)) else Number.of(value)

    return operation


for _name in [
    "add",
    "radd",
    "sub",
    "rsub",
    "mul",
    "rmul",
    "truediv",
    "rtruediv",
    "pow",
    "neg",
    "abs",
]:
    setattr(Number, f"__{_name}__", _with_tensor(f"__{_name}__"))


class Through(TorchFunctionMode):
    """Lets derivatives through, and leaves the values of a step as they are.

    A root at 0 (a second moment without a gradient so far) has derivative 0 here, not infinity:
    the parameter stands still, whatever its second moment.

    Parameters
    ----------
    counters : tensors
        Those whose `.item()` is a plain number: they count steps.
    rounding : bool
        Without it a cast to half precision is left out, so that the derivative is that of the
        step as it is meant (Muon rounds a product to bfloat16).
    """

    def __init__(self, counters: Iterable[Tensor] = (), *, rounding: bool = True):
        super().__init__()
        self._kept = list(counters)  # alive, so that an id stays theirs
        self._counters = set(map(id, self._kept))
        self._rounding = rounding

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", "")
        if func in _CUTS:
            return args[0]
        if name == "__get__":  # a look at a tensor
            return func(*args, **kwargs)
        if func is torch._C._set_grad_enabled:
            return None
        if func == _SET_DATA:
            return args[0].copy_(args[1])
        if func is Tensor.item:
            counts = id(args[0]) in self._counters or not args[0].is_floating_point()
            return func(args[0]) if counts else Number.of(args[0])
        if not self._rounding and _narrows(name, args, kwargs):
            return args[0]
        for key in {"alpha", "value"} & set(kwargs):  # would be made a number once more
            factor = getattr(kwargs[key], "tensor", kwargs[key])
            if torch.is_tensor(factor):
                del kwargs[key]
                args = (args[0], args[1] * factor, *args[2:])
        args, into = tuple(getattr(a, "tensor", a) for a in args), kwargs.pop("out", None)
        beside = _BESIDE.get(name, name[:-1] if name.endswith("_") and name[-2:] != "__" else "")
        kept = name in _KEPT
        if hasattr(Tensor, beside or "?") and name not in _AS_IS:
            into, func, name, kept = args[0], getattr(Tensor, beside), beside, True
        if kept:
            args = tuple(a.clone() if torch.is_tensor(a) else a for a in args)
        if name == "sqrt":
            zero = args[0] == 0
            value = func(args[0].masked_fill(zero, 1.0)).masked_fill(zero, 0.0)
        else:
            value = func(*args, **kwargs)
        if into is not None:
            if into.requires_grad and not into._is_view():
                into.detach_()  # what is written over passes nothing on, not even zeros
            return into.copy_(value)
        return value.clone() if kept and torch.is_tensor(value) else value


def _narrows(name: str, args: tuple, kwargs: dict) -> bool:
    """Whether a call casts a single or double precision tensor to half precision."""
    if not args or not torch.is_tensor(args[0]):
        return False
    if args[0].dtype not in (torch.float32, torch.float64):
        return False
    if name in ("bfloat16", "half"):
        return True
    wanted = [*args[1:], kwargs.get("dtype")]
    return name in ("to", "type") and any(
        w in _NARROW for w in wanted if isinstance(w, torch.dtype)
    )
