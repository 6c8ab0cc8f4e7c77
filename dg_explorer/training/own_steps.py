"""`OwnSteps`: the recorded training, taken again by the model's own modules and torch's optimizer.

The same operations in the same order give the same bits, which a functional version of the model
does not: it rounds otherwise, and a long training makes much of it. So the states of a recorded
training come from here, and only what is linear about them is computed elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn

from ..arguments import Brief
from ..checkpoints.loading import load_into
from ..checkpoints.several import each_of
from .loss.as_taken import AsTaken, divided
from .loss.known_losses import cross_entropy, recorded_loss
from .passes import answers_of
from .precision import OFF, under
from .recorded_steps import RecordedSteps
from .several_inputs import cutting
from .step.by_hand import OptimizerSettings, State
from .step.generic import OptimizerStep

# Weights found by comparison differ by so much, relatively, where they are meant to be equal.
EVEN = 1e-5
# A trainer's loss of a pass and ours may differ by this, relatively: it is single precision.
ANSWERS = 1e-5
# What the rules of `OptimizerSettings` remember, by torch's name, in the order of their state.
_MEMORY = {"sgd": (), "momentum": ("momentum_buffer",), "adam": ("exp_avg", "exp_avg_sq")}
_MEMORY["adamw"] = _MEMORY["adam"]


# How a training in mixed precision may take its loss: under the autocast of the pass, or after it,
# of the answers as they come or made float32; in one, or as a mean of each example's. A last bit
# that differs in single precision becomes one in half. The record does not say; the proof tries.
LOSS_TAKEN = ("within", "after", "widened", "within, each", "after, each", "widened, each")


class OwnSteps(Brief):
    """A model and its optimizer at some step of their recorded training, able to take the next.

    Parameters
    ----------
    model : module
        Copied by the caller; it is moved from step to step.
    steps : RecordedSteps
    inputs, labels : Tensor, shape (train, ...)
    loss : callable ``(answers, labels) -> (example,)``
    rule : OptimizerSettings or OptimizerStep
        What is differentiated.
    optimizer : class or callable ``parameter groups -> optimizer``, optional
        For a recorded optimizer that is none of torch's; of several a list.
    whole : AsTaken, optional
        How a trainer takes the loss of a pass, to the bit.
    """

    def __init__(
        self,
        model: nn.Module,
        steps: RecordedSteps,
        inputs,
        labels,
        loss,
        rule: OptimizerSettings | OptimizerStep,
        optimizer=None,
        whole: AsTaken | None = None,
    ):
        self.model, self.steps = model, steps
        self.inputs, self.labels, self.loss, self.rule = inputs, labels, loss, rule
        self.kind = rule.kind
        self.optimizer = steps.optimizer_for(model, optimizer)
        self._each = each_of(self.optimizer)
        #: the trainer's own way to the loss, where that is known
        self.whole = whole
        self._agrees = False
        #: whether filters of gradients or weights keep something that no checkpoint holds
        self._generic = rule if isinstance(rule, OptimizerStep) else None
        self.remembers = self._generic is not None and self._generic.remembers
        self._remembered: dict = {}
        self._used = torch.zeros(0)
        self.at = 0
        #: in mixed precision, one of `LOSS_TAKEN`: what the loss was taken of, and where
        self.loss_taken = LOSS_TAKEN[0]
        #: steps at which a recorded state is taken instead of one's own, where bits differ
        self.anchors: dict[int, Callable[[], tuple[dict, dict | None]]] = {}
        trained = steps.trained
        self._named = {n: p for n, p in model.named_parameters() if n in trained}
        self._parameters = list(self._named.values())
        for name, p in model.named_parameters():
            p.requires_grad_(name in trained)
        self._given_back: State | None = None
        self._counter = torch.tensor(0.0)  # as the optimizer keeps its own

    def load(self, step: int, weights: dict, optimizer: dict | None) -> None:
        """Stand where a checkpoint left the training; without a state, as before the first step."""
        load_into(self.model, weights)
        self._forget()
        if optimizer is not None:
            self.optimizer.load_state_dict(self.steps.of_trained(optimizer))
        elif self._generic is not None:
            theta = _flat([p.detach() for p in self._parameters])
            self._write(step, self.rule.initial_state(theta))
        self.at, self._given_back = step, None

    def put(self, weights: dict) -> None:
        """Take over weights, and keep what the optimizer remembers."""
        load_into(self.model, weights)
        self._given_back = None

    def take(self) -> None:
        """Take the next recorded step."""
        with _threads(self.steps.threads), torch.enable_grad():
            self._backward()
            for group, rate in zip(self.optimizer.param_groups, self.steps.rates[self.at]):
                group["lr"] = float(rate)
            for one, steps in zip(self._each, self.steps.turn(self.at), strict=True):
                if steps and hasattr(one, "first_step"):  # a second gradient
                    sharpness_aware: Any = one.step
                    sharpness_aware(self._backward)
                elif steps:
                    one.step()
            self._change_weights()
        kept = next(iter(self._each[0].state.values()), {})
        self._counter = kept.get("step", self._counter)
        self.at += 1
        self._given_back = None

    def _backward(self) -> torch.Tensor:
        """Take the gradient of the step's loss, and change it as the training did."""
        self.optimizer.zero_grad()
        with torch.enable_grad():
            loss = torch.zeros(())
            for part in self.parts(self.at):  # added up in `.grad`, as in the training
                part.backward()
                loss = part.detach() + loss.to(part)
        if self._generic is not None:  # some optimizers write into the gradient
            self._used = self._gradient()
            if self._generic.change_gradient:
                named = self._named
                there = {n: p.grad for n, p in named.items() if p.grad is not None}
                with torch.no_grad():
                    theta = {n: p.detach() for n, p in named.items()}
                    changed = self._generic.change_gradient(there, theta, self._remembered)
                for name, gradient in changed.items():
                    named[name].grad = gradient
        return loss

    def _change_weights(self) -> None:
        if self._generic is not None and self._generic.change_theta:
            named = self._named
            with torch.no_grad():
                theta = {n: p.detach().clone() for n, p in named.items()}
                for name, value in self._generic.change_theta(theta, self._remembered).items():
                    named[name].copy_(value)

    def gradient_at(self, theta: torch.Tensor) -> torch.Tensor:
        """The gradient of the last step's loss at other weights, which are put back."""
        kept = [p.detach().clone() for p in self._parameters]
        with torch.no_grad():
            for p, part in zip(self._parameters, self._split(theta), strict=True):
                p.copy_(part)
        with _threads(self.steps.threads), torch.enable_grad():
            loss = torch.stack(list(self.parts(self.at - 1))).sum()
            there = [p for p in self._parameters if p.requires_grad]
            got = iter(torch.autograd.grad(loss, there, allow_unused=True, materialize_grads=True))
        with torch.no_grad():
            for p, values in zip(self._parameters, kept, strict=True):
                p.copy_(values)
        return _flat([next(got) if p.requires_grad else p * 0 for p in self._parameters])

    def _as_taken(
        self, step: int, k: int, batch: torch.Tensor, weights: np.ndarray, last: bool
    ) -> torch.Tensor | None:
        """The loss of a pass as the trainer took it; None where it is another one than ours."""
        if self.whole is None:
            return None
        labels = self.labels[batch]
        with self._drawing(step, k, last=last):
            returned = self.whole.returned(self.model, self.inputs[batch], labels)
        loss = self.whole.loss(self.model, returned, labels, weights)
        if not self._agrees:
            with torch.no_grad(), self._drawing(step, k, last=last):
                each = self.loss(answers_of(self.model(self.inputs[batch])), labels)
            ours = float((each.double().cpu() * torch.as_tensor(weights)).sum())
            theirs = float(loss.detach())
            if abs(ours - theirs) > ANSWERS * (abs(ours) + abs(theirs)):
                self.whole = None
                return None
            self._agrees = True
        return loss

    def parts(self, step: int) -> Iterator[torch.Tensor]:
        """The loss of each batch of a step at the weights as they are, which add up to its own."""
        places, n = self.steps.batches[step], len(self.steps.batches[step])
        weights = None if self.steps.weights is None else self.steps.weights[step]
        micro = np.zeros(n, int) if self.steps.micro is None else self.steps.micro[step]
        for k in range(int(micro.max(initial=0)) + 1):
            mine = micro == k
            batch = torch.as_tensor(places[mine])
            share = np.ones(len(batch)) if weights is None else weights[mine]
            last = k == micro.max(initial=0)
            said = self.precision(step, k)
            taken = None if said else self._as_taken(step, k, batch, share / n, last)
            if taken is not None:
                yield taken
                continue
            with self._drawing(step, k, last=last), self.under(said):
                answers = answers_of(self.model(self.inputs[batch]))
            where, _, each = self.loss_taken.partition(", ")
            with self.under(said if where == "within" else OFF):
                if said and where == "widened":
                    answers = answers.float()
                loss = self._loss(answers, batch, share, n, each=bool(said and each))
            yield loss

    def _loss(self, answers, batch, share: np.ndarray, n: int, *, each: bool) -> torch.Tensor:
        """What a batch adds to the loss of a step of n slots; `each`: as a mean of losses."""
        if np.ptp(share) < EVEN * abs(share).max():  # as the trainer took it, to the bit
            mean = self.loss(answers, self.labels[batch]).mean() if each else None
            mean = self._mean(answers, batch) if mean is None else mean
            return divided(mean, float(share.sum() / n))
        losses = self.loss(answers, self.labels[batch])
        share_of = torch.as_tensor(share, dtype=losses.dtype)
        return (losses * share_of.to(losses.device)).sum() / n

    def precision(self, step: int, k: int = 0) -> str:
        """The autocast that was in force at a pass; see `autocast_now`."""
        return OFF if self.steps.precisions is None else self.steps.precisions.at(step, k)

    def under(self, said: str):
        """The named autocast on the device of the model, whatever is in force around."""
        return under(self._parameters[0].device.type, said, alone=True)

    @contextmanager
    def _drawing(self, step: int, k: int, *, last: bool):
        """A pass as it was: its random numbers, where the model draws any, and its width."""
        draws = self.steps.draws
        following = (step + 1, 0) if last else (step, k + 1)
        with (
            cutting(self.model, self.steps.cut),
            nullcontext() if draws is None else draws.at(step, k, following),
        ):
            yield

    def _mean(self, answers, batch) -> torch.Tensor:
        if self.loss is cross_entropy:
            return nn.functional.cross_entropy(answers, self.labels[batch])
        return self.loss(answers, self.labels[batch]).mean()

    def follows_padding(self) -> bool:
        """Whether what the model answers depends on how wide a batch is padded, at the first step.

        Then batches that are as wide as their longest example train otherwise than batches of one
        width, and derivatives are taken of the latter.
        """
        batch, training = torch.as_tensor(self.steps.batches[0]), self.model.training
        self.model.eval()
        found = []
        with torch.no_grad():
            for cut in (True, False):
                with cutting(self.model, cut):
                    each = [self.model(self.inputs[batch[k : k + 1]]) for k in range(len(batch))]
                answers = [answers_of(returned) for returned in each]
                found.append(self.loss(torch.cat(answers), self.labels[batch]))
        self.model.train(training)
        return not torch.allclose(*found, rtol=1e-3, atol=1e-4)

    def recorded_losses(self, rows: np.ndarray) -> np.ndarray:
        """The loss that is recorded of some examples, at the weights as they are."""
        batch = torch.as_tensor(rows)
        said = self.precision(self.at)
        with _threads(self.steps.threads), torch.no_grad():
            with self.under(said):
                answers = answers_of(self.model(self.inputs[batch]))
            answers = answers.float() if said else answers
            return recorded_loss(answers, self.labels[batch]).double().cpu().numpy()

    def without_gradient(self) -> list[str]:
        """Names of the parameters that the last step left out, for they had no gradient."""
        return [n for n, p in self._named.items() if p.grad is None]

    def by_tensor(self, *vectors: torch.Tensor):
        """Name and part of each of some flat vectors, a parameter at a time."""
        return zip(self._named, *(self._split(vector) for vector in vectors), strict=True)

    def gradient(self) -> torch.Tensor:
        """The gradient of the last step's loss, flat; 0 where there was none."""
        return self._used if self.rule.generic else self._gradient()

    def _gradient(self) -> torch.Tensor:
        found = [torch.zeros_like(p) if p.grad is None else p.grad for p in self._parameters]
        return _flat([g.to_dense() if g.is_sparse else g for g in found])

    def state(self) -> State:
        """Parameters and what the optimizer remembers, each a vector."""
        if self._generic is not None:
            self._given_back = self._generic.read(
                self._each, self._parameters, self.at, self._remembered
            )
            return self._given_back
        theta = _flat([p.detach() for p in self._parameters])
        (optimizer,) = self._each  # several have no rule by hand
        kept = [optimizer.state.get(p, {}) for p in self._parameters]
        memory = []
        for name in _MEMORY[self.kind]:
            there = [memory_of.get(name) for memory_of in kept]
            memory.append(
                _flat(
                    [
                        torch.zeros_like(p) if m is None else m
                        for m, p in zip(there, self._parameters, strict=True)
                    ]
                )
            )
        self._given_back = (theta, *memory)
        return self._given_back

    def go_to(self, step: int, state: State) -> None:
        """Stand at a state that `state` gave at this step."""
        if self.at == step and self._given_back is state:
            return
        if self._generic is not None:
            self._write(step, state)
            self.at, self._given_back = step, state
            return
        theta, *memory = (self._split(part) for part in state)
        with torch.no_grad():
            for p, values in zip(self._parameters, theta, strict=True):
                p.copy_(values)
        self._forget()
        if step:
            for i, p in enumerate(self._parameters):
                kept = {n: m[i].clone() for n, m in zip(_MEMORY[self.kind], memory, strict=True)}
                if self.kind in ("adam", "adamw"):
                    kept["step"] = torch.full_like(self._counter, step)
                if kept:
                    self._each[0].state[p] = kept
        self.at, self._given_back = step, state

    def step_from(self, step: int, state: State) -> State:
        """The state after a recorded step from the given one."""
        self.go_to(step, state)
        if step in self.anchors:
            weights, optimizer = self.anchors[step]()
            if optimizer is not None:
                self.load(step, weights, optimizer)
            else:
                self.put(weights)
        self.take()
        return self.state()

    def _write(self, step: int, state: State) -> None:
        if self._generic is None:
            return
        self._remembered = self._generic.write(self._each, self._parameters, step, state)

    def _forget(self) -> None:
        for one in self._each:
            one.state.clear()

    def _split(self, vector: torch.Tensor) -> list[torch.Tensor]:
        parts = vector.split([p.numel() for p in self._parameters])
        return [part.view_as(p) for part, p in zip(parts, self._parameters, strict=True)]


def _flat(tensors: list[torch.Tensor]) -> torch.Tensor:
    # joined anew, so that later steps in place do not change it
    return torch.cat([t.detach().reshape(-1) for t in tensors])


@contextmanager
def _threads(n: int):
    """As many threads as the training had: sums are taken in another order with another number."""
    before = torch.get_num_threads()
    if n in (0, before):
        yield
        return
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
