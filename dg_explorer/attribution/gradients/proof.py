"""The proof of a plan: compared with plain autograd before anything is attributed.

On batches of three sizes, with examples from all over the data, every parameter's
gradient of every example must be that of the example alone. Silence is not an option: on what it
gets wrong, an unchecked kernel is off by up to a third and looks fine.
"""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import torch
from torch import nn

from ...data.batch import calling
from ...errors import DataError, DGExplorerError, NonFiniteError, SettingError
from ...memory import memory_advice, ran_out
from ...tasks import check_independent
from .examples import LARGE, length, probe, signature, some
from .explicit import gradients_of, one_by_one, wide
from .graph import Graph, compare
from .layout import Layout, busy_rows, counted, find_layout, owners_of
from .plan import Plan
from .reading import FAILURES, Reading, Site, UncoveredError, check_finite, fusable
from .rules import RULES, Saved
from .watching import select_parameters, undisturbed

#: relative error allowed of a rule that is right: rounding differs with the size of a batch
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.1}


#: examples of a batch that is split to see whether they know each other
COMPANY = 32


class UnsupportedModelError(SettingError):
    """Per-example gradients of this model cannot be had correctly."""


class SlowGradientsWarning(UserWarning):
    """There is no rule for some parameters, so their gradients take longer."""


@memory_advice("Lower batch_size (or serve smaller batches), or name fewer layers with layers=")
def prove(model: nn.Module, task, batches, *, layers=None, ids=None) -> Plan:
    """Decide how each parameter's gradients are taken, and check it against plain autograd.

    Parameters
    ----------
    batches : list of batches
        Their examples are drawn from; best a few batches from all over the data.
    layers : names or patterns of modules or parameters; by default all trainable parameters
    ids : of the examples of each batch, for messages

    Raises
    ------
    CoupledBatchError
        Examples of a batch see each other.
    UnsupportedModelError
        No way gives a parameter's gradient correctly.
    NonFiniteError
        An output is NaN or infinite (names the examples), or a gradient (names the parameter).
    """
    names = select_parameters(model, layers)
    parameters = dict(model.named_parameters())
    sizes = {n: parameters[n].numel() * (1 + parameters[n].is_complex()) for n in names}
    plan = Plan(task, tuple(names), sizes)
    found = probe(batches, ids)
    probes = [batch for batch, _ in found]
    # in the graph: a task that is inferred looks for a softmax at the end
    with undisturbed(model, names), torch.enable_grad():
        with calling(probes[0]):
            prediction = task.predict(model, probes[0])
        task.check(prediction, probes[0])
    try:
        with undisturbed(model):
            check_independent(model, task, probes[0], some)
        _add(plan, model, probes)
    except NonFiniteError:
        _check_answers(model, task, found, ids is not None)  # which examples, if it is some
        raise
    plan.company = LARGE
    if plan.raw:
        _say_fallback(plan)
    return plan


def check_company(plan: Plan, model: nn.Module, batch) -> None:
    """Split the first larger batch, too: what a loss makes of pairs, few examples may not show.

    Raises
    ------
    CoupledBatchError
    """
    n = min(length(batch), COMPANY)
    if plan.company >= COMPANY or n <= max(LARGE, plan.company):
        return
    plan.company = n
    with undisturbed(model):
        check_independent(model, plan.task, some(batch, list(range(n))), some)


def _check_answers(model, task, found, known: bool) -> None:
    values, names = [], []
    with undisturbed(model), torch.no_grad():
        for batch, ids in found:
            prediction = task.predict(model, batch)
            task.check(prediction, batch)
            values.append(task.output(prediction, batch))
            names.append(ids)
    check_finite(torch.cat(values), "output", np.concatenate(names), known)


def extend(plan: Plan, model: nn.Module, batch, names) -> None:
    """Learn how some parameters are used in a batch that does what none did before."""
    before, known = set(plan.raw), set(plan.layouts)
    _add(plan, model, _reaching(plan, model, batch, names))
    # new uses appear where the data decide: the order of their rows is found in each batch
    for place in set(plan.layouts) - known:
        plan.layouts[place] = Layout(plan.layouts[place].axis, "routed")
    plan.watchful = True
    if set(plan.raw) - before:
        _say_fallback(plan)


def _reaching(plan: Plan, model, batch, names):
    """Three batches of examples that use the parameters named, and some others."""
    n = length(batch)
    parameters = dict(model.named_parameters())
    with undisturbed(model, names), torch.enable_grad():
        values = plan.task.output(plan.task.predict(model, batch), batch)
        norms = []
        for value in values:
            found = gradients_of(value, list(names), parameters, True)
            norms.append(sum(float(g.double().square().sum()) for g in found.values()))
            if sum(size > 0 for size in norms) == LARGE:
                break
    chosen = [i for i, size in enumerate(norms) if size > 0] or [0]
    others = [i for i in range(n) if i not in chosen] or chosen
    large = [*chosen, *others[:2]]
    return [some(batch, large), some(batch, large[:-1]), some(batch, large[:1])]


