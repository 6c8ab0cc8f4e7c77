"""Passes through the model while it trains: what went in, what came out, and the slope there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch._C._functorch as functorch
from torch.func import functional_call

from ..checkpoints.random_state import restore_rng, rng_state
from ..tasks.answers import logits_of
from .precision import CannotRepeat, autocast_now, under

# Passes without a backward pass (an evaluation that kept its gradients on) may come between.
MOST = 64


@dataclass
class Pass:
    """One pass of a batch through the model while it trains.

    Attributes
    ----------
    arguments, keywords : what the model was called with
    answers : what it returned, without its graph
    slope : derivative of the trained loss by the answers, once a backward pass has been
    others : what else the model returned that has a gradient, by its place there
    slopes : derivatives of the trained loss by those
    within : derivative of the trained loss by the answers as they were before a cast at the end:
        a loss that the model itself takes knows nothing of the cast that a trainer adds
    in_head : the head took the loss (TRL): `answers` are the log-probabilities of the labels
    """

    arguments: tuple
    keywords: dict
    answers: torch.Tensor
    rng: dict | None
    autocast: tuple
    slope: torch.Tensor | None = None
    others: dict = field(default_factory=dict)
    slopes: dict = field(default_factory=dict)
    within: torch.Tensor | None = None
    in_head: bool = False

    def add_slope(self, slope: torch.Tensor) -> None:
        """Take what a backward pass brings; several add up, as gradients do."""
        self.slope = slope.detach() if self.slope is None else self.slope + slope.detach()

    def watch_within(self, answers: torch.Tensor) -> None:
        """Look at what the answers were cast from."""
        node = answers.grad_fn
        if node is None or node.name() != "ToCopyBackward0":
            return
        inner, place = node.next_functions[0]

        def take(slopes) -> None:
            slope = slopes[place]
            if slope is not None:
                self.within = (
                    slope.detach() if self.within is None else self.within + slope.detach()
                )

        if inner is not None:
            inner.register_prehook(take)

    def watch_others(self, returned, answers: torch.Tensor) -> None:
        """Look at what else the model returned: a second head, a hidden layer."""

        def take(place, slope) -> None:
            before = self.slopes.get(place)
            self.slopes[place] = slope.detach() if before is None else before + slope.detach()

        for place, part in _entries(returned):
            if part is not answers and part.requires_grad and part.shape[:1] == answers.shape[:1]:
                self.others[place] = part.detach()
                part.register_hook(partial(take, place))


class PassWatch:
    """Keeps the passes through a model between `start` and `stop`.

    Hooks are on the model for so long only; they change nothing that passes by.
    """

    def __init__(self, model):
        self.model = model
        self.passes: list[Pass] = []
        self._handles: list = []
        self._rng: dict | None = None
        self._repeatable = True

    def start(self, repeatable: bool = True) -> None:
        """Keep the passes from here on; `repeatable` ones with what `gradients_of` needs."""
        if self._handles and repeatable == self._repeatable:
            return
        self.stop()
        self._repeatable, self._rng = repeatable, None
        self._handles = [self.model.register_forward_hook(self._after, with_kwargs=True)]
        if repeatable:
            self._handles.append(self.model.register_forward_pre_hook(self._before))

    def stop(self) -> None:
        """Keep no more passes."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def take(self) -> list[Pass]:
        """The passes that had a backward pass since the last call."""
        for seen in self.passes:
            seen.slope = seen.within if seen.slope is None else seen.slope
        taken, self.passes = [p for p in self.passes if p.slope is not None], []
        return taken

    def _before(self, module, arguments) -> None:
        within = functorch.peek_interpreter_stack() is not None
        if not (within or torch.compiler.is_compiling()) and torch.is_grad_enabled():
            self._rng = rng_state()

    def _after(self, module, arguments, keywords, returned) -> None:
        if torch.compiler.is_compiling() or not torch.is_grad_enabled():
            return
        answers, in_head = answers_in(returned), False
        if answers is None:
            answers = log_probabilities_in(returned)
            in_head = answers is not None
        if answers is None or not answers.requires_grad or _transformed(answers):
            return
        if not self._repeatable:  # nor held in memory until the step
            arguments, keywords = (), {}
        seen = Pass(arguments, keywords, answers.detach(), self._rng, _autocast(answers))
        seen.in_head = in_head
        answers.register_hook(seen.add_slope)
        seen.watch_within(answers)
        if self._repeatable:
            seen.watch_others(returned, answers)
        self.passes = [*self.passes[-MOST:], seen]


def answers_in(returned) -> torch.Tensor | None:
    """The answers in what a model returns: itself, its `logits`, or its first tensor."""
    if isinstance(returned, Mapping):
        returned = returned.get("logits")
    else:
        returned = getattr(returned, "logits", returned)
    if isinstance(returned, (tuple, list)):
        returned = next((part for part in returned if torch.is_tensor(part)), None)
    return returned if torch.is_tensor(returned) else None


def log_probabilities_in(returned) -> torch.Tensor | None:
    """Of the labels, (example, token), where the model's head takes the loss itself (TRL's)."""
    there = isinstance(returned, Mapping) and {"log_probs", "label_mask"} <= set(returned)
    return returned["log_probs"] if there else None


