"""One forward pass, one backward to where data meet parameters: gradients of every example.

The forward pass is the model's own. `torch.autograd.grad` then gives the gradients of the summed
outputs by the results of those operations, never by the parameters; with what autograd saved for
them, each rule gives the gradients of every example.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.autograd.graph import GradientEdge
from torch.utils._pytree import tree_map

from ...errors import DataError, NonFiniteError
from .chains import combined, pulled_back, swaps
from .convolution import Convolution
from .examples import length, signature
from .explicit import Outputs, as_real, by_vmap, one_by_one, wide
from .factors import Explicit, Factor, Lookup, Outer
from .graph import Graph, Use, operation, result_shape
from .joining import in_one_precision
from .layout import Layout, agrees, busy_rows, counted, owners_of
from .plan import Plan
from .rules import ENTRY_BY_ENTRY, RULES, Products, Saved, Split, TableRows
from .watching import undisturbed

FAILURES = (RuntimeError, ValueError, IndexError, TypeError, NotImplementedError)


class UncoveredError(Exception):
    """Parameters met data in a way that the plan does not know; never leaves this room."""

    def __init__(self, names):
        super().__init__(", ".join(names))
        self.names = tuple(names)


@dataclass
class Captured:
    """One batch: factors[row][layer] and what the task said about its examples."""

    factors: list[list[Factor]]
    output: torch.Tensor
    weight: torch.Tensor

    def __len__(self):
        return len(self.output)


@dataclass
class Site:
    """One use in one batch: the parameters behind it, what was saved, where its examples are.

    keys : (parameter, key) of every path that leads here
    """

    use: Use
    keys: list[tuple[str, str]]
    saved: Saved
    split: Any = None  # a Split, once the layout is known

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(name for name, _ in self.keys))

    @property
    def place(self) -> tuple[str, str]:
        """What the site is known by in a plan."""
        return self.keys[0]


@dataclass
class Reading:
    """A `Plan` at one model's weights, as far as the plan goes."""

    model: nn.Module
    plan: Plan

    def __call__(self, batch, outputs: Outputs, ids=None) -> Captured:
        """Gradients of `outputs` for every example of a batch.

        Raises
        ------
        UncoveredError
            The batch does something with a parameter that the plan does not know.
        """
        task, plan, n = self.plan.task, self.plan, length(batch)
        with undisturbed(self.model, plan.covered), torch.enable_grad():
            prediction = task.predict(self.model, batch)
            task.check(prediction, batch)
            output = weight = None
            if outputs != task.output:  # curvature, say: first of all the answers must be finite
                output, weight = self._answers(prediction, batch)
                check_finite(output, "output", ids, ids is not None)
            values = outputs(prediction, batch)
            rows = values[:, None] if values.ndim == 1 else values
            if rows.shape[0] != n or rows.ndim != 2:
                raise DataError(f"{n} examples gave outputs of shape {tuple(values.shape)}.")
            check_finite(rows, "output", ids, ids is not None)
            factors = self._factors(rows, n, signature(batch), ids)
        for found, more in zip(factors, self._raw(batch, outputs, rows.shape[1]), strict=True):
            found[:] = in_one_precision([*found, *more])
            found.sort(key=lambda f: plan.parameters.index(next(iter(f.sizes))))
        if output is None or weight is None:
            output, weight = self._answers(prediction, batch, values)
        return Captured(factors, output, weight)

    def _answers(self, prediction, batch, output=None) -> tuple[torch.Tensor, torch.Tensor]:
        """Output and weight of each example, float64."""
        task = self.plan.task
        prediction = tree_map(lambda x: x.detach() if torch.is_tensor(x) else x, prediction)
        with torch.no_grad():
            output = task.output(prediction, batch) if output is None else output
            weight = task.weight(prediction, batch)
        return output.detach().double(), weight.detach().double()

    # ---------------------------------------------------------------- read off the graph

    def _factors(self, rows: torch.Tensor, n: int, shapes, ids) -> list[list[Factor]]:
        sites = self._sites(Graph.of(rows)) if self.plan.covered and rows.requires_grad else []
        nodes = list(dict.fromkeys(site.use.node for site in sites))
        edges = [GradientEdge(node, 0) for node in nodes]
        routed = self._laid_out(sites, n, shapes)
        found, last = [], rows.shape[1] - 1
        for r in range(rows.shape[1]):
            total = rows[:, r]
            by_count = []
            if routed and edges and total.requires_grad:
                by_count = [
                    _backward((total * times.to(total)).sum(), nodes, edges, True)
                    for times in counted(n)
                ]
            d = _backward(total.sum(), nodes, edges, r < last) if edges else {}
            if by_count:
                self._find_owners(sites, d, by_count, n, shapes)
            layers = self._layers(sites, d, self.parameters, n, rows)
            for factor in layers:
                for part in ("gradient", "d", "a", "x"):
                    check_finite(getattr(factor, part, None), "gradient", ids, ids is not None)
            found.append(layers)
        return found

    @cached_property
    def parameters(self) -> dict[str, nn.Parameter]:
        """The model's, by name."""
        return dict(self.model.named_parameters())

    def _sites(self, graph: Graph) -> list[Site]:
        sites: dict[tuple, Site] = {}
        uncovered = []
        for name in self.plan.covered:
            uses = graph.uses(self.parameters[name], self.plan.chain.get(name, {}), RULES)
            if uses is None or any((name, use.key) not in self.plan.layouts for use in uses):
                uncovered.append(name)
                continue
            for use in uses:
                there = (use.node, use.place)
                sites.setdefault(there, Site(use, [], Saved(use))).keys.append((name, use.key))
        if uncovered:
            raise UncoveredError(uncovered)
        return list(sites.values())

    def _laid_out(self, sites: list[Site], n: int, shapes) -> bool:
        """Give each site its layout; return whether owners have to be found in this batch."""
        routed = False
        for site in sites:
            layout = self.plan.layouts[site.place]
            size = _size(site.use, layout.axis)
            if n == 1:
                site.split = Split(Layout(layout.axis), 1)
                continue
            known = None if self.plan.watchful else self.plan.seen.get((shapes, *site.place))
            fits = layout.order != "routed" and known is not None and size == known * n
            site.split = Split(layout, n) if fits else None
            routed |= site.split is None
        return routed

    def _find_owners(self, sites, d, by_count, n, shapes) -> None:
        """The example of each row where it is not known: by order if that agrees, else by row."""
        for site in sites:
            if site.split is not None and site.split.owners is None:
                continue
            layout, gradient = self.plan.layouts[site.place], d[site.use.node]
            if gradient is None:
                site.split = Split(layout, n, torch.full((_size(site.use, layout.axis),), -1))
                continue
            others = [found[site.use.node] for found in by_count]
            owners = owners_of(gradient, others, layout.axis)
            if owners is None:
                raise UncoveredError(site.names)
            # rows that are zero tell nothing: where the others agree, they too come in order
            if layout.order != "routed" and agrees(
                layout, n, owners, busy_rows(gradient, layout.axis)
            ):
                self.plan.seen[shapes, *site.place] = len(owners) // n
                site.split = Split(layout, n)
            else:
                site.split = Split(layout, n, owners)

    def _layers(self, sites, d, parameters, n: int, like) -> list[Factor]:
        fused = self._fused(sites)
        forms: dict[str, list] = defaultdict(list)
        for site in sites:
            if site.names[0] in fused.values():
                continue
            gradient = d[site.use.node]
            if gradient is None:
                continue
            for name, form in self._forms(site, gradient, parameters).items():
                forms[name].append(form)
        layers = []
        for name in self.plan.covered:
            if name in fused.values():
                continue
            shape = tuple(parameters[name].shape)
            if forms[name]:
                factor = combined(forms[name], name, shape)
                if name in fused and isinstance(factor, (Outer, Convolution)):
                    factor.bias = fused[name]
            else:
                factor = self._nothing(name, shape, fused.get(name), n, wide(like.detach()))
            layers.append(factor)
        return layers

    def _forms(self, site: Site, gradient, parameters) -> dict:
        use = site.use
        node, number = use.operand
        shape = tuple(node._input_metadata[number].shape)
        part = None
        if not gradient.is_complex() or use.operation in ENTRY_BY_ENTRY:
            part = RULES[use.operation][1](use, site.saved, wide(gradient), site.split, shape)
        if part is None:
            raise UncoveredError(site.names)
        if (
            torch.is_tensor(part)
            and part.is_complex()
            and not node._input_metadata[number].dtype.is_complex
        ):
            part = part.real
        own = {name: parameters[name] for name in site.names}
        found = pulled_back(_in_full(part), use, shape, own)
        return {k: wide(as_real(v)) if torch.is_tensor(v) else v for k, v in found.items()}

    def _fused(self, sites) -> dict[str, str]:
        """Weights and biases that go into one factor in this batch."""
        if not self.plan.fused:
            return {}
        nodes: dict[str, set] = defaultdict(set)
        for site in sites:
            for name in site.names:
                nodes[name].add(site.use.node)
        return {w: b for w, b in self.plan.fused.items() if nodes[w] == nodes[b]}

    def _nothing(self, name, shape, bias, n, like) -> Factor:
        """Exact zeros for a parameter that no example of this batch reached."""
        if len(shape) == 2 and self.plan.forms.get(name) == "Lookup":
            none = torch.zeros(n, 0, dtype=torch.int64, device=like.device)
            return Lookup(none, like.new_zeros(n, 0, shape[1]), name, shape[0])
        if len(shape) == 2:
            a, d = like.new_zeros(n, 0, shape[1]), like.new_zeros(n, 0, shape[0])
            return Outer(a, d, name, bias, shape)
        zeros = {name: like.new_zeros(n, *shape)}
        if bias:
            zeros[bias] = like.new_zeros(n, shape[0])
        return Explicit.of(zeros)

    # ---------------------------------------------------------------- the slow ways

    def _raw(self, batch, outputs, rows: int) -> list[list[Factor]]:
        plan = self.plan
        if not plan.raw:
            return [[] for _ in range(rows)]
        if not plan.looped:
            try:
                with undisturbed(self.model):
                    found = [
                        by_vmap(self.model, plan.task, batch, list(plan.raw), outputs, r)
                        for r in range(rows)
                    ]
                return [_explicit(each) for each in found]
            except FAILURES:
                plan.looped = True
        each = one_by_one(self.model, plan.task, batch, list(plan.raw), outputs)
        return [
            _explicit({name: torch.stack([g[name][r] for g in each]) for name in plan.raw})
            for r in range(rows)
        ]