def _add(plan: Plan, model, probes) -> None:
    """Learn from two batches, and take raw whatever then differs from plain autograd."""
    unreadable = _read(plan, model, probes)
    if unreadable:
        _assume_routed(plan, unreadable)
        _take_raw(plan, _read(plan, model, probes))
    allowed = _allowed(model)
    truth = _Truth(model, plan, probes)
    errors = _errors(plan, model, probes, truth)
    for attempt in range(2):
        if errors is not None and max(errors.values(), default=0) <= allowed:
            break
        bad = plan.covered if errors is None else [n for n, e in errors.items() if e > allowed]
        bad = [n for n in bad if n not in plan.raw]
        if not bad:
            break
        if attempt == 0:
            _assume_routed(plan, bad)
            _take_raw(plan, _read(plan, model, probes))
        else:
            _take_raw(plan, bad)
        errors = _errors(plan, model, probes, truth)
    if (errors is None or max(errors.values(), default=0) > allowed) and plan.raw:
        plan.looped = True
        errors = _errors(plan, model, probes, truth, complain=True)
    errors = errors or {}
    worst = max(errors, key=errors.__getitem__)
    if errors[worst] > allowed:
        raise UnsupportedModelError(
            f"The gradient of {worst!r} is off by {errors[worst]:.1e} against plain autograd, one "
            f"example at a time. Leave the layer out with layers=."
        )
    plan.watchful |= bool(plan.routed - set(plan.raw))
    plan.errors = {n: max(e, plan.errors.get(n, 0.0)) for n, e in errors.items()}


def _assume_routed(plan: Plan, names) -> None:
    """Take the data to decide what is done with these: sizes of results then tell nothing."""
    for name in names:
        plan.chain[name] = {}
        plan.routed.add(name)
    plan.layouts = {place: each for place, each in plan.layouts.items() if place[0] not in names}


def _take_raw(plan: Plan, names) -> None:
    raw = set(plan.raw) | set(names)
    plan.raw = tuple(n for n in plan.parameters if n in raw)
    plan.fused = {w: b for w, b in plan.fused.items() if not {w, b} & raw}


# ------------------------------------------------------------------- reading two graphs


def _read(plan: Plan, model, probes) -> list[str]:
    """Where data meet each parameter, and where examples are there; names that are not seen."""
    parameters = dict(model.named_parameters())
    read = []
    with undisturbed(model, plan.covered), torch.enable_grad():
        for batch in probes:
            prediction = plan.task.predict(model, batch)
            plan.task.check(prediction, batch)
            read.append((length(batch), plan.task.output(prediction, batch)))
        graphs = [Graph.of(values) for _, values in read]
        unreadable, axes = [], {}
        for name in plan.covered:
            if name in plan.routed:
                continue
            found = compare(graphs[0], graphs[1], parameters[name])
            if found is None:
                plan.routed.add(name)
            else:
                chain, where = found
                plan.chain.setdefault(name, {}).update(chain)
                axes.update({(name, key): axis for key, axis in where.items()})
        seen: dict[tuple[str, str], list] = {}
        for (n, values), graph in zip(read, graphs, strict=True):
            sites = _sites(plan, graph, parameters, unreadable)
            _owners(sites, values, n, axes, seen, unreadable)
            plan.fused.update(fusable(sites, parameters))
    shapes = {length(batch): signature(batch) for batch in probes}
    for (name, key), found in seen.items():
        axis = axes.get((name, key), 0)
        known = found and (name, key) in axes
        layout = find_layout(axis, found) if known else Layout(axis or 0, "routed")
        # what is done to a single example only need not be in order
        if layout.order == "routed" and any(n > 1 for n, *_ in found):
            plan.routed.add(name)
        for n, owners, _ in found:
            if layout.order != "routed":
                plan.seen[shapes[n], name, key] = len(owners) // n
        if plan.layouts.setdefault((name, key), layout) != layout:
            plan.layouts[name, key] = Layout(axis or 0, "routed")
    return unreadable


def _sites(plan, graph, parameters, unreadable) -> list[Site]:
    sites: dict[tuple, Site] = {}
    for name in plan.covered:
        uses = graph.uses(parameters[name], plan.chain.get(name, {}), RULES)
        if uses is None:
            unreadable.append(name)
            continue
        for use in uses:
            site = sites.setdefault((use.node, use.place), Site(use, [], Saved(use)))
            site.keys.append((name, use.key))
    return list(sites.values())


