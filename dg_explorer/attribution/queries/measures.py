"""What a question asks of each example: a number that autograd can follow to the parameters."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ...arguments import REQUIRED
from ...data.evaluation import LayerOutputs
from ...errors import DataError, SettingError
from ...tasks import Task
from ...tasks.identity import UNKNOWN, code_digest, unknown_in

#: (prediction, batch) -> one number an example
Outputs = Callable[[object, object], torch.Tensor]


@dataclass(frozen=True)
class Output:
    """What the method attributes anyway: the output of the task, such as the margin."""

    told: str = "output"

    def __call__(self, model, task: Task, batch, own: Outputs) -> torch.Tensor:
        """Shape (example,), in the graph.

        own : the output as the method differentiates it for a test example
        """
        prediction = task.predict(model, batch)
        task.check(prediction, batch)
        return own(prediction, batch)

    def digest(self) -> str:
        """A short name for what is measured."""
        return self.told


@dataclass(frozen=True)
class Loss(Output):
    """Minus the loss, so that a positive score is still help."""

    told: str = "minus loss"

    def __call__(self, model, task: Task, batch, own: Outputs) -> torch.Tensor:
        return super().__call__(model, task, batch, lambda p, b: -task.loss(p, b))


@dataclass(frozen=True)
class Answers(Output):
    """By how much the model prefers one answer to another: logit minus logit."""

    answer: int = 0
    other: int = 0

    def __post_init__(self):
        for name in ("answer", "other"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
                raise SettingError(f"{name}={value!r} must be the number of an answer, from 0.")
        if self.answer == self.other:
            raise SettingError(f"answer={self.answer} and other={self.other} are one answer.")
        object.__setattr__(self, "told", f"logit of {self.answer} minus logit of {self.other}")

    def __call__(self, model, task: Task, batch, own: Outputs) -> torch.Tensor:
        def difference(prediction, batch):
            if not torch.is_tensor(prediction) or prediction.ndim != 2:
                raise DataError(
                    "Two answers are compared where a prediction is one row of logits an example. "
                    "Say what you ask with Query.of(data, function)."
                )
            if max(self.answer, self.other) >= prediction.shape[1]:
                raise DataError(
                    f"The model has {prediction.shape[1]} answers, 0 to "
                    f"{prediction.shape[1] - 1}; asked for {self.answer} and {self.other}."
                )
            return prediction[:, self.answer] - prediction[:, self.other]

        return super().__call__(model, task, batch, difference)


@dataclass(frozen=True)
class OwnFunction(Output):
    """A function of the user's own: (prediction, batch) -> one number an example."""

    function: Outputs = REQUIRED

    def __call__(self, model, task: Task, batch, own: Outputs) -> torch.Tensor:
        # the batch as the user's pipeline made it, as for functions of a CustomTask
        return super().__call__(
            model, task, batch, lambda p, b: self.function(p, getattr(b, "raw", b))
        )

    def digest(self) -> str:
        if unknown := unknown_in(self.function):
            return f"{UNKNOWN}{', '.join(dict.fromkeys(unknown))}"
        return f"{self.told} {code_digest(self.function)}"


@dataclass(frozen=True, eq=False)
class Probe(Output):
    """A layer's output along a direction; means over positions, without padding, and space."""

    layer: str = ""
    direction: np.ndarray | None = None

    def __call__(self, model, task: Task, batch, own: Outputs) -> torch.Tensor:
        modules = dict(model.named_modules())
        if self.layer not in modules:
            known = ", ".join(name for name in modules if name)
            raise SettingError(f"layer={self.layer!r}: the model's layers are {known}.")
        listen = LayerOutputs({self.layer: modules[self.layer]}, keep_graph=True)
        rows = listen(model, batch, task.predict)[1][self.layer]
        direction = torch.as_tensor(self.direction).to(rows)
        if direction.shape != rows.shape[1:]:
            raise SettingError(
                f"direction= has {len(direction)} numbers, and the output of {self.layer!r} has "
                f"{rows.shape[1]} units."
            )
        return rows @ direction

    def digest(self) -> str:
        raw = np.ascontiguousarray(self.direction, np.float64).tobytes()
        return f"{self.told} {zlib.crc32(raw):08x}"