def fusable(sites: list[Site], parameters) -> dict[str, str]:
    """Weight -> bias, where the same operations use both as they are: a layer's own two."""
    uses: dict[str, list[Use | None]] = defaultdict(list)
    for site in sites:
        for name in site.names:
            uses[name].append(site.use if len(site.names) == 1 else None)
    sure: dict[str, list[Use]] = {}
    by_nodes: dict[frozenset, list[str]] = defaultdict(list)
    for name, found in uses.items():
        own = [use for use in found if use is not None]
        layers = all(operation(use.node) in ("Addmm", "Convolution") for use in own)
        if len(own) == len(found) and layers:
            sure[name] = own
            by_nodes[frozenset(use.node for use in own)].append(name)
    pairs = {}
    for names in by_nodes.values():
        weights = [n for n in names if all(_is_weight(u, parameters[n]) for u in sure[n])]
        biases = [n for n in names if all(_is_bias(u, parameters[n]) for u in sure[n])]
        if len(weights) == 1 and len(biases) == 1:
            pairs[weights[0]] = biases[0]
    return pairs


def _is_weight(use: Use, parameter) -> bool:
    if use.operation == "Convolution":
        plain = not use.node._saved_transposed and use.node._saved_groups == 1
        return use.place == 1 and not use.chain and plain and parameter.ndim < 5
    return use.place == 2 and use.node._saved_alpha == 1 and swaps(use.chain) is True


