"""Your own output, loss and weight, as functions of the prediction and the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..arguments import checked
from ..errors import DataError, SettingError
from .identity import code_digest
from .parts import parts_of, raw_of
from .task import Task, mean_of


class CustomTask(Task):
    """Your own output, loss and weight, each a function of (prediction, batch).

    `batch` is what your own pipeline made: the tuple, list or dict of the loader.

    Parameters
    ----------
    output : callable
        Returns what is attributed, shape (example,).
    loss : callable, optional
        Returns the training loss of each example, shape (example,): torch's losses do so with
        `reduction="none"`. Needed for recording, influence functions and TracIn.
    weight : callable, optional
        Returns -d loss / d output. Left out, TRAK scores are not weighted (weight 1).
    predict : callable, optional
        `predict(model, batch)`, where the model is not called as `model(*inputs)`; or a method of
        the model, `model.encode`, which is called with the inputs.
    curvature : "empirical" or callable
        What influence functions take for the curvature of the loss: the empirical Fisher (inner
        products of gradients of the loss), or a function of (prediction, batch) that returns
        scalars whose squared gradients sum to it, shape (example, row).
    name : str
        Names the task in the record.
    """

    output_column = "output"
    needs_batch = True
    loss_name = "the loss of your own"

    @checked
    def __init__(
        self,
        output: Callable,
        loss: Callable | None = None,
        weight: Callable | None = None,
        predict: Callable | None = None,
        name: str = "custom",
        *,
        curvature: str | Callable = "empirical",
    ):
        if curvature != "empirical" and not callable(curvature):
            raise SettingError(f"curvature={curvature!r} must be 'empirical' or a function.")
        self._output, self._loss, self._weight = output, loss, weight
        self._predict: Any = predict
        self._curvature = curvature
        self.name = name
        self.curvature = "given" if callable(curvature) else "empirical Fisher"
        self.columns = ("loss", "output", "seen")
        self.loss_unit = "as the loss has it"
        self.output_unit = "as the output has it"

    def settings(self) -> dict:
        return {name: code_digest(f) for name, f in self._given().items()}

    def functions(self) -> list:
        return [*super().functions(), *self._given().values()]

    def _given(self) -> dict[str, Callable]:
        given = {
            "output": self._output,
            "loss": self._loss,
            "weight": self._weight,
            "predict": self._predict,
            "curvature": self._curvature,
        }
        return {name: f for name, f in given.items() if callable(f)}

    @property
    def reads_batch(self) -> bool:
        return self._predict is not None and self._method is None

    @property
    def _method(self) -> str | None:
        """The name of the method that `predict` is, where it is one of a model."""
        owner = getattr(self._predict, "__self__", None)
        return self._predict.__name__ if isinstance(owner, torch.nn.Module) else None

    def predict(self, model, batch):
        if self._predict is None:
            return super().predict(model, batch)
        if self._method is None:
            return self._predict(model, raw_of(batch))
        # of the model that is asked, which is a copy or holds other weights
        own = getattr(model, self._method, None)
        if type(model) is not type(self._predict.__self__) or own is None:
            raise SettingError(
                f"predict= is a method of {type(self._predict.__self__).__name__}, and the model "
                f"is {type(model).__name__}. Give a function: predict=lambda model, batch: ..."
            )
        inputs, keywords, _ = parts_of(batch)
        return self.read(own(*inputs, **keywords))

    def taken(self, model, batch, answer):
        return self.read(answer)

    def read(self, answer):
        """The answer as the model gives it: your functions know what it is."""
        return getattr(answer, "logits", answer)

    def output(self, prediction, batch):
        return self._each(self._output(prediction, raw_of(batch)), "output", prediction, batch)

    def loss(self, prediction, batch):
        if self._loss is None:
            raise SettingError(f"The task {self.name!r} has no loss; give CustomTask(loss=...).")
        return self._each(self._loss(prediction, raw_of(batch)), "loss", prediction, batch)

    def weight(self, prediction, batch):
        if self._weight is None:
            return torch.ones_like(self.output(prediction, batch).detach()).double()
        return self._weight(prediction, raw_of(batch)).detach().double()

    def curvature_rows(self, prediction, batch, *, rows, temperature=1.0):
        if callable(self._curvature):
            return self._curvature(prediction, raw_of(batch))
        if self._loss is None:
            raise SettingError(
                f"The task {self.name!r} has neither a loss nor a curvature, and influence "
                f"functions need one: CustomTask(loss=...), or curvature= with a function."
            )
        return self.loss(prediction, batch)[:, None]

    def measures(self, prediction, batch):
        loss, output = self.loss(prediction, batch), self.output(prediction, batch)
        return {"loss": loss, "output": output, "seen": torch.ones_like(loss, dtype=torch.bool)}

    def summary(self, columns, seen):
        return {"loss": mean_of(columns["loss"], seen)}

    def _each(self, values: Any, what: str, prediction: Any, batch: Any) -> torch.Tensor:
        if not torch.is_tensor(values):
            raise DataError(f"{what}= of the task {self.name!r} must return a tensor.")
        if values.ndim == 0:
            n = _length(prediction, batch)
            raise DataError(
                f"{what}= of the task {self.name!r} returned one number"
                f"{f' for {n} examples' if n else ''}: it is reduced to a mean or a sum, which "
                f"says nothing about single examples. Return one number an example, shape "
                f"(example,): torch's losses do so with reduction='none'."
            )
        return values


def _length(prediction: Any, batch: Any) -> int | None:
    inputs, keywords, _ = parts_of(batch)
    first = [x for x in (prediction, *inputs, *keywords.values()) if torch.is_tensor(x) and x.ndim]
    return len(first[0]) if first else None
