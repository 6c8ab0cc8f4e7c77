"""A function of tensors as a plain list of operations, without the work that adds zero."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.weak import WeakTensorKeyDictionary

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
_IDLE = {_aten.alias.default, _aten.detach.default}
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
    _aten.baddbmm.default: _aten.baddbmm_.default,
}
_FRESH = {*_IN_PLACE, _aten.mm.default, _aten.bmm.default, _aten.exp.default}
_PRODUCTS = {_aten.mm.default, _aten.bmm.default, _aten.mul.Tensor}


def trace(
    function: Callable, *examples: torch.Tensor, check: Sequence[torch.Tensor] | None = None
) -> Callable:
    """The function as the operations it ran on these arguments, or itself where that differs.

    Transforms of a function (a Hessian product, batched) and graphs of gradients spend more time
    in Python and in the engine than in arithmetic when the model is small, and multiply by
    tangents known to be zero. Only to be called with arguments of the same shapes.

    Parameters
    ----------
    check : sequence of tensors, optional
        Arguments on which both must give the same; others than `examples` show what does not
        depend on the arguments in the list of operations, but does in the function.
    """
    given = examples if check is None else check
    try:
        traced = _operations(function, examples)
        _drop_zeros(traced)
        _add_in_products(traced)
        _write_in_place(traced)
        again = traced(*given)
    except Exception:  # tracing fails in many ways; the function itself is always right
        return function
    pairs = zip(_tuple(again), _tuple(function(*given)), strict=True)
    return traced if all(_close(a, b) for a, b in pairs) else function


def _tuple(value):
    return value if isinstance(value, tuple) else (value,)


def _close(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    same = torch.isfinite(b)
    if not torch.equal(same, torch.isfinite(a)):
        return False
    a, b = a[same], b[same]
    return float((a - b).norm()) <= 100 * torch.finfo(b.dtype).eps * float(b.norm())


@dataclass(frozen=True)
class _Seen:
    """What a result was like."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype


class _Recorder(TorchDispatchMode):
    """Writes down each operation on tensors that is run.

    A tensor that none of them made is a constant. Results that are held by nothing else are let go.
    """

    def __init__(self, examples: Sequence[torch.Tensor]):
        super().__init__()
        self.graph, self.constants = fx.Graph(), torch.nn.Module()
        self._nodes = WeakTensorKeyDictionary()
        for i, example in enumerate(examples):
            self._note(example, self.graph.placeholder(f"given_{i}"))

    def node(self, value: Any) -> Any:
        """The node that made a tensor; of anything else itself."""
        if not torch.is_tensor(value):
            return value
        if value not in self._nodes:
            name = f"constant_{len(list(self.constants.buffers()))}"
            self.constants.register_buffer(name, value.detach())
            self._note(value, self.graph.get_attr(name))
        return self._nodes[value]

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if _shape_depends_on_values(func, args):
            raise TypeError(f"The shape that {func} gives depends on the numbers given.")
        made = func(*args, **kwargs)
        node = self.graph.call_function(func, *tree_map(self.node, (args, kwargs)))
        if isinstance(made, (tuple, list)):
            for i, part in enumerate(made):
                self._note(part, self.graph.call_function(operator.getitem, (node, i)))
        else:
            self._note(made, node)
        return made

    def _note(self, tensor: Any, node: fx.Node) -> None:
        if not torch.is_tensor(tensor):
            raise TypeError(f"{node} gives a number, on which the next operations may depend.")
        node.meta["val"] = _Seen(tuple(tensor.shape), tensor.stride(), tensor.dtype)
        self._nodes[tensor] = node


def _shape_depends_on_values(func, args) -> bool:
    """Whether the next operations may be others for other numbers, as where experts are routed."""
    if func is _aten.index.Tensor:  # by whole numbers, as many as there are
        return any(t is not None and t.dtype in (torch.bool, torch.uint8) for t in args[1])
    return torch.Tag.dynamic_output_shape in func.tags


def _operations(function: Callable, examples: Sequence[torch.Tensor]) -> fx.GraphModule:
    # Each argument is a tensor of its own, lest two that are one be taken for each other.
    examples = [example.detach() for example in examples]
    recorder = _Recorder(examples)
    with recorder:
        made = function(*examples)
    recorder.graph.output(tree_map(recorder.node, made))
    return fx.GraphModule(recorder.constants, recorder.graph)


def _drop_zeros(traced: fx.GraphModule) -> None:
    """Remove products with tensors of zeros, sums with them, powers 0 and 1, and idle views."""
    zero: set[fx.Node] = set()
    one: set[fx.Node] = set()
    for node in list(traced.graph.nodes):
        if node.op != "call_function":
            continue
        inputs = [a for a in node.args if isinstance(a, fx.Node)]
        target = node.target
        if target in _IDLE or (target in _VIEWS and node.meta["val"] == inputs[0].meta["val"]):
            node.replace_all_uses_with(inputs[0])
            continue
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


def _add_in_products(traced: fx.GraphModule) -> None:
    """Let a batch of products of matrices be added where it is made, in one pass instead of two."""
    for node in list(traced.graph.nodes):
        if node.target is not _aten.add.Tensor or node.kwargs:
            continue
        ends: Any = node.args
        for made, other in (ends, ends[::-1]):
            product: Any = made
            while isinstance(product, fx.Node) and product.target is _aten._unsafe_view.default:
                product = product.args[0]
            fits = isinstance(product, fx.Node) and product.target is _aten.bmm.default
            if not fits or not isinstance(other, fx.Node) or other is made:
                continue
            alone = len(product.users) == len(made.users) == 1
            if alone and _shape(product) == _shape(other) == _shape(node):
                node.target, node.args = _aten.baddbmm.default, (other, *product.args)
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
