"""Tasks: what is attributed, and how the training loss depends on it.

A task turns a batch into one *output* per example (what a score explains), one *loss*,
and the *weight* that links them: minus the derivative of the loss by the output.
For classification the output is the margin log p/(1-p) of the right class and the
weight is 1 - p, so that the gradient of the loss is -(1 - p) times that of the margin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F

from ..errors import DataError, SettingError


def margin(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """log p/(1-p) of the right class, from logits alone.

    Parameters
    ----------
    logits : shape (..., classes)
    labels : int64, shape (...)

    Returns
    -------
    shape (...)
        z_y - logsumexp of the other logits: finite where 1 - p rounds to zero.

    References
    ----------
    Park et al. (2023), "TRAK: Attributing Model Behavior at Scale", eq. 13.
    """
    right = logits.gather(-1, labels[..., None])
    others = logits.scatter(-1, labels[..., None], float("-inf"))
    return right[..., 0] - others.logsumexp(-1)


def split_batch(batch) -> tuple[tuple, dict, torch.Tensor | None]:
    """Positional inputs, keyword inputs and target of a batch.

    A mapping (Hugging Face) gives keyword inputs, its `labels` are the target;
    a tuple or list is (input, ..., target).
    """
    if isinstance(batch, Mapping):
        inputs = {name: value for name, value in batch.items() if name not in ("labels", "label")}
        return (), inputs, batch.get("labels", batch.get("label"))
    if isinstance(batch, (tuple, list)) and len(batch) >= 2:
        return tuple(batch[:-1]), {}, batch[-1]
    if isinstance(batch, (tuple, list)) and len(batch) == 1:
        return tuple(batch), {}, None
    return (batch,), {}, None


class Task:
    """What is attributed. Subclass and give `output`, `loss` and `weight` for a new one."""

    name = "custom"
    #: the output is the margin of one answer and the weight its 1 - p
    doubts = False

    def predict(self, model: Callable, batch):
        """The model's answer to a batch; `.logits` is unwrapped (Hugging Face)."""
        args, kwargs, _ = split_batch(batch)
        answer = model(*args, **kwargs)
        return getattr(answer, "logits", answer)

    def check(self, prediction, batch) -> None:
        """Raise `DataError` where targets do not fit the prediction."""

    def output(self, prediction, batch) -> torch.Tensor:
        """What is attributed, shape (example,), differentiable."""
        raise NotImplementedError

    def softened(self, prediction, batch, *, temperature: float) -> torch.Tensor:
        """The output of a model less sure of itself, shape (example,), where that differs."""
        return self.output(prediction, batch)

    def loss(self, prediction, batch) -> torch.Tensor:
        """The training loss of each example in nats, shape (example,), differentiable."""
        raise NotImplementedError

    def weight(self, prediction, batch) -> torch.Tensor:
        """-d loss / d output of each example, float64, shape (example,)."""
        raise NotImplementedError

    def curvature_rows(self, prediction, batch, *, rows: int, temperature: float = 1.0):
        """Scalars whose squared gradients sum to the Gauss-Newton matrix, shape (example, row).

        With H = L L' the Hessian of the loss by the prediction, row r is (L' z)_r with L held
        constant, so that sum_r grad_r grad_r' = J' H J; at most `rows` of them, the largest.
        Probabilities are those of the prediction times `temperature`.
        """
        raise SettingError(f"The task {self.name!r} defines no Gauss-Newton curvature.")

    def ascent(self, prediction, batch, *, temperature: float = 1.0) -> torch.Tensor:
        """A scalar an example whose gradient is minus that of the loss, shape (example,).

        At a temperature below 1 the loss is that of a model less sure of itself.
        """
        return -self.loss(prediction, batch)