def _entries(returned) -> list[tuple]:
    """The tensors of numbers for each example in what a model returns, by key or place."""
    if isinstance(returned, Mapping):
        parts = list(returned.items())
    elif isinstance(returned, (tuple, list)):
        parts = list(enumerate(returned))
    else:
        parts = list(getattr(returned, "__dict__", {}).items())
    return [(place, part) for place, part in parts if torch.is_tensor(part) and part.ndim]


def not_the_models(answers: torch.Tensor, passes: list[Pass], model) -> tuple[str, Any] | None:
    """How answers differ from those that the model gives by itself, where something shows it.

    Returns
    -------
    ("entry", place)
        They are another entry of what the model returns.
    ("beyond", None)
        They were made with parameters that the model does not hold.
    ("changed", None)
        Something was done to them after the model.
    None
        They are the model's, or nothing is known.
    """
    passes = [seen for seen in passes if seen.answers.shape[:1] == answers.shape[:1]]
    if not passes or any(_same(seen.answers, answers) for seen in passes):
        return None
    for seen in passes:
        for place, other in seen.others.items():
            if _same(other, answers):
                return "entry", place
    if answers.grad_fn is None:  # of another pass, without gradients: nothing is known of it
        return None
    own = {id(parameter) for parameter in model.parameters()}
    beyond = any(id(leaf) not in own for leaf in _parameters_behind(answers))
    return ("beyond" if beyond else "changed"), None


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.numel() != other.numel():
        return one.ndim == 3 and _same(one[:, -1], other)
    one, other = (x.detach().flatten().to("cpu", torch.float64) for x in (one, other))
    return torch.allclose(one, other, rtol=1e-3, atol=1e-6, equal_nan=True)


def _parameters_behind(answers: torch.Tensor) -> Iterator[torch.nn.Parameter]:
    """The parameters that a tensor was made with, as its graph says."""
    waiting, known = [answers.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in known:
            continue
        known.add(node)
        leaf = getattr(node, "variable", None)
        if isinstance(leaf, torch.nn.Parameter):
            yield leaf
        waiting += [following for following, _ in node.next_functions]


def also_read(model, passes: list[Pass]) -> list:
    """Which entries of what a model returns the trained loss reads beside the answers.

    A hidden layer has a slope through the answers, too: only what is beyond that counts.

    Raises
    ------
    CannotRepeat
        As `gradients_of`.
    """
    found = []
    for seen in (seen for seen in passes if seen.slopes):
        answers, returned = _again(model, seen)
        parts = [(place, part) for place, part in _entries(returned) if place in seen.slopes]
        # what was made last first: what was made before it may have a slope through it
        parts.sort(key=lambda entry: -entry[1].grad_fn._sequence_nr() if entry[1].grad_fn else 0)
        outputs, slopes = [answers], [seen.slope]
        for place, part in parts:
            slope = seen.slopes[place]
            (through,) = torch.autograd.grad(
                outputs, part, slopes, allow_unused=True, retain_graph=True
            )
            rest = slope if through is None else slope - through
            if float(rest.norm()) > 1e-3 * float(slope.norm()):
                found.append(place)
                outputs, slopes = [*outputs, part], [*slopes, rest]
    return list(dict.fromkeys(found))


def answers_of(returned) -> torch.Tensor:
    """The answers in what a model returns; `DataError` where it is not plain which they are."""
    found = answers_in(returned)
    return logits_of(returned) if found is None else found


def gradients_of(model, passes: list[Pass], parameters: list) -> list[torch.Tensor]:
    """Derivative by the parameters of the loss at the answers of the passes, taken again.

    Buffers, random generators and the parameters' own `.grad` stay as they are.

    Raises
    ------
    CannotRepeat
        The model answers otherwise when it is asked again: its random numbers are not to be
        had, or its weights have changed meanwhile.
    """
    total = [torch.zeros_like(p) for p in parameters]
    for seen in passes:
        answers, _ = _again(model, seen)
        slope = None if seen.slope is None else seen.slope.to(answers.dtype)
        found = torch.autograd.grad(answers, parameters, grad_outputs=slope, allow_unused=True)
        total = [t if g is None else t + g for t, g in zip(total, found, strict=True)]
    return total


def _again(model, seen: Pass) -> tuple[torch.Tensor, Any]:
    """The answers of a pass that is taken again, and all that the model returns."""
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with _as_it_was(seen):
        returned = functional_call(model, buffers, seen.arguments, seen.keywords)
    answers = log_probabilities_in(returned) if seen.in_head else answers_in(returned)
    if answers is None or seen.slope is None:
        raise CannotRepeat("the model answers without a tensor when the pass is repeated")
    if not torch.allclose(answers.detach(), seen.answers, rtol=1e-4, atol=1e-5, equal_nan=True):
        raise CannotRepeat("the model answers otherwise when the pass is repeated")
    return answers, returned


@contextmanager
def _as_it_was(seen: Pass):
    """The random numbers and the precision of a pass, and afterwards those of now."""
    now = rng_state()
    device, said = seen.autocast
    try:
        if seen.rng is not None:
            restore_rng(seen.rng)
        with torch.enable_grad(), under(device, said):
            yield
    finally:
        restore_rng(now)


def _autocast(tensor: torch.Tensor) -> tuple:
    device = tensor.device.type
    return device, autocast_now(device)


def _transformed(tensor: torch.Tensor) -> bool:
    """Whether the tensor belongs to a transform of `torch.func`, and ends with it."""
    return functorch.is_functorch_wrapped_tensor(tensor)
