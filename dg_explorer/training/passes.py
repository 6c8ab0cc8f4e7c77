"""Passes through the model while it trains: what went in, what came out, and the slope there."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch._C._functorch as functorch
from torch.func import functional_call

from ..checkpoints.random_state import restore_rng, rng_state
from ..tasks.answers import logits_of

# Passes without a backward pass (an evaluation that kept its gradients on) may come between.
MOST = 64


class CannotRepeat(Exception):
    """A pass cannot be taken again as it was; says why."""


@dataclass
class Pass:
    """One pass of a batch through the model while it trains.

    Attributes
    ----------
    arguments, keywords : what the model was called with
    answers : what it returned, without its graph
    slope : derivative of the trained loss by the answers, once a backward pass has been
    """

    arguments: tuple
    keywords: dict
    answers: torch.Tensor
    rng: dict | None
    autocast: tuple
    slope: torch.Tensor | None = None

    def add_slope(self, slope: torch.Tensor) -> None:
        """Take what a backward pass brings; several add up, as gradients do."""
        self.slope = slope.detach() if self.slope is None else self.slope + slope.detach()


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
        taken, self.passes = [p for p in self.passes if p.slope is not None], []
        return taken

    def _before(self, module, arguments) -> None:
        if not torch.compiler.is_compiling() and torch.is_grad_enabled():
            self._rng = rng_state()

    def _after(self, module, arguments, keywords, returned) -> None:
        if torch.compiler.is_compiling() or not torch.is_grad_enabled():
            return
        answers = answers_in(returned)
        if answers is None or not answers.requires_grad or _transformed(answers):
            return
        if not self._repeatable:  # nor held in memory until the step
            arguments, keywords = (), {}
        seen = Pass(arguments, keywords, answers.detach(), self._rng, _autocast(answers))
        answers.register_hook(seen.add_slope)
        self.passes = [*self.passes[-MOST:], seen]


class RandomWatch:
    """Keeps where torch's generator stood at each pass of a training, for models with dropout.

    A state has 5 kB, and most passes go on where the one before ended: only the first pass since
    the last call of `take`, and those before which something else drew, are kept.

    Parameters
    ----------
    model : module
    optimizer : torch optimizer
        Whose steps end a group of passes.
    """

    def __init__(self, model, optimizer):
        #: whether passes are the training's; those that look at it again are not
        self.awake = True
        self._last: torch.Tensor | None = None
        self._here: list[str] = []
        self._steps: list[list[str]] = []
        self._handles = [
            model.register_forward_pre_hook(self._before),
            model.register_forward_hook(self._after),
            optimizer.register_step_post_hook(self._after_step),
        ]

    def take(self, n: int) -> list[list[str]]:
        """For each of the last n steps, a state for each pass, or "" where it goes on."""
        steps, self._steps, self._last = self._steps[-n:], [], None
        return steps

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()

    def _before(self, module, arguments) -> None:
        if self.awake and torch.is_grad_enabled():
            now = torch.get_rng_state()
            same = self._last is not None and torch.equal(now, self._last)
            self._here.append("" if same else b64encode(now.numpy().tobytes()).decode())

    def _after(self, module, arguments, returned) -> None:
        if self.awake and torch.is_grad_enabled():
            self._last = torch.get_rng_state()

    def _after_step(self, *_) -> None:
        self._steps.append(self._here)
        self._here = []


class Draws:
    """Where torch's generator stands at each pass of a recorded training.

    Parameters
    ----------
    steps : list of list of str
        As `RandomWatch.take` gives them.
    """

    def __init__(self, steps: Sequence[Sequence[str]]):
        self._known: dict[tuple[int, int], torch.Tensor] = {}
        for step, passes in enumerate(steps):
            for k, state in enumerate(passes):
                if state:
                    self._known[step, k] = torch.frombuffer(
                        bytearray(b64decode(state)), dtype=torch.uint8
                    )

    @contextmanager
    def at(self, step: int, k: int, following: tuple[int, int] | None = None):
        """Draw as the k-th pass of a step did; `following` is the pass that goes on from there.

        Raises
        ------
        CannotRepeat
            Earlier steps have to be taken first.
        """
        if (step, k) not in self._known:
            raise CannotRepeat(f"the generator's state at step {step} follows from earlier steps")
        before = torch.get_rng_state()
        torch.set_rng_state(self._known[step, k])
        try:
            yield
            if following is not None:
                self._known.setdefault(following, torch.get_rng_state())
        finally:
            torch.set_rng_state(before)


def answers_in(returned) -> torch.Tensor | None:
    """The answers in what a model returns: itself, its `logits`, or its first tensor."""
    if isinstance(returned, Mapping):
        returned = returned.get("logits")
    else:
        returned = getattr(returned, "logits", returned)
    if isinstance(returned, (tuple, list)):
        returned = next((part for part in returned if torch.is_tensor(part)), None)
    return returned if torch.is_tensor(returned) else None


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
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        with _as_it_was(seen):
            returned = functional_call(model, buffers, seen.arguments, seen.keywords)
        answers = answers_in(returned)
        if answers is None or seen.slope is None:
            raise CannotRepeat("the model answers without a tensor when the pass is repeated")
        if not torch.allclose(answers.detach(), seen.answers, rtol=1e-4, atol=1e-5, equal_nan=True):
            raise CannotRepeat("the model answers otherwise when the pass is repeated")
        found = torch.autograd.grad(answers, parameters, grad_outputs=seen.slope, allow_unused=True)
        total = [t if g is None else t + g for t, g in zip(total, found, strict=True)]
    return total


@contextmanager
def _as_it_was(seen: Pass):
    """The random numbers and the precision of a pass, and afterwards those of now."""
    now = rng_state()
    device, enabled, dtype = seen.autocast
    try:
        if seen.rng is not None:
            restore_rng(seen.rng)
        with torch.enable_grad(), torch.autocast(device, dtype=dtype, enabled=enabled):
            yield
    finally:
        restore_rng(now)


def _autocast(tensor: torch.Tensor) -> tuple:
    device = tensor.device.type
    return device, torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)


def _transformed(tensor: torch.Tensor) -> bool:
    """Whether the tensor belongs to a transform of `torch.func`, and ends with it."""
    return functorch.is_functorch_wrapped_tensor(tensor)