class ClassificationTask(Task):
    """One label an example; the output is the margin of the right class."""

    name = "classification"
    doubts = True

    def _labels(self, batch) -> torch.Tensor:
        labels = split_batch(batch)[2]
        if labels is None:
            raise DataError("Classification needs labels: batches of (input, label).")
        return labels

    def check(self, prediction, batch) -> None:
        labels = self._labels(batch)
        if prediction.ndim != 2:
            raise DataError(
                f"Classification expects logits of shape (example, class); the model "
                f"gave {tuple(prediction.shape)}. Choose another task=, or pass your own."
            )
        if labels.dtype.is_floating_point or labels.shape != prediction.shape[:1]:
            raise DataError(
                f"Labels must be integers of shape ({prediction.shape[0]},); "
                f"got {labels.dtype} of shape {tuple(labels.shape)}."
            )
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= prediction.shape[1]:
            raise DataError(
                f"Labels run from {low} to {high}, but the model has "
                f"{prediction.shape[1]} classes (0 to {prediction.shape[1] - 1})."
            )

    def output(self, prediction, batch):
        return margin(prediction, self._labels(batch).long())

    def softened(self, prediction, batch, *, temperature):
        # as sensitive to the right answer as the margin; the wrong ones are weighed more evenly
        return self.output(prediction * temperature, batch) / temperature

    def loss(self, prediction, batch):
        return F.cross_entropy(prediction, self._labels(batch).long(), reduction="none")

    def weight(self, prediction, batch):
        # sigmoid(-margin) in float64: 1 - softmax is exactly zero on a model that is sure
        return torch.sigmoid(-self.output(prediction.detach().double(), batch))

    def curvature_rows(self, prediction, batch, *, rows, temperature=1.0):
        p = (prediction.detach().double() * temperature).softmax(-1)
        hessian = torch.diag_embed(p) - p[..., :, None] * p[..., None, :]
        values, vectors = torch.linalg.eigh(hessian)
        keep = min(rows, p.shape[-1] - 1)
        root = vectors[..., -keep:] * values[..., None, -keep:].clamp(min=0).sqrt()
        return (prediction[..., None, :] @ root.to(prediction.dtype))[..., 0, :].flip(-1)

    def ascent(self, prediction, batch, *, temperature=1.0):
        labels = self._labels(batch).long()
        p = (prediction.detach().double() * temperature).softmax(-1)
        # p_y - 1 as minus the sum of the others: exact where p_y rounds to one
        p.scatter_(-1, labels[:, None], 0.0)
        residual = (-p).scatter(-1, labels[:, None], p.sum(-1, keepdim=True))
        return (residual.to(prediction.dtype) * prediction).sum(-1)


class RegressionTask(Task):
    """Half the squared error; the output is the prediction itself, summed over targets."""

    name = "regression"

    def _residual(self, prediction, batch):
        target = split_batch(batch)[2]
        if target is None:
            raise DataError("Regression needs targets: batches of (input, target).")
        if target.numel() != prediction.numel():
            raise DataError(
                f"The model predicts {tuple(prediction.shape)} but targets are "
                f"{tuple(target.shape)}."
            )
        return prediction.flatten(1) - target.reshape(prediction.shape).to(prediction).flatten(1)

    def check(self, prediction, batch) -> None:
        residual = self._residual(prediction.reshape(prediction.shape[0], -1), batch)
        if residual.shape[1] != 1:
            raise DataError(
                f"Regression attributes one number an example; the model predicts "
                f"{residual.shape[1]}. Pass CustomTask(output=..., loss=..., weight=...)."
            )

    def output(self, prediction, batch):
        return prediction.reshape(prediction.shape[0], -1).sum(1)

    def loss(self, prediction, batch):
        prediction = prediction.reshape(prediction.shape[0], -1)
        return 0.5 * self._residual(prediction, batch).square().sum(1)

    def weight(self, prediction, batch):
        prediction = prediction.detach().double().reshape(prediction.shape[0], -1)
        return -self._residual(prediction, batch).sum(1)

    def curvature_rows(self, prediction, batch, *, rows, temperature=1.0):
        return prediction.reshape(prediction.shape[0], -1)[:, :rows]


