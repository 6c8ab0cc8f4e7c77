"""`Task`: one answer to what a model's output is, what its loss is, and what a label is.

A task turns a batch into one *output* per example (what a score explains), one *loss*, and the
*weight* that links them: minus the derivative of the loss by the output. The same task says what
a recorder keeps of each example. For classification the output is the margin log p/(1-p) of the
right class and the weight is 1 - p, so that the gradient of the loss is -(1 - p) times that of
the margin.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from ..data.forward import aside
from ..errors import DataError, SettingError
from .answers import logits_of, place_of
from .identity import code_digest
from .model_kinds import is_hugging_face
from .parts import labels_of, parts_of

#: column -> (what an example not seen has, dtype), for every measure that a task may record
COLUMNS: dict[str, tuple[Any, type]] = {
    "loss": (np.nan, np.float32),
    "confidence": (np.nan, np.float32),
    "margin": (np.nan, np.float32),
    "output": (np.nan, np.float32),
    "accuracy": (np.nan, np.float32),
    "prediction": (-1, np.int32),
    "correct": (False, np.bool_),
    "tokens": (0, np.int32),
    "seen": (False, np.bool_),
}


class Task:
    """What is attributed and recorded. Subclass and give `output`, `loss`, `weight`, `measures`.

    Predictions are what `predict` returns. Labels and inputs are those of the batch; see
    `parts_of` for the forms that a batch may have.
    """

    name = "custom"
    #: the output is the margin of one answer and the weight its 1 - p
    doubts = False
    #: the output in words, and its unit
    output_name, output_unit = "output", ""
    #: the loss in words, and its unit
    loss_name, loss_unit = "the task's loss", "nats"
    #: its functions want the batch as the user's pipeline made it, not logits and labels alone
    needs_batch = False
    #: how the curvature of the loss is had: "Gauss-Newton", "empirical Fisher", ... or None
    curvature: str | None = None
    #: what `measures` gives, names of `COLUMNS`; `output_column` is the output among them
    columns: tuple[str, ...] = ()
    output_column = "margin"
    #: which entry of a tuple that the model returns is its answer, once that is seen
    _place: int | None = None
    _first = False

    # ---------------------------------------------------------------- the model's answer

    @property
    def reads_batch(self) -> bool:
        """Whether functions of the user's own read the batch, whatever its entries mean."""
        own = type(self).predict is not Task.predict
        return own and not type(self).__module__.startswith("dg_explorer.")

    def predict(self, model: Callable, batch: Any) -> Any:
        """The model's answer to a batch (by `forward=` where that was given), read by `read`."""
        return self.taken(model, batch, answer_of(model, batch))

    def taken(self, model: Callable, batch: Any, answer: Any) -> Any:
        """The prediction in what a model returned, settling once which part of it that is."""
        if self._place is None:
            self._place = answer_place(model, batch, answer, self._first)
        return self.read(answer)

    def takes_first(self) -> None:
        """Note that the training was seen to take the first of what the model returns."""
        self._first = True

    def read(self, answer: Any) -> Any:
        """What a model returns as a prediction: half precision is widened, logits are unwrapped."""
        return logits_of(answer, self._place)

    def check_model(self, model: Callable) -> None:
        """Raise `SettingError` where the model is plainly of another kind."""

    def check(self, prediction: Any, batch: Any) -> None:
        """Raise `DataError` where labels do not fit the prediction."""

    # ---------------------------------------------------------------- attribution

    def output(self, prediction: Any, batch: Any) -> torch.Tensor:
        """What is attributed, shape (example,), differentiable."""
        raise NotImplementedError

    def softened(self, prediction: Any, batch: Any, *, temperature: float) -> torch.Tensor:
        """The output of a model less sure of itself, shape (example,), where that differs."""
        return self.output(prediction, batch)

    def loss(self, prediction: Any, batch: Any) -> torch.Tensor:
        """The training loss of each example, shape (example,), differentiable."""
        raise NotImplementedError

    def weight(self, prediction: Any, batch: Any) -> torch.Tensor:
        """-d loss / d output of each example, float64, shape (example,)."""
        raise NotImplementedError

    def ascent(self, prediction: Any, batch: Any, *, temperature: float = 1.0) -> torch.Tensor:
        """A scalar an example whose gradient is minus that of the loss, shape (example,).

        At a temperature below 1 the loss is that of a model less sure of itself.
        """
        return -self.loss(prediction, batch)

    def curvature_rows(
        self, prediction: Any, batch: Any, *, rows: int, temperature: float = 1.0
    ) -> torch.Tensor:
        """Scalars whose squared gradients sum to the Gauss-Newton matrix, shape (example, row).

        With H = L L' the Hessian of the loss by the prediction, row r is (L' z)_r with L held
        constant, so that sum_r grad_r grad_r' = J' H J; at most `rows` of them, the largest.
        Probabilities are those of the prediction times `temperature`.
        """
        raise SettingError(
            f"The task {self.name!r} defines no curvature. Give it one: "
            f"CustomTask(..., curvature='empirical') or a function."
        )

    def trained(self, prediction: Any, batch: Any) -> torch.Tensor:
        """How many labels each example is trained on, int64, shape (example,): n_i."""
        n = len(prediction) if torch.is_tensor(prediction) else len(self.output(prediction, batch))
        return torch.ones(n, dtype=torch.int64)

    def by_labels(self, batch: Any) -> tuple[Task, Any]:
        """The task where only answers and labels are at hand, and the labels that it then takes.

        Raises
        ------
        SettingError
            Its functions read the whole batch.
        """
        if self.needs_batch:
            raise SettingError(
                f"The functions of the task {self.name!r} read whole batches, and here are only "
                f"answers and labels. Give loss= and output=, functions of (answers, labels)."
            )
        return self, labels_of(batch)

    # ---------------------------------------------------------------- recording

    def measures(self, prediction: Any, batch: Any) -> dict[str, torch.Tensor]:
        """What is recorded of each example, each of shape (example,): see `columns`.

        NaN says that the model answered NaN or that the example has no label.
        """
        raise SettingError(f"The task {self.name!r} cannot be recorded.")

    def class_labels(self, batch: Any) -> torch.Tensor | None:
        """One number an example that the record's labels must agree with, or None."""
        labels = labels_of(batch)
        return labels if torch.is_tensor(labels) and labels.ndim == 1 else None

    def summary(self, columns: Mapping[str, np.ndarray], seen: np.ndarray) -> dict[str, float]:
        """The means of a split from the columns of its examples; NaN where there is none."""
        if "loss" not in columns:  # nothing was given that says what is learned
            return {"loss": np.nan, "accuracy": np.nan}
        found = {"loss": mean_of(columns["loss"], seen)}
        for name in ("accuracy", "correct"):
            if name in columns:
                found["accuracy"] = mean_of(columns[name], seen)
                break
        return found

    # ---------------------------------------------------------------- identity

    def settings(self) -> dict[str, Any]:
        """What makes two tasks of one name differ, as plain values."""
        return {}

    def functions(self) -> list:
        """What of the task the user wrote: functions, or the task itself."""
        return [] if type(self).__module__.startswith("dg_explorer.") else [self]

    def digest(self) -> str:
        """A short name for the task and its settings: results of another one are not its own."""
        told = f"{type(self).__name__} {self.name} {sorted(self.settings().items())!r}"
        if not type(self).__module__.startswith("dg_explorer."):
            told += code_digest(self)  # a class of the user's own
        return f"{zlib.crc32(told.encode()):08x}"

    def described(self) -> dict[str, str]:
        """What the record says of it."""
        return {
            "name": self.name,
            "told": repr(self),
            "digest": self.digest(),
            "output": self.output_name,
            "output_unit": self.output_unit,
            "loss": self.loss_name,
            "loss_unit": self.loss_unit,
        }

    def __repr__(self) -> str:
        told = ", ".join(f"{name}={value!r}" for name, value in self.settings().items())
        return f"{type(self).__name__}({told})"


