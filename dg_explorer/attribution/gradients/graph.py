"""What a forward pass did with each parameter, read off the graph that autograd kept of it.

From a parameter the graph is followed forward: through operations on parameters alone (a
transpose, a slice, a weight norm), the *chain*, up to the operations in which data meet it, its
*uses*. Which is which is seen by running two batch sizes: what a chain gives has the same shape
in both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import nn

# operations that only rearrange one tensor
VIEWS = frozenset(
    {
        "T",
        "Transpose",
        "Permute",
        "View",
        "UnsafeView",
        "ReshapeAlias",
        "Unsqueeze",
        "Squeeze",
        "Slice",
        "Select",
        "Split",
        "SplitWithSizes",
        "Unbind",
        "Alias",
        "ToCopy",
        "Clone",
        "Narrow",
        "Diagonal",
        "Unfold",
        "AsStrided",
    }
)

#: torch.autograd.graph.Node, whose class declares neither `_saved_*` nor `_input_metadata`
Node = Any


@dataclass(frozen=True)
class Use:
    """One operation in which data meet a parameter, or what a chain made of parameters.

    node, place : the operation, and which of its inputs the parameter is
    key : path from the parameter, such as "T.0>Addmm.2"
    chain : the operations before, from the parameter on
    """

    node: Node
    place: int
    key: str
    chain: tuple[Node, ...]

    @property
    def operation(self) -> str:
        return operation(self.node)

    @property
    def operand(self) -> tuple[Node, int]:
        """Where in the graph the parameter, or what the chain made of it, comes in."""
        return self.node.next_functions[self.place]


@dataclass
class Graph:
    """What uses what: consumers[node] = [(consumer, place), ...], oldest first."""

    leaves: dict[int, Node] = field(default_factory=dict)
    consumers: dict[Node, list[tuple[Node, int]]] = field(default_factory=dict)

    @classmethod
    def of(cls, *results: torch.Tensor) -> Graph:
        graph = cls()
        waiting = [r.grad_fn for r in results if r.grad_fn is not None]
        seen = set(waiting)
        while waiting:
            node = waiting.pop()
            for place, (source, _) in enumerate(node.next_functions):
                if source is None:
                    continue
                graph.consumers.setdefault(source, []).append((node, place))
                if source in seen:
                    continue
                seen.add(source)
                variable = getattr(source, "variable", None)
                if variable is not None:
                    graph.leaves[id(variable)] = source
                else:
                    waiting.append(source)
        for found in graph.consumers.values():
            if len(found) > 1:
                found.sort(key=lambda use: (use[0]._sequence_nr(), use[1]))
        return graph

    def operations(self) -> set[str]:
        """Names of all operations in the graph."""
        return {operation(node) for uses in self.consumers.values() for node, _ in uses}

    def uses(self, parameter: nn.Parameter, chain: dict[str, bool], known) -> list[Use] | None:
        """Uses of a parameter; None where it meets an operation that nothing is known of.

        Parameters
        ----------
        chain : key -> whether the operation belongs to the chain, as far as it is known
        known : names of operations there are rules for
        """
        found: list[Use] = []
        leaf = self.leaves.get(id(parameter))
        waiting: list[tuple] = [] if leaf is None else [(leaf, "", ())]
        while waiting:
            node, path, before = waiting.pop()
            for consumer, place in self.consumers.get(node, ()):
                key = _extended(path, consumer, place)
                name = operation(consumer)
                goes_on = chain.get(key)
                if goes_on is None:
                    goes_on = name in VIEWS and name not in known
                    if not goes_on and name not in known:
                        return None
                if goes_on:
                    waiting.append((consumer, key, (*before, consumer)))
                elif name not in known:
                    return None
                else:
                    found.append(Use(consumer, place, key, before))
        found.sort(key=lambda use: use.node._sequence_nr())
        return found


def compare(
    large: Graph, small: Graph, parameter: nn.Parameter
) -> tuple[dict[str, bool], dict[str, int | None]] | None:
    """Where data meet a parameter, from graphs of two batch sizes.

    Returns
    -------
    chain : key -> whether the result is the same size in both, so that no data are in it
    axes : key of each use -> the only axis of its result that depends on the number of examples;
        None where there are several
    or None where the two graphs differ: what is done depends on the data
    """
    chain: dict[str, bool] = {}
    axes: dict[str, int | None] = {}
    a, b = large.leaves.get(id(parameter)), small.leaves.get(id(parameter))
    if a is None or b is None:
        return None if (a is None) != (b is None) else (chain, axes)
    waiting = [(a, b, "")]
    while waiting:
        a, b, path = waiting.pop()
        left, right = large.consumers.get(a, []), small.consumers.get(b, [])
        if len(left) != len(right):
            return None
        for (x, place), (y, other) in zip(left, right, strict=True):
            if operation(x) != operation(y) or place != other:
                return None
            key = _extended(path, x, place)
            first, second = result_shape(x), result_shape(y)
            same = first == second
            if chain.setdefault(key, same) != same:
                return None
            if same:
                waiting.append((x, y, key))
                continue
            differ = [i for i, (s, t) in enumerate(zip(first, second)) if s != t]
            axis = differ[0] if len(differ) == 1 and len(first) == len(second) else None
            if axes.setdefault(key, axis) != axis:
                axes[key] = None
    return chain, axes


def result_shape(node: Node) -> tuple:
    """Shapes of what an operation returned; those of several results one after another."""
    shapes = [tuple(each.shape) for each in node._input_metadata]
    return shapes[0] if len(shapes) == 1 or operation(node).startswith("Native") else tuple(shapes)


def operation(node: Node) -> str:
    """The name of an operation: "Addmm", "Convolution"."""
    return _bare(node.name())


@cache
def _bare(name: str) -> str:
    return re.sub(r"Backward\d*$", "", name)


def _extended(path: str, node: Node, place: int) -> str:
    step = f"{operation(node)}.{place}"
    return f"{path}>{step}" if path else step
