"""A training run as a function: where it starts, what it sees in which order, how it steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from ..arguments import Brief, Ids
from ..errors import SettingError
from .flat_model import FlatModel
from .loss.known_losses import cross_entropy
from .loss.trained_loss import Denominators
from .own_steps import OwnSteps
from .precision import Draws
from .proof_table import ReplayProof
from .step.by_hand import OptimizerSettings
from .step.generic import OptimizerStep

_MADE: Any = None  # a field that `Training.__post_init__` fills in


def margin(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The log-odds log p/(1-p) of the right class, shape (example,), in nats.

    Computed from the logits, since 1 - p is 0 in float32 for a model that has learned well.
    """
    right = logits.gather(-1, labels[..., None]).squeeze(-1)
    # Setting an entry to -inf in place would break nested transforms; a mask does not.
    is_right = torch.arange(logits.shape[-1], device=logits.device) == labels[..., None]
    others = logits.masked_fill(is_right, -torch.inf).logsumexp(-1)
    return right - others


def _check_parts(training: Training) -> None:
    """Raise `SettingError` where a part of a training is of another kind than it must be."""

    def whole(value) -> bool:
        return isinstance(value, (int, np.integer)) and not isinstance(value, bool)

    epochs = training.record_at
    listed = isinstance(epochs, (Sequence, np.ndarray)) and not isinstance(epochs, str)
    wanted = {
        "model": (callable(training.model), "a function of a seed that returns a new model"),
        "optimizer": (hasattr(training.optimizer, "initial_state"), "OptimizerSettings or a step"),
        "n_epochs": (
            whole(training.n_epochs) and training.n_epochs >= 0,
            "a whole number, 0 or more",
        ),
        "batch_size": (
            training.batch_size is None or (whole(training.batch_size) and training.batch_size > 0),
            "a whole number from 1, or None for full batches",
        ),
        "order": (
            training.order is None or hasattr(training.order, "__len__"),
            "the batches of each epoch, each an array of positions",
        ),
        "record_at": (
            epochs is None or (listed and all(whole(epoch) for epoch in epochs)),
            "epochs, whole numbers",
        ),
        "loss": (callable(training.loss), "a function of answers and labels"),
        "output": (callable(training.output), "a function of answers and labels"),
        "seed": (whole(training.seed) and training.seed >= 0, "a whole number, 0 or more"),
        "labels_of_epochs": (isinstance(training.labels_of_epochs, Mapping), "a mapping"),
        "weights": (
            training.weights is None or torch.is_tensor(training.weights),
            "a tensor, one weight a training example",
        ),
        "slot_weights": (
            training.slot_weights is None or hasattr(training.slot_weights, "__len__"),
            "one array of weights a step",
        ),
    }
    for name in ("inputs", "labels", "test_inputs", "test_labels"):
        value = getattr(training, name)
        wanted[name] = torch.is_tensor(value) and value.ndim > 0, "a tensor, one row an example"
    for name, (fine, words) in wanted.items():
        if not fine:
            value = getattr(training, name)
            raise SettingError(f"Training({name}=...) must be {words}, not {str(value)[:60]!r}.")