def _owners(sites, values, n, axes, seen, unreadable) -> None:
    """Which example each row of each use belongs to, appended to `seen`."""
    nodes = list(dict.fromkeys(site.use.node for site in sites))
    if not nodes:
        return
    edges = [torch.autograd.graph.GradientEdge(node, 0) for node in nodes]

    def backward(total):
        found = torch.autograd.grad(total, edges, retain_graph=True, allow_unused=True)
        return dict(zip(nodes, found, strict=True))

    plain = backward(values.sum())
    digits = counted(n) if n > 1 else []
    others = [backward((values * times.to(values)).sum()) for times in digits]

    @cache  # a layer's weight and bias meet the same result
    def examples_of(node, axis: int):
        gradient = plain[node]
        found = owners_of(gradient, [other[node] for other in others], axis)
        return None if found is None else (n, found, busy_rows(gradient, axis))

    for site in sites:
        gradient = plain[site.use.node]
        for name, key in site.keys:
            axis = axes.get((name, key), 0)
            found = seen.setdefault((name, key), [])
            if axis is None:
                unreadable.append(name)
            elif gradient is not None:
                if axis >= gradient.ndim:
                    unreadable.append(name)
                    continue
                owners = examples_of(site.use.node, axis)
                if owners is None:
                    unreadable.append(name)
                else:
                    found.append(owners)


# ------------------------------------------------------------------- against plain autograd


class _Truth:
    """Gradients of each probed example alone, and together with the others where that is asked.

    At a kink (a ReLU at zero) rounding decides, and rounding depends on the size of the batch:
    what agrees with either way of asking is right.
    """

    def __init__(self, model, plan, probes):
        self.model, self.names, self.task = model, list(plan.parameters), plan.task
        # by probe, then by name, shape (example, *parameter)
        alone = [one_by_one(model, plan.task, batch, self.names) for batch in probes[:2]]
        self.alone = [_stacked([{n: g[0] for n, g in one.items()} for one in e]) for e in alone]
        # the last batch is an example of the first
        self.alone.append({name: found[:1] for name, found in self.alone[0].items()})
        self.probes, self._together = probes, None
        for name in self.names:
            for each in self.alone[:2]:
                # of float64, in which no sum of finite squares of float32 overflows
                if not np.isfinite(_norm(each[name])) and not each[name].isfinite().all():
                    raise NonFiniteError(
                        f"The gradient of {name!r} is not finite. Check the checkpoint and the "
                        f"inputs."
                    )

    @property
    def together(self):
        if self._together is None:
            self._together = [_stacked(self._of(batch)) for batch in self.probes]
        return self._together

    def _of(self, batch):
        parameters = dict(self.model.named_parameters())
        with undisturbed(self.model, self.names), torch.enable_grad():
            values = self.task.output(self.task.predict(self.model, batch), batch)
            return [gradients_of(value, self.names, parameters, True) for value in values]


def _stacked(each: list[dict]) -> dict[str, torch.Tensor]:
    return {name: torch.stack([one[name] for one in each]) for name in each[0]}


def _errors(plan, model, probes, truth, complain=False) -> dict[str, float] | None:
    """Relative error by parameter, by the nearer truth; None where the plan does not run."""
    try:
        read = Reading(model, plan)
        found = [read(batch, plan.task.output) for batch in probes]
    except UncoveredError as error:
        _take_raw(plan, error.names)
        return _errors(plan, model, probes, truth, complain)
    except FAILURES as error:
        if isinstance(error, (DataError, SettingError)) or ran_out(error):
            raise
        if complain:
            raise UnsupportedModelError(
                f"Per-example gradients of this model failed: {error}"
            ) from error
        return None
    except DGExplorerError:
        raise
    allowed = _allowed(model)
    errors = _against(plan, found, truth.alone, allowed)
    if max(errors.values(), default=0) > allowed:
        others = _against(plan, found, truth.together, allowed)
        errors = {name: min(error, others[name]) for name, error in errors.items()}
    return errors


def _against(plan, found, truth, allowed: float) -> dict[str, float]:
    off = dict.fromkeys(plan.parameters, 0.0)
    size = dict.fromkeys(plan.parameters, 0.0)
    precision = 1e-7
    for captured, examples in zip(found, truth, strict=True):
        given = {}
        for factor in captured.factors[0]:
            given |= factor.gradients()
        for name, right in examples.items():
            precision = max(precision, torch.finfo(right.dtype).eps)
            size[name] += _norm(right) ** 2
            if name in given:
                off[name] += _norm(given[name].reshape(right.shape) - wide(right)) ** 2
            else:
                off[name] = float("inf")
    whole = sum(size.values()) ** 0.5
    # a gradient that is all but zero is judged by the whole model's
    least = 100 * precision * whole / allowed + 1e-300
    return {n: off[n] ** 0.5 / (size[n] ** 0.5 + least) for n in plan.parameters}


def _norm(gradients: torch.Tensor) -> float:
    """Their length, summed in float64: squares of small gradients are nothing in float32."""
    return float(torch.linalg.vector_norm(gradients, dtype=torch.float64))


def _allowed(model) -> float:
    return TOLERANCE.get(next(iter(model.parameters())).dtype, 1e-3)


def _say_fallback(plan: Plan) -> None:
    way = "one example at a time" if plan.looped else "by vmap"
    warnings.warn(
        f"There is no rule for the gradients of {', '.join(plan.raw)}; they are taken {way}: as "
        f"exact, but slower. Leave them out with layers= if speed matters more.",
        SlowGradientsWarning,
        stacklevel=1,
    )
