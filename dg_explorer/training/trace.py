"""A function of tensors as a plain list of operations, without the work that adds zero."""

from __future__ import annotations

import operator
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
# Results that share memory with their first argument.
_SHARING = _VIEWS | {
    _aten.squeeze.dims,
    _aten.squeeze.dim,
    _aten.slice.Tensor,
    _aten.select.int,
    _aten.permute.default,
    _aten.detach.default,
    _aten.split_with_sizes.default,
    _aten.split.Tensor,
    _aten.unbind.int,
    operator.getitem,
}
_IN_PLACE = {
    _aten.add.Tensor: _aten.add_.Tensor,
    _aten.sub.Tensor: _aten.sub_.Tensor,
    _aten.mul.Tensor: _aten.mul_.Tensor,
    _aten.mul.Scalar: _aten.mul_.Scalar,
    _aten.div.Tensor: _aten.div_.Tensor,
    _aten.neg.default: _aten.neg_.default,
}
_FRESH = {*_IN_PLACE, _aten.mm.default, _aten.bmm.default, _aten.exp.default}
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
        _write_in_place(traced)
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


def _write_in_place(traced: fx.GraphModule) -> None:
    """Let an elementwise operation write over an argument that nothing needs any more.

    A new tensor for each result costs as much in fresh memory as the arithmetic itself.
    """
    root: dict[fx.Node, fx.Node] = {}
    last: dict[fx.Node, int] = {}
    nodes = list(traced.graph.nodes)
    for position, node in enumerate(nodes):
        shared = node.target in _SHARING or _writes(node)
        root[node] = root[node.all_input_nodes[0]] if shared else node
        for used in node.all_input_nodes:
            last[root[used]] = position
    for position, node in enumerate(nodes):
        if node.target not in _IN_PLACE:
            continue
        given = node.args[0] if isinstance(node.args[0], fx.Node) else None
        of_two = node.target in (_aten.add.Tensor, _aten.mul.Tensor)
        both = [given, node.args[1]] if of_two and not node.kwargs else [given]
        for a in both:
            if not isinstance(a, fx.Node) or not _same_tensor(a, node):
                continue
            others = [b for b in node.all_input_nodes if b is not a]
            clash = any(root[b] is root[a] for b in others)
            if root[a].target in _FRESH and last[root[a]] == position and not clash:
                rest = list(node.args)
                rest.remove(a)
                node.args = (a, *rest)
                node.target = _IN_PLACE[node.target]
                # What used this result now keeps the argument's memory in use.
                for follower, of in root.items():
                    if of is node:
                        root[follower] = root[a]
                last[root[a]] = max(last[root[a]], last.get(node, position))
                break
    traced.recompile()


def _same_tensor(a: fx.Node, b: fx.Node) -> bool:
    """Of one shape, type and layout, and without an entry that stands for several."""
    one, other = (node.meta.get("val", node.meta.get("tensor_meta")) for node in (a, b))
    if one is None or other is None:
        return False
    stride = one.stride if isinstance(one.stride, tuple) else one.stride()
    spread = all(step != 0 or size == 1 for step, size in zip(stride, one.shape, strict=True))
    return tuple(one.shape) == tuple(other.shape) and one.dtype == other.dtype and spread


def _writes(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and schema.is_mutable


def _shape(node: fx.Node):
    value = node.meta.get("val", node.meta.get("tensor_meta"))
    return None if value is None else tuple(value.shape)