@dataclass(frozen=True, kw_only=True, repr=False)
class Training(Brief):
    """Everything that determines a trained model, but for the weight of each example.

    The loss of a step is ``sum(weight * loss) / batch size``: an example of weight 0 is left
    out, while the others keep their share.

    Parameters
    ----------
    model : callable ``seed -> nn.Module``
        The model at its starting point. A model without running statistics or active dropout.
    inputs, labels : Tensor, shape (train, ...) and (train,)
    test_inputs, test_labels : Tensor, shape (test, ...) and (test,)
    optimizer : OptimizerSettings or OptimizerStep
        See `step_from_torch`, which makes one from any torch optimizers.
    n_epochs : int
    batch_size : int or None
        None trains on all examples at every step: then an epoch is a step.
    order : sequence over epochs of sequences of int arrays, optional
        Positions of the examples of each batch, as recorded. Without it every epoch is a
        permutation drawn from (seed, epoch).
    record_at : sequence of int
        Epochs at which outputs are taken; 0 is the starting point. Default: the last.
    loss, output : callable ``(logits, labels) -> (example,)``
    train_ids, test_ids : int array, optional
        Example ids; default 0, 1, ...
    labels_of_epochs : mapping, optional
        What an epoch of this training is called in the record, where it is called otherwise.
    weights : Tensor, shape (train,), optional
        Weight of each example in the loss, about which derivatives are taken. Default 1.
    slot_weights : sequence over steps of float arrays, optional
        The weight that the trained loss itself gives to each slot of `order`, 1 for the mean over
        the step (class weights, uneven accumulation). Default 1.
    denominators : Denominators, optional
        By what the loss of a step is divided, where that is not the number of its examples.
    carried : set of str, optional
        Names of the parameters that train; the others stand still and are no part of the state.
        Default: all.
    draws : Draws, optional
        The random numbers of each pass, of a recorded model with dropout.
    mixed : str
        In which half precision the recorded steps were taken ("bfloat16 by autocast"). Derivatives
        are those of single precision at the weights that they went through.
    one_start : bool
        The start and the order are those of a record: there is no other seed.
    own : OwnSteps, optional
        Takes the steps by the model's own modules, to the bit; see `training_of_run`.
    proof : ReplayProof, optional
        How much of the replay was compared with the record.
    """

    model: Callable[[int], nn.Module]
    inputs: torch.Tensor
    labels: torch.Tensor
    test_inputs: torch.Tensor
    test_labels: torch.Tensor
    optimizer: OptimizerSettings | OptimizerStep
    n_epochs: int
    batch_size: int | None = None
    order: Sequence[Sequence[np.ndarray]] | None = None
    record_at: Ids = _MADE
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = cross_entropy
    output: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = margin
    train_ids: np.ndarray = _MADE
    test_ids: np.ndarray = _MADE
    seed: int = 0
    labels_of_epochs: Mapping[int, int] = field(default_factory=dict)
    weights: torch.Tensor | None = None
    slot_weights: Sequence[np.ndarray] | None = None
    denominators: Denominators | None = None
    carried: frozenset[str] | None = None
    draws: Draws | None = None
    mixed: str = ""
    one_start: bool = False
    own: OwnSteps | None = None
    proof: ReplayProof | None = None

    def __post_init__(self) -> None:
        _check_parts(self)
        if self.order is not None and len(self.order) < self.n_epochs:
            raise SettingError(
                f"The batches of {len(self.order)} epochs were given for {self.n_epochs}."
            )
        for name, n in (("train", len(self.inputs)), ("test", len(self.test_inputs))):
            ids = getattr(self, f"{name}_ids")
            ids = np.arange(n) if ids is None else np.asarray(ids)
            if len(ids) != n:
                raise SettingError(f"{len(ids)} {name} ids were given for {n} examples.")
            object.__setattr__(self, f"{name}_ids", ids)
        if self.record_at is None:
            object.__setattr__(self, "record_at", (self.n_epochs,))
        late = [epoch for epoch in self.record_at if not 0 <= epoch <= self.n_epochs]
        if late:
            raise SettingError(f"Epochs {late} are outside the {self.n_epochs} of this training.")

    @property
    def n_train(self) -> int:
        """Number of training examples."""
        return len(self.inputs)

    def recorded_epochs(self) -> np.ndarray:
        """The epochs of ``record_at`` as the record calls them, in ascending order."""
        return self.recorded_as(sorted(self.record_at))

    def recorded_as(self, epochs: Ids) -> np.ndarray:
        """Epochs of this training as the record calls them."""
        return np.array([self.labels_of_epochs.get(int(e), int(e)) for e in epochs])

    def counts(self, labels: Ids) -> np.ndarray:
        """Epochs as the record calls them, counted from the start of this training."""
        back = {label: epoch for epoch, label in self.labels_of_epochs.items()}
        return np.array([back.get(int(label), int(label)) for label in labels], dtype=int)

    def with_changes(self, **changes) -> Training:
        """The same training but for the given fields.

        One that steps otherwise is not the recorded training any more, nor is it proved.
        """
        if set(changes) - {"record_at", "output", "test_inputs", "test_labels", "test_ids"}:
            changes = {"own": None, "proof": None, "draws": None} | changes
        return replace(self, **changes)

    def in_dtype(self, dtype: torch.dtype) -> Training:
        """The same training with model, weights and real-valued data in another precision."""

        def cast(tensor):
            if tensor is None or not tensor.is_floating_point():
                return tensor
            return tensor.to(dtype)

        names = ("inputs", "labels", "test_inputs", "test_labels", "weights")
        data = {name: cast(getattr(self, name)) for name in names}
        return self.with_changes(
            model=lambda seed: self.model(seed).to(dtype), draws=self.draws, **data
        )

    def slot_weight(self, step: int) -> torch.Tensor | None:
        """Weight of each slot of a step in the trained loss; None where all are 1."""
        if self.slot_weights is None:
            return None
        dtype = self.inputs.dtype if self.inputs.is_floating_point() else torch.float32
        return torch.as_tensor(self.slot_weights[step], dtype=dtype)

    def examples(self, batch: torch.Tensor | None) -> tuple:
        """Inputs, labels and weights (None for all 1) of a batch; of all examples for None."""
        parts = (self.inputs, self.labels, self.weights)
        if batch is None:
            return parts
        return tuple(None if part is None else part[batch] for part in parts)

    def batches(self, epoch: int, seed: int | None = None) -> list[np.ndarray] | None:
        """Positions of the examples in each batch of an epoch; None for all at once."""
        if self.order is not None:
            return [np.asarray(batch) for batch in self.order[epoch]]
        if self.batch_size is None:
            return None
        return shuffled_batches(
            self.n_train, self.batch_size, self.seed if seed is None else seed, epoch
        )

    def steps(self, seed: int | None = None) -> Iterator[tuple[int, torch.Tensor | None]]:
        """Each update of the training: its epoch and its batch (None for all examples)."""
        for epoch in range(self.n_epochs):
            for batch in self.batches(epoch, seed) or [None]:
                yield epoch, None if batch is None else torch.as_tensor(batch)

    def start(self, seed: int | None = None) -> FlatModel:
        """The model at its starting point, as a function of one vector.

        Raises
        ------
        SettingError
            Another seed is asked for than a record holds.
        """
        if self.one_start and seed not in (None, self.seed):
            raise SettingError(
                f"Seed {seed} was asked for, but this training comes from a record, which holds "
                f"one start only. Leave seeds out, or pass a function (kept, seed) -> outputs that "
                f"trains from a new start."
            )
        module = self.model(self.seed if seed is None else seed)
        return FlatModel(module, self.carried, drops=self.draws is not None)

    def at_rest(self) -> FlatModel:
        """The model at its starting point as it is evaluated: without dropout."""
        return FlatModel(self.model(self.seed).eval(), self.carried)

    def passes(self, step: int) -> list[torch.Tensor]:
        """Which slots of a step came in each of its batches."""
        micro = None if self.denominators is None else self.denominators.micro
        if micro is None:
            batch = list(self.steps())[step][1]
            return [torch.arange(self.n_train if batch is None else len(batch))]
        return [torch.as_tensor(np.flatnonzero(micro[step] == k)) for k in np.unique(micro[step])]


def shuffled_batches(n: int, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """A permutation of n examples drawn from (seed, epoch), cut into batches."""
    order = np.random.default_rng([seed, epoch]).permutation(n)
    return [order[start : start + batch_size] for start in range(0, n, batch_size)]
