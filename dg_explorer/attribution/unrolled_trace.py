"""A function of tensors as a plain list of operations, without the work that adds zero."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import fx

_aten = torch.ops.aten
_ZEROS = {_aten._efficientzerotensor.default, _aten.zeros.default, _aten.zeros_like.default}
_VIEWS = {
    _aten.alias.default,
    _aten.expand.default,
    _aten.view.default,
    _aten.t.default,
    _aten.transpose.int,
    _aten._unsafe_view.default,
    _aten.unsqueeze.default,
}
_PRODUCTS = {_aten.mm.default, _aten.bmm.default, _aten.mul.Tensor}


def trace(function: Callable, *examples: torch.Tensor) -> Callable:
    """The function as traced on these arguments, or itself where tracing changes its values.

    Nested transforms of a function (a Hessian product, batched) spend more time in Python than
    in arithmetic when the model is small, and multiply by tangents known to be zero. Only to be
    called with arguments of the same shapes.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    wanted = function(*examples)
    try:
        # A bound method would be traced with one argument too many.
        traced = make_fx(lambda *arguments: function(*arguments))(*examples)
        _drop_zeros(traced)
        again = traced(*examples)
    except Exception:  # tracing fails in many ways; the function itself is always right
        return function
    pairs = zip(_tuple(again), _tuple(wanted), strict=True)
    return traced if all(torch.allclose(a, b, equal_nan=True) for a, b in pairs) else function


def _tuple(value):
    return value if isinstance(value, tuple) else (value,)


def _drop_zeros(traced: fx.GraphModule) -> None:
    """Remove products with tensors of zeros, sums with them, and powers 0 and 1."""
    zero: set[fx.Node] = set()
    one: set[fx.Node] = set()
    for node in list(traced.graph.nodes):
        if node.op != "call_function":
            continue
        inputs = [a for a in node.args if isinstance(a, fx.Node)]
        target = node.target
        # A tensor that is written into later is no constant.
        if target in _ZEROS:
            if not any(_writes(user) for user in node.users):
                zero.add(node)
        elif (target in _VIEWS and inputs[0] in zero) or (
            target in _PRODUCTS and any(a in zero for a in inputs)
        ):
            zero.add(node)
        elif (target is _aten.pow.Tensor_Scalar and node.args[1] == 0) or (
            target is _aten.mul.Scalar and node.args[0] in one and node.args[1] == 1
        ):
            one.add(node)
        elif target is _aten.pow.Tensor_Scalar and node.args[1] == 1:
            node.replace_all_uses_with(inputs[0])
        elif target in (_aten.add.Tensor, _aten.mul.Tensor) and len(inputs) == 2:
            neutral = zero if target is _aten.add.Tensor else one
            for a, b in (inputs, inputs[::-1]):
                if a in neutral and not node.kwargs and _shape(b) == _shape(node) is not None:
                    node.replace_all_uses_with(b)
                    break
    traced.graph.eliminate_dead_code()
    traced.recompile()


def _writes(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and schema.is_mutable


def _shape(node: fx.Node):
    value = node.meta.get("val", node.meta.get("tensor_meta"))
    return None if value is None else tuple(value.shape)