def answer_of(model: Callable, batch: Any) -> Any:
    """What the model returns for a batch, whatever that is."""
    if hasattr(batch, "predict"):
        return batch.predict(model)
    inputs, keywords, _ = parts_of(batch)
    return model(*inputs, **keywords)


def answer_aside(model: Callable, few: Any) -> Any:
    """What the model returns for a few examples, by which it is seen how it answers."""
    with aside():
        return answer_of(model, few)


def answer_place(model: Callable, batch: Any, answer: Any, first: bool = False) -> int | None:
    """Which entry of what a model returned is its answer; None where there is no choice."""
    few = batch.take([0, 0]) if hasattr(batch, "take") else batch
    return place_of(
        model, lambda: answer_aside(model, few), answer, first or is_hugging_face(model)
    )


def mean_of(column: np.ndarray, there: np.ndarray) -> float:
    """The mean of a column over some of its examples, in double precision; NaN of none."""
    return float(column[there].mean(dtype=np.float64)) if there.any() else float("nan")


def needed_labels(batch: Any, task: str, form: str) -> torch.Tensor:
    """The labels of a batch; `DataError` where there are none."""
    labels = labels_of(batch)
    if labels is None:
        raise DataError(
            f"The task {task!r} needs labels: batches of {form}, or label= to say where they are."
        )
    return torch.as_tensor(labels)