class LanguageModelingTask(Task):
    """Next-token prediction; the output of a sequence is the sum of its tokens' margins.

    A mapping follows Hugging Face: `labels` (or `input_ids`) are shifted by one, -100 and
    padding (`attention_mask` 0) count for nothing. A pair (tokens, targets) is taken as
    aligned already. A lone tensor of tokens is shifted.

    The weight of a sequence is the mean of 1 - p over its tokens (Park et al. 2023, sec. 5.3).
    """

    name = "language_modeling"
    ignore = -100

    def _tokens(self, prediction, batch):
        """Aligned logits (example, token, vocabulary), targets, and which tokens count."""
        if isinstance(batch, Mapping):
            target = batch.get("labels")
            target = batch["input_ids"] if target is None else target
            if batch.get("attention_mask") is not None:
                target = target.masked_fill(batch["attention_mask"] == 0, self.ignore)
            shifted = True
        else:
            args, _, target = split_batch(batch)
            shifted = target is None
            target = args[0] if shifted else target
        if shifted:
            prediction, target = prediction[:, :-1], target[:, 1:]
        counts = target != self.ignore
        return prediction, target.masked_fill(~counts, 0).long(), counts

    def check(self, prediction, batch) -> None:
        if prediction.ndim != 3:
            raise DataError(
                f"Language modelling expects logits of shape (example, token, vocabulary); "
                f"the model gave {tuple(prediction.shape)}."
            )
        logits, target, _ = self._tokens(prediction, batch)
        if target.numel() and (target.max() >= logits.shape[-1] or target.min() < 0):
            raise DataError(
                f"Tokens run from {int(target.min())} to {int(target.max())}, but the model "
                f"has a vocabulary of {logits.shape[-1]}."
            )

    def output(self, prediction, batch):
        logits, target, counts = self._tokens(prediction, batch)
        return (margin(logits, target) * counts).sum(-1)

    def loss(self, prediction, batch):
        logits, target, counts = self._tokens(prediction, batch)
        nats = -logits.log_softmax(-1).gather(-1, target[..., None])[..., 0]
        return (nats * counts).sum(-1)

    def weight(self, prediction, batch):
        logits, target, counts = self._tokens(prediction.detach(), batch)
        # sigmoid of a margin keeps its digits where 1 - p would not, so float32 is enough
        wide = torch.promote_types(logits.dtype, torch.float32)
        doubt = torch.sigmoid(-margin(logits.to(wide), target).double()) * counts
        return doubt.sum(-1) / counts.sum(-1).clamp(min=1)

    def curvature_rows(self, prediction, batch, *, rows, temperature=1.0):
        """Monte Carlo: log-probabilities of tokens drawn from the model, over sqrt(rows).

        The numbers that draw them depend on position and row alone, so rows depend neither
        on the batch nor on chance.
        """
        logits, _, counts = self._tokens(prediction, batch)
        log_p = (logits * temperature).log_softmax(-1)
        edges = log_p.detach().double().exp().cumsum(-1)
        position = torch.arange(1, counts.shape[1] + 1, device=logits.device).double()
        scalars = []
        for row in range(rows):
            u = torch.frac(position * 0.6180339887498949 + (row + 1) * 0.4142135623730951)
            drawn = (edges < (u * edges[..., -1])[..., None]).sum(-1).clamp(max=log_p.shape[-1] - 1)
            nats = log_p.gather(-1, drawn[..., None])[..., 0]
            scalars.append((nats * counts).sum(-1) / (temperature * rows**0.5))
        return torch.stack(scalars, -1)


class CustomTask(Task):
    """Your own output, loss and weight, each a function of (prediction, batch).

    Parameters
    ----------
    output : callable
        Returns what is attributed, shape (example,).
    loss : callable, optional
        Returns the training loss, shape (example,); needed by influence functions and TracIn.
    weight : callable, optional
        Returns -d loss / d output. Left out, TRAK scores are not weighted (weight 1).
    predict : callable, optional
        `predict(model, batch)`, where the model is not called as `model(*inputs)`.
    """

    def __init__(self, output, loss=None, weight=None, predict=None, name="custom"):
        self._output, self._loss, self._weight, self._predict = output, loss, weight, predict
        self.name = name

    def predict(self, model, batch):
        return self._predict(model, batch) if self._predict else super().predict(model, batch)

    def output(self, prediction, batch):
        return self._output(prediction, batch)

    def loss(self, prediction, batch):
        if self._loss is None:
            raise SettingError(f"The task {self.name!r} has no loss; give CustomTask(loss=...).")
        return self._loss(prediction, batch)

    def weight(self, prediction, batch):
        if self._weight is None:
            return torch.ones_like(self.output(prediction, batch).detach()).double()
        return self._weight(prediction, batch).detach().double()


TASKS: dict[str, type[Task]] = {
    "classification": ClassificationTask,
    "image_classification": ClassificationTask,
    "iterative_image_classification": ClassificationTask,
    "text_classification": ClassificationTask,
    "regression": RegressionTask,
    "language_modeling": LanguageModelingTask,
}


def as_task(task) -> Task:
    """A task by name, a task object, or a pair (loss, output) of functions."""
    if isinstance(task, Task):
        return task
    if isinstance(task, str) and task in TASKS:
        return TASKS[task]()
    if task == "clip":
        from .clip_task import CLIPPairsTask  # built on this module

        return CLIPPairsTask()
    if isinstance(task, tuple) and len(task) == 2 and all(map(callable, task)):
        return CustomTask(loss=task[0], output=task[1])
    raise SettingError(
        f"No task {task!r}; there are {', '.join(sorted([*TASKS, 'clip']))}. "
        f"Or pass a Task object, or a pair (loss, output) of functions of (prediction, batch)."
    )
