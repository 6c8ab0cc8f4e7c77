"""At a few steps: was the recorded loss trained, and did the optimizer get its gradient?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch

from ..training.loss.gradient_fit import GradientFit, fit_gradient
from ..training.loss.known_losses import recorded_loss, taken_in_head
from ..training.loss.loss_fit import Loss, LossFit, fit_loss
from ..training.loss.trained_loss import Comparison, example_weights
from ..training.passes import (
    CannotRepeat,
    Pass,
    PassWatch,
    also_read,
    answers_in,
    gradients_of,
    not_the_models,
)
from .targets import NoTargetsError, TargetsById

# Beyond so many steps from one comparison to the next, a further one costs little.
PLENTY = 400
# Before this step comparisons are rarer than twice as far each: they are what recording costs.
EARLY = 256
# Kinds of a loss in which the examples have weights.
WEIGHED = {"same", "weighted", "answers"}
# Weights nearer to each other than this are one weight: what rounding leaves of it.
EVEN = 1e-4


def next_comparison(step: int) -> int:
    """The step after `step` at which to compare: 0, 1, 4, 16, 64, 256, 512, 912, 1312, 1749, ...

    Four times as far while few steps were taken, then a third farther, so that every quarter of a
    long training has one, at the cost of one pass in 400 steps or fewer.
    """
    return step + max(1, min(3 * step, EARLY) if step < EARLY else min(step, PLENTY), step // 3)


@dataclass
class Answer:
    """What the model said to a batch, what it should have said, and the pass that it came from.

    `labels` are None where only the `ids` are known, by which they are looked up.
    """

    answers: torch.Tensor
    labels: torch.Tensor | None
    seen: Pass | None = None
    last_only: bool = False
    slope: torch.Tensor | None = None
    ids: np.ndarray | None = None

    def add_slope(self, slope: torch.Tensor) -> None:
        """Take what a backward pass brings."""
        self.slope = slope.detach() if self.slope is None else self.slope + slope.detach()

    def found_slope(self) -> torch.Tensor | None:
        """Derivative of the trained loss by these answers, from where it was seen."""
        if self.slope is not None or self.seen is None or self.seen.slope is None:
            return self.slope
        return self.seen.slope[:, -1] if self.last_only else self.seen.slope


@dataclass
class _Sample:
    step: int
    passes: list[Pass]
    answers: list[Answer]
    gradient: GradientFit | None
    compared: bool
    why_not: str = ""
    also: list = field(default_factory=list)


@dataclass
class GradientWitness:
    """Watches the passes of chosen steps and compares what they led to.

    Parameters
    ----------
    model : module
    loss : callable ``(answers, labels) -> (example,)``
        The loss that is recorded.
    step : int
        Steps taken so far.
    targets : TargetsById, optional
        Looks up what the examples of a pass should have answered where only their ids are given,
        or raises `NoTargetsError`.
    for_replay : bool
        Once the weights of examples turn out other than those of a mean, find them at every step.
    every_step : bool
        Find them at every step to come.
    shared : bool
        The optimizer gets the gradients of several processes, of which this one sees one.
    """

    model: torch.nn.Module
    loss: Loss = recorded_loss
    step: int = 0
    targets: TargetsById | None = None
    for_replay: bool = False
    every_step: bool = False
    shared: bool = False
    comparisons: list[Comparison] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._watch = PassWatch(self.model)
        self._answers: list[Answer] = []
        #: how the first answers that were given differ from the model's own, see `not_the_models`
        self.strange: tuple[str, Any] | None = None
        #: whether answers that were given were the first tensor of what the model returned
        self.first_answer = False
        self._orders: list[np.ndarray] = []
        self._sample: _Sample | None = None
        self._weights: dict[int, np.ndarray] = {}
        self._due = self.step
        #: whether the loss was scaled before the backward pass, and gradients back before the step
        self.scaled = False
        #: whether anything is wanted of the step to come; at nearly every step nothing is
        self.awake = True
        self._watch.start()

    @property
    def watching(self) -> bool:
        """Whether the step to come is one that is looked at."""
        return self.every_step or self.step == self._due

    def take_weights(self) -> dict[int, np.ndarray]:
        """Step -> the weight of each slot, 1 for the mean, where found since the last call."""
        taken, self._weights = self._weights, {}
        return taken

    def batch(self, returned, labels) -> None:
        """Say what the examples of a pass should have answered, before or after the step.

        Answers or labels that are no tensors are left alone: there is no verdict about them.
        """
        if not self.awake:
            return
        answers = answers_in(returned)
        if answers is None or not torch.is_tensor(labels):
            return
        if self._sample is not None and self._label_late(self._sample, answers, labels):
            return
        if not self.watching:
            return
        given = Answer(answers.detach(), labels.detach())
        given.seen, given.last_only = _pass_of(given.answers, self._watch.passes)
        if given.seen is None:
            self.strange = not_the_models(answers, self._watch.passes, self.model)
        else:
            self.first_answer = True
        if answers.requires_grad and answers.grad_fn is not None:
            answers.register_hook(given.add_slope)  # never called where backward has been
        self._answers.append(given)

    def order(self, ids) -> None:
        """Say which examples are in the next pass, where their right answers are not said."""
        if self.watching:
            ids = ids.cpu().numpy() if torch.is_tensor(ids) else ids
            self._orders.append(np.array(ids, dtype=np.int64).reshape(-1))

    def before_step(self) -> None:
        """Look at the gradients that the optimizer is about to use."""
        if not (self.awake or self.every_step):
            self.step += 1
            if self.step == self._due:
                self.awake = True
                self._watch.start()
            return
        if self._sample is not None:
            self.finish()
        if self.watching:
            self._watch.stop()  # its own pass is none of the training's
            self._look()
            if self.step == self._due:
                self._due = next_comparison(self.step)
        self.step += 1
        if self.watching:
            self._watch.start(repeatable=self.step == self._due)
        self.awake = self.watching or self._sample is not None

    def go_on_from(self, step: int) -> None:
        """Compare the next step, which is this one: the training was resumed."""
        self.finish()
        self.step = self._due = step
        self.awake = True
        self._watch.start()

    @property
    def passes(self) -> list[Pass]:
        """The passes that were seen since the last step."""
        return self._watch.passes

    def forget(self, before: Sequence[Pass]) -> None:
        """Drop the passes before a closure, if it has taken some that make the step's gradients."""
        old = set(map(id, before))
        new = [seen for seen in self._watch.passes if id(seen) not in old]
        if old and new:
            self._watch.passes = new

    def finish(self) -> None:
        """Compare what was still waiting for its labels."""
        sample, self._sample = self._sample, None
        if sample is None:
            return
        fits: list[LossFit] = []
        why, without = sample.why_not, 0
        for given in sample.answers:
            slope = given.found_slope()
            if slope is None:
                without += 1
                continue
            try:
                fits.append(self._fit(given, slope))
            except NoTargetsError as error:
                why, without = why or str(error), without + 1
            except (RuntimeError, ValueError, IndexError, TypeError) as error:
                said = (str(error) or type(error).__name__).splitlines()[0]
                why = why or f"these labels have no loss: {said}"
                without += 1
        if not sample.answers:
            why = why or (
                "it was not said which labels belong to the step: "
                "neither rec.batch(logits, labels, ids) nor rec.order(ids) was called before it"
            )
        elif without:
            why = why or "what rec.batch was given is not what the model returned"
        if fits and not without and {f.kind for f in fits} <= WEIGHED:
            found = example_weights(fits)
            self.scaled |= _scaled_and_back(found, sample.gradient)
            # of slopes in half precision weights are seen no closer than rounding lets them
            room = max(EVEN, *(f.allowed if f.rounded else 0.0 for f in fits))
            if np.abs(found - 1).max() <= room:
                found = np.ones(len(found))
            self._weights[sample.step] = found
            if self.for_replay and np.abs(found - 1).max() > room:
                self.every_step = True
        if sample.also and sample.gradient is not None:
            read = ", ".join(map(repr, sample.also))
            words = f"one that also reads {read} of what the model returns (another head)"
            left, allowed = sample.gradient.left, sample.gradient.allowed
            fits = [LossFit(f.weights, left, allowed, words, "other", {}) for f in fits]
        if sample.compared:
            self.comparisons.append(Comparison(sample.step, tuple(fits), sample.gradient, why))

    def _fit(self, given: Answer, slope: torch.Tensor) -> LossFit:
        loss: Loss = self.loss
        labels: Any = given.labels
        if given.seen is not None and given.seen.in_head:
            trained = given.seen.keywords.get("labels")
            if trained is not None and given.ids is not None and self.targets is not None:
                self.targets.check_labels(given.ids, trained)
            return fit_loss(taken_in_head, given.answers, torch.zeros(len(given.answers), 1), slope)
        if labels is None and self.targets is not None and given.ids is not None:
            loss, labels = self.targets(given.ids, given.answers)
        return fit_loss(loss, given.answers, cast(torch.Tensor, labels), slope)

    def close(self) -> None:
        """Take all hooks off the model."""
        self.finish()
        self._watch.stop()

    def _look(self) -> None:
        passes, answers = self._watch.take(), self._answers
        answers, orders = answers or self._by_order(passes), self._orders
        self._answers, self._orders = [], []
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        fit, why, compared = None, "", self.step == self._due
        also: list = []
        if not compared:
            pass  # only the weights are wanted
        elif self.shared:
            why = "each process sees its own part of the gradient only"
        elif any(type(p.grad) is not torch.Tensor or p.grad.is_sparse for p in parameters):
            why = "gradients are sparse, or shared among processes"
        elif passes and parameters:
            try:
                fit = fit_gradient(
                    [p.grad for p in parameters if p.grad is not None],
                    gradients_of(self.model, passes, parameters),
                    parameters,
                )
                also = also_read(self.model, passes) if fit.kind == "other" else []
            except (CannotRepeat, RuntimeError) as error:
                why = str(error).split("\n")[0]
        else:
            why = "no pass through the model was seen before the step"
        if orders and not answers:
            why = why or (
                f"the examples that were named ({', '.join(str(len(ids)) for ids in orders)}) are "
                f"not those of the passes ({', '.join(str(len(p.answers)) for p in passes)})"
            )
        self._sample = _Sample(self.step, passes, answers, fit, compared, why, also)

    def _by_order(self, passes: list[Pass]) -> list[Answer]:
        """The passes of a step of which the examples or the labels alone are known, in order."""
        sizes = [len(p.answers) for p in passes if p.answers.ndim]
        if self._orders and self.targets is not None and sizes == [len(i) for i in self._orders]:
            return [Answer(p.answers, None, p, ids=i) for p, i in zip(passes, self._orders)]
        labels: list[Any] = [p.keywords.get("labels") for p in passes]
        if self._orders or not all(torch.is_tensor(own) and own.ndim == 1 for own in labels):
            return []  # nor where labels are of tokens: those weigh by their number
        return [Answer(p.answers, own.detach(), p) for p, own in zip(passes, labels)]

    def _label_late(self, sample: _Sample, answers, labels) -> bool:
        """Labels that come after the step they belong to (Lightning's callbacks)."""
        labelled = [given.seen for given in sample.answers]
        open_ones = [p for p in sample.passes if not any(p is other for other in labelled)]
        seen, last_only = _pass_of(answers.detach(), open_ones)
        if seen is None:
            return False
        sample.answers.append(Answer(answers.detach(), labels.detach(), seen, last_only))
        return True


def _scaled_and_back(weights: np.ndarray, gradient: GradientFit | None) -> bool:
    """Whether a power of two was put on the loss and taken off the gradient, as GradScaler does."""
    if gradient is None or gradient.kind != "scaled" or not 0 < gradient.factor < 0.6:
        return False
    power = np.log2(1 / gradient.factor)
    whole = abs(power - round(power)) < 0.05
    return whole and abs(float(np.median(weights)) * gradient.factor - 1) < 0.5


def _pass_of(answers: torch.Tensor, passes: list[Pass]) -> tuple[Pass | None, bool]:
    """The pass that gave these answers, and whether they are its last position alone."""
    for seen in reversed(passes):
        if seen.answers.shape == answers.shape and (
            seen.answers.data_ptr() == answers.data_ptr() or torch.equal(seen.answers, answers)
        ):
            return seen, False
        last = seen.answers[:, -1] if seen.answers.ndim == 3 else None
        if last is not None and last.shape == answers.shape and torch.equal(last, answers):
            return seen, True
    return None, False
