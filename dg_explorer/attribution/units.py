"""Units of work: one checkpoint and one block of examples, done here or on any executor.

A unit is a function of its arguments alone. So its result does not depend on where it is done,
and a worker that dies takes one unit with it, which is done again.
"""

from __future__ import annotations

import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor

import numpy as np
import torch

from ..checkpoints.loading import load_into
from ..data.served import Served
from ..errors import DGExplorerError, SettingError
from .attributor.features import GradientFeatures, join_features
from .gradients.watching import whatever_the_caller_does
from .methods.feature_neighbours import RepresentationSimilarityAttributor
from .projections.nystrom import Nystrom
from .queries.query import Questions

BLOCK = 4096  # examples in a unit
AHEAD = 32  # units with the executor at a time: more would hold as many copies of the weights


# threads share the model, and torch's switches between ways to attend
_ONE_AT_A_TIME = threading.RLock()


class WorkerLostError(DGExplorerError, RuntimeError):
    """One unit of work took down several workers."""


class WorkerLostWarning(UserWarning):
    """A pool of processes broke; the rest is done in this process."""


class Unit:
    """One unit: handed to the executor when made, or done here when its result is asked for.

    Parameters
    ----------
    executor : concurrent.futures.Executor, or None for here
    name : what it is, for messages: "epoch 40, train 0-4096"
    function, arguments : what to do; both are pickled for executors in other processes
    """

    def __init__(self, executor, name: str, function: Callable, *arguments):
        self.name, self.function, self.arguments = name, function, arguments
        self.future = self._submitted(executor)

    def _submitted(self, executor):
        if executor is None:
            return None
        try:
            return executor.submit(self.function, *self.arguments)
        except BrokenExecutor:
            return None

    def result(self):
        """What the function returns; done here if the executor can no longer do it.

        Raises
        ------
        WorkerLostError
            The executor started the unit several times and lost each worker.
        SettingError
            The arguments cannot travel to another process.
        """
        if self.future is None:
            return self.function(*self.arguments)
        try:
            return self.future.result()
        except BrokenExecutor:
            # a process pool is beyond repair once one of its processes died
            warnings.warn(
                f"A worker died and its pool with it. {self.name} is done in this process, "
                f"as is everything the pool had not finished.",
                WorkerLostWarning,
                stacklevel=2,
            )
            return self.function(*self.arguments)
        except Exception as error:
            if type(error).__name__ == "KilledWorker":  # of distributed, which may be missing
                raise WorkerLostError(
                    f"{self.name}: every worker that began it died, most likely of too little "
                    f"memory. Lower block_size or batch_size, or give the workers more memory."
                ) from error
            if _cannot_travel(error):
                raise SettingError(
                    f"The executor's processes cannot be sent the model, task or examples "
                    f"({error}). Define their classes and functions in a module, or pass an "
                    f"executor of threads."
                ) from error
            raise


def _cannot_travel(error: Exception) -> bool:
    told = str(error).lower()
    return "pickle" in type(error).__name__.lower() or (
        isinstance(error, (AttributeError, TypeError)) and "pickle" in told
    )


def in_order(jobs: Iterable[Unit], ahead: int) -> Iterator:
    """Results of jobs in their order, with up to `ahead` made before the first is waited for."""
    waiting: deque[Unit] = deque()
    for job in jobs:
        waiting.append(job)
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


# ------------------------------------------------------------------- what a unit does


@whatever_the_caller_does()
def score_checkpoint(attributor, weights: dict, train, test) -> dict[str, np.ndarray]:
    """Scores, weights and damping at one checkpoint, as plain arrays."""
    with _ONE_AT_A_TIME:
        load_into(attributor.model, weights)
        train_features = attributor.compute_train_features(train)
        return _row(attributor, train_features, _features(attributor, "test", test))


@whatever_the_caller_does()
def features_unit(attributor, weights: dict, split: str, data):
    """Features of one block of examples at one checkpoint, on the CPU."""
    with _ONE_AT_A_TIME:
        load_into(attributor.model, weights)
        return _features(attributor, split, data).cpu()


@whatever_the_caller_does()
def scores_unit(attributor, weights: dict, train: list, test: list) -> dict[str, np.ndarray]:
    """The row of one checkpoint from the features of its blocks."""
    with _ONE_AT_A_TIME:
        load_into(attributor.model, weights)
        return _row(attributor, joined_features(train), joined_features(test))


def _features(attributor, split: str, data):
    """Features of training examples, of test examples, or of what is asked in their place."""
    if isinstance(data, Questions):
        return attributor.compute_query_features(data)
    return getattr(attributor, f"compute_{split}_features")(data)


def _row(attributor, train_features, test_features) -> dict[str, np.ndarray]:
    scores = attributor.compute_attributions(train_features, test_features)
    row = {"score": scores.cpu().numpy().astype(np.float32)}
    if attributor.layers_too:
        found = attributor.compute_attributions_by_layer(train_features, test_features)
        row["layer"] = np.array(list(found), dtype=object)
        parts = [each.cpu().numpy().astype(np.float32) for each in found.values()]
        row["by_layer"] = np.stack(parts)
    weight = getattr(attributor, "example_weight", None)
    if weight is not None:
        row["weight"] = weight(train_features).cpu().numpy()
    if attributor.damping_used:
        row["damping"] = np.float64(np.mean(attributor.damping_used))
    agreed = attributor.projection_fidelity(train_features, test_features)
    if agreed is not None:
        row["fidelity"] = np.float64(agreed)
    own = attributor.own_scores(train_features)
    if own is not None:
        row["self_influence"] = own.cpu().numpy().astype(np.float32)
    if isinstance(test_features, GradientFeatures):
        row["value"] = test_features.output.mean(0).numpy()
    return row


# ------------------------------------------------------------------- blocks of examples


def joined_features(parts: list):
    """Features of consecutive blocks as those of the whole."""
    return torch.cat(parts) if torch.is_tensor(parts[0]) else join_features(parts)


def divisible(attributor) -> bool:
    """Whether features of a set of examples are those of its blocks, one after another."""
    if isinstance(attributor, RepresentationSimilarityAttributor):
        return False
    # landmarks are drawn from the whole training set
    return not isinstance(getattr(attributor, "projection", None), Nystrom)


def blocks(data: Served | Questions, block_size: int) -> list:
    """Consecutive blocks of examples, cut between batches; questions stay together.

    Cut there, each batch is the same as without blocks, and so is every bit of its features.
    """
    if isinstance(data, Questions):
        return [data]
    step = data.batch_size * max(1, -(-block_size // data.batch_size))
    if len(data) <= step:
        return [data]
    return [data.part(start, start + step) for start in range(0, len(data), step)]
