"""At a few steps: was the recorded loss trained, and did the optimizer get its gradient?"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from ..training.gradient_fit import GradientFit, fit_gradient
from ..training.known_losses import recorded_loss
from ..training.loss_fit import Loss, LossFit, fit_loss
from ..training.passes import CannotRepeat, Pass, PassWatch, answers_in, gradients_of
from ..training.trained_loss import Comparison, example_weights

# Beyond so many steps from one comparison to the next, a further one costs little.
PLENTY = 400
# Kinds of a loss in which the examples have weights.
WEIGHED = {"same", "weighted", "answers"}
# Weights nearer to each other than this are one weight: what rounding leaves of it.
EVEN = 1e-4


def next_comparison(step: int) -> int:
    """The step after `step` at which to compare: 0, 1, 2, 4, ... 256, 512, 912, 1312, 1749, ...

    Twice as far while few steps were taken, then a third farther, so that every quarter of a
    long training has one, at the cost of one pass in 400 steps or fewer.
    """
    return step + max(1, min(step, PLENTY), step // 3)


@dataclass
class Answer:
    """What the recorder was handed for a batch, and the pass that it came from."""

    answers: torch.Tensor
    labels: torch.Tensor
    seen: Pass | None = None
    last_only: bool = False
    slope: torch.Tensor | None = None

    def add_slope(self, slope: torch.Tensor) -> None:
        """Take what a backward pass brings."""
        self.slope = slope.detach() if self.slope is None else self.slope + slope.detach()

    def found_slope(self) -> torch.Tensor | None:
        """Derivative of the trained loss by these answers, from where it was seen."""
        if self.slope is not None or self.seen is None:
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
    for_replay : bool
        Once the weights of examples turn out uneven, find them at every step.
    every_step : bool
        Find them at every step to come.
    """

    model: torch.nn.Module
    loss: Loss = recorded_loss
    step: int = 0
    for_replay: bool = False
    every_step: bool = False
    comparisons: list[Comparison] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._watch = PassWatch(self.model)
        self._answers: list[Answer] = []
        self._sample: _Sample | None = None
        self._weights: dict[int, np.ndarray] = {}
        self._due = self.step
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
        if self._sample is None and not self.watching:
            return  # nearly every step
        answers = answers_in(returned)
        if answers is None or not torch.is_tensor(labels):
            return
        if self._sample is not None and self._label_late(answers, labels):
            return
        if not self.watching:
            return
        given = Answer(answers.detach(), labels.detach())
        given.seen, given.last_only = _pass_of(given.answers, self._watch.passes)
        if answers.requires_grad and answers.grad_fn is not None:
            answers.register_hook(given.add_slope)  # never called where backward has been
        self._answers.append(given)

    def before_step(self) -> None:
        """Look at the gradients that the optimizer is about to use."""
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

    def go_on_from(self, step: int) -> None:
        """Compare the next step, which is this one: the training was resumed."""
        self.finish()
        self.step = self._due = step
        self._watch.start()

    def forget(self) -> None:
        """Drop the passes before a closure that makes the step's gradients itself."""
        self._watch.passes = []

    def finish(self) -> None:
        """Compare what was still waiting for its labels."""
        sample, self._sample = self._sample, None
        if sample is None:
            return
        fits: list[LossFit] = []
        why = sample.why_not
        for given in sample.answers:
            slope = given.found_slope()
            if slope is None:
                continue
            try:
                fits.append(fit_loss(self.loss, given.answers, given.labels, slope))
            except (RuntimeError, ValueError, IndexError, TypeError) as error:
                why = why or f"the loss of these labels is none: {str(error).splitlines()[0]}"
        if not sample.answers:
            why = why or "nobody said which labels belong to the step: rec.batch was not called"
        elif len(fits) < len(sample.answers):
            why = why or "what rec.batch was given is not what the model returned"
        if fits and len(fits) == len(sample.answers) and {f.kind for f in fits} <= WEIGHED:
            found = self._weights[sample.step] = example_weights(fits)
            if self.for_replay and np.ptp(found) > EVEN:
                self.every_step = True
        if sample.compared:
            self.comparisons.append(Comparison(sample.step, tuple(fits), sample.gradient, why))

    def close(self) -> None:
        """Take all hooks off the model."""
        self.finish()
        self._watch.stop()

    def _look(self) -> None:
        passes, answers = self._watch.take(), self._answers
        self._answers = []
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        fit, why, compared = None, "", self.step == self._due
        if not compared:
            pass  # only the weights are wanted
        elif any(type(p.grad) is not torch.Tensor or p.grad.is_sparse for p in parameters):
            why = "gradients are sparse, or shared among processes"
        elif passes and parameters:
            try:
                fit = fit_gradient(
                    [p.grad for p in parameters],
                    gradients_of(self.model, passes, parameters),
                    parameters,
                )
            except (CannotRepeat, RuntimeError) as error:
                why = str(error).split("\n")[0]
        else:
            why = "no pass through the model was seen before the step"
        self._sample = _Sample(self.step, passes, answers, fit, compared, why)

    def _label_late(self, answers, labels) -> bool:
        """Labels that come after the step they belong to (Lightning's callbacks)."""
        labelled = [given.seen for given in self._sample.answers]
        open_ones = [p for p in self._sample.passes if not any(p is other for other in labelled)]
        seen, last_only = _pass_of(answers.detach(), open_ones)
        if seen is None:
            return False
        self._sample.answers.append(Answer(answers.detach(), labels.detach(), seen, last_only))
        return True


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