def _is_bias(use: Use, parameter) -> bool:
    whole = parameter.ndim == 1 and not use.chain
    if use.operation == "Convolution":
        return whole and use.place == 2
    plain = use.node._saved_beta == 1 and len(parameter) == result_shape(use.node)[-1]
    return whole and use.place == 0 and plain


def _size(use: Use, axis: int) -> int:
    shape = result_shape(use.node)
    return shape[axis] if axis < len(shape) else 1


def _backward(total, nodes, edges, keep: bool) -> dict:
    if not total.requires_grad:
        return dict.fromkeys(nodes)
    found = torch.autograd.grad(total, edges, retain_graph=keep, allow_unused=True)
    return dict(zip(nodes, found, strict=True))


def _in_full(part):
    """Half precision is for storage only: inner products are of float32."""
    if isinstance(part, Products):
        return Products(wide(part.left.detach()), wide(part.right.detach()))
    if isinstance(part, TableRows):
        return TableRows(part.tokens, wide(part.d.detach()))
    if torch.is_tensor(part):
        return part.detach()
    part.x, part.d = wide(part.x.detach()), wide(part.d.detach())
    return part


def _explicit(found: dict[str, torch.Tensor]) -> list[Factor]:
    return [Explicit.of({name: wide(gradient)}) for name, gradient in found.items()]


def check_finite(x: torch.Tensor | None, what: str, names, known: bool) -> None:
    """Refuse NaN and infinity in numbers of examples, naming those that have them.

    Parameters
    ----------
    names : ids of the examples, or their rows in the batch; None for their order
    known : whether they are ids
    """
    if x is None or bool(torch.isfinite(x.detach().sum())):
        return
    broken = (~torch.isfinite(x.detach()).reshape(len(x), -1).all(1)).nonzero()[:, 0].cpu().numpy()
    if not len(broken):
        return
    if len(broken) == len(x):
        raise NonFiniteError(
            f"The {what} of every example is not finite (NaN or infinite). Check the checkpoint "
            f"and the inputs."
        )
    names = np.arange(len(x)) if names is None else np.asarray(names)
    told = list(dict.fromkeys(int(names[i]) for i in broken))
    shown = ", ".join(map(str, told[:5])) + (", ..." if len(told) > 5 else "")
    raise NonFiniteError(
        f"The {what} of some examples is not finite (NaN or infinite): {'id' if known else 'row'} "
        f"{shown}. Check these rows of the data, or leave them out."
    )
