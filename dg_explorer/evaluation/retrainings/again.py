"""Train again, many models at once: without some examples, or from other starts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
import xarray as xr
from torch import nn
from torch.func import vmap

from ...arguments import REQUIRED, Ids, checked
from ...errors import SettingError
from ...record.run import as_run
from ...training.many import train_many
from ...training.training import Training
from ..settings import check_count, check_given
from .calibration import note_calibrations
from .kept import (
    THIS,
    add_rows,
    check_of_this_run,
    check_start,
    finished,
    kept_retrainings,
    name_of,
    names_of,
)
from .naming import bytes_of, digest_of, name_of_function
from .removals import random_removals, weights_without

Model = Callable[[int], nn.Module]


@checked
def retrain(
    run,
    training: Training = REQUIRED,
    *,
    share: float | Sequence[float] = 0.05,
    n: int = 32,
    start: str = "this",
    starts: int = 8,
    model: Callable[[int], nn.Module] | None = None,
    seed: int = 0,
    models_at_once: int = 64,
    progress: Callable[[int, int], None] | None = None,
    on_result: Callable[[xr.Dataset], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> xr.Dataset:
    """Train again without random examples, and keep every retraining in the run.

    Those that the run has already are not done again; a killed call goes on where it stopped.

    Parameters
    ----------
    run : Run
        Retrainings are kept in it as ``checks/retrainings/<n>``.
    training : Training
        `training_of_run` makes one from a run.
    share : float, or several
        The share of the training examples that each retraining lacks; several take turns.
    n : int
        Removals, beside one retraining that lacks nothing.
    start : "this" or "any"
        From the start of the training itself; or each removal from `starts` other starts, in
        other orders.
    model : callable ``seed -> module``, optional
        Makes other starts, where the training comes from a record and so has one.
    progress : callable ``(done, all)``, optional
    on_result : callable, optional
        Called with the finished retrainings of each batch, after they are kept.
    stop : callable, optional
        Asked before each batch; True ends the call, and what is finished is returned.

    Returns
    -------
    Dataset
        The retrainings asked for, as the run keeps them: ``weight`` (retraining, train), ``output``
        (retraining, epoch, test), ``accuracy`` (retraining, epoch), ``start``, ``why``.
        The attribute `n_diverged` counts those that ended in NaN and are left out. Where the run
        has scores, what they are worth against its retrainings is kept too, as by `calibrate`.

    Raises
    ------
    SettingError
        Other starts are asked for of a training that has one, without `model`.
    """
    run = as_run(run)
    check_given("retrain", training)
    check_start(start)
    n = check_count("n", n)
    weights = random_removals(n, training.train_ids, share, seed=seed)
    weights = np.concatenate([np.ones_like(weights[:1]), weights])
    seeds = [THIS]
    if start == "any":
        seeds = other_seeds(training, check_count("starts", starts))
    jobs = [(row, s) for s in seeds for row in range(len(weights))]
    found = _kept_or_done(
        run,
        training,
        weights[[row for row, _ in jobs]],
        np.array([s for _, s in jobs]),
        model=model,
        models_at_once=models_at_once,
        progress=progress,
        on_result=on_result,
        stop=stop,
    )
    note_calibrations(run, start)
    return found


@checked
def replicate(
    run,
    training: Training = REQUIRED,
    *,
    starts: int = 8,
    model: Callable[[int], nn.Module] | None = None,
    models_at_once: int = 64,
    progress: Callable[[int, int], None] | None = None,
    on_result: Callable[[xr.Dataset], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> xr.Dataset:
    """Train again on the same data from other starts and in other orders.

    What all of them do is due to the data; what one of them does alone is due to its start.

    Parameters
    ----------
    starts : int
    model : callable ``seed -> module``, optional
        A model with other first weights for each seed, such as::

            def model(seed):
                torch.manual_seed(seed)
                return Net()

        Needed where the training comes from a record, which holds one start. The order of its
        batches is then a permutation of the examples in the recorded one.
    models_at_once, progress, on_result, stop : as for `retrain`

    Returns
    -------
    Dataset
        ``output`` (retraining, epoch, test), ``accuracy`` (retraining, epoch) and ``start``
        (retraining), also kept in the run.

    Raises
    ------
    SettingError
        The training has one start and `model` was not given, or gives the same weights for
        every seed.
    """
    run = as_run(run)
    check_given("replicate", training)
    seeds = np.array(other_seeds(training, check_count("starts", starts)))
    return _kept_or_done(
        run,
        training,
        np.ones((len(seeds), training.n_train), np.float32),
        seeds,
        model=model,
        models_at_once=models_at_once,
        progress=progress,
        on_result=on_result,
        stop=stop,
    )


def without(run, training: Training, train: Ids, *, progress=None) -> xr.Dataset:
    """Train again without some examples from the training's own start, once, and keep it."""
    run = as_run(run)
    check_given("what_if(...).retrain", training)
    weights = np.stack(
        [np.ones(training.n_train, np.float32), weights_without(train, training.train_ids)]
    )
    return _kept_or_done(
        run, training, weights, np.full(2, THIS), why=("whole", "asked"), progress=progress
    )


def other_seeds(training: Training, n: int) -> list[int]:
    """Seeds of n starts that are not the training's own."""
    return [seed for seed in range(n + 1) if seed != training.seed][:n]


def _kept_or_done(
    run, training, weights, starts, *, why=None, model=None, on_result=None, **how
) -> xr.Dataset:
    """Retrainings from the record where they are in it, and done where they are not."""
    check_of_this_run(run, training)
    digest, epochs = digest_of(training), training.recorded_epochs()
    begins = {int(s): digest_of_start(training, int(s), model) for s in np.unique(starts)}
    _check_differ(begins)
    names = [name_of(w, begins[int(s)]) for w, s in zip(weights, starts, strict=True)]
    known = finished(run, digest, epochs, training.test_ids)
    todo = [i for i, name in enumerate(names) if name not in known]
    why = [why[i] for i in todo] if why else None
    for rows in train_again(training, weights[todo], starts[todo], why=why, model=model, **how):
        add_rows(run, rows)
        if on_result:
            on_result(rows)
    there = kept_retrainings(run, training=digest, epochs=epochs)
    if there is None:
        raise SettingError("No retraining was finished before it was stopped.")
    wanted = set(names)
    found = [i for i, name in enumerate(names_of(there)) if name in wanted]
    return there.isel(retraining=found)


def outputs_without(
    run, training: Training, weights: np.ndarray, random: Sequence[bool], models_at_once: int
) -> tuple[np.ndarray, np.ndarray]:
    """Output (model, epoch, test) and accuracy (model, epoch) of the run's retrainings.

    Those that the run keeps are read, and the others trained and kept, at all moments that the
    training records. NaN where one diverged.

    Parameters
    ----------
    weights : shape (model, train)
    random : shape (model,)
        Which of them lack examples that were drawn from all.
    """
    weights = np.asarray(weights, np.float32)
    why = [
        "whole" if (row == 1).all() else "random" if drawn else "asked"
        for row, drawn in zip(weights, random, strict=True)
    ]
    starts = np.full(len(weights), THIS)
    found = _kept_or_done(run, training, weights, starts, why=why, models_at_once=models_at_once)
    place = {name: i for i, name in enumerate(names_of(found))}
    shape = len(weights), len(training.recorded_epochs())
    output = np.full((*shape, len(training.test_ids)), np.nan)
    accuracy = np.full(shape, np.nan)
    for row, weight in enumerate(weights):
        if (i := place.get(name_of(weight, "this"))) is not None:
            output[row], accuracy[row] = found["output"].values[i], found["accuracy"].values[i]
    return output, accuracy


def train_again(
    training: Training,
    weights: np.ndarray,
    starts: np.ndarray,
    *,
    why: Sequence[str] | None = None,
    model: Model | None = None,
    models_at_once: int = 64,
    progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] | None = None,
    on_moment: Callable[[float], None] | None = None,
) -> Iterator[xr.Dataset]:
    """Retrain and give the finished ones batch by batch; nothing is written.

    Parameters
    ----------
    weights : shape (retraining, train)
        0 where an example is removed.
    starts : int, shape (retraining,)
        Seed of each; -1 is the start and the order of the training itself.
    why : words, shape (retraining,), optional
        Default "whole" where nothing is removed, else "random".
    on_moment : callable ``(done)``, optional
        Called at each recorded moment with how many are done: a fraction while some are under way.

    Yields
    ------
    Dataset
        As ``checks/retrainings/*``, numbered from 0 in each batch; `add_rows` keeps it.
    """
    weights, starts = np.asarray(weights, np.float32), np.asarray(starts, np.int64)
    default = np.where((weights == 1).all(axis=1), "whole", "random").tolist()
    reasons = default if why is None else list(why)
    digest, done = digest_of(training), 0
    for start in dict.fromkeys(starts.tolist()):
        rows = np.flatnonzero(starts == start)
        begun = from_start(training, start, model)
        begin = digest_of_start(training, start, model)
        for first in range(0, len(rows), models_at_once):
            if stop and stop():
                return
            part = rows[first : first + models_at_once]
            told = {}
            if on_moment:
                each = len(part) / len(training.recorded_epochs())
                told["on_moment"] = partial(_along, on_moment, done, each)
            output, accuracy = outputs_and_accuracy(begun, weights[part], **told)
            done += len(part)
            yield xr.Dataset(
                {
                    "weight": (("retraining", "train"), weights[part]),
                    "output": (("retraining", "epoch", "test"), output.astype(np.float32)),
                    "accuracy": (("retraining", "epoch"), accuracy.astype(np.float32)),
                    "start": ("retraining", starts[part]),
                    "start_digest": ("retraining", np.full(len(part), begin, object)),
                    "why": ("retraining", np.array([reasons[i] for i in part], object)),
                },
                {
                    "retraining": np.arange(len(part)),
                    "train": training.train_ids,
                    "epoch": training.recorded_epochs(),
                    "test": training.test_ids,
                },
                {"training": digest, "output": name_of_function(training.output)},
            )
            if progress:
                progress(done, len(weights))


def _along(on_moment: Callable[[float], None], done: int, each: float, taken: int) -> None:
    on_moment(done + each * taken)


def from_start(training: Training, start: int, model: Model | None = None) -> Training:
    """The same training from another start, and in another order.

    A recorded order is kept in its shape, with the examples permuted: each epoch still takes
    every example as often as it did.

    Raises
    ------
    SettingError
        The training comes from a record, which holds one start, and `model` is not given.
    """
    if start == THIS:
        return training
    if model is None and training.one_start:
        raise SettingError(
            "Other starts were asked for, and this training comes from a record, which holds one "
            "start. Say how another is made: model=make, where make(seed) gives a new model with "
            "other first weights, as in\n"
            "    def make(seed):\n        torch.manual_seed(seed)\n        return Net()"
        )
    changes: dict = {"model": model or training.model, "seed": int(start), "one_start": False}
    # a weight of a slot belongs to its example: what is weighted so keeps its order
    if training.order is not None and training.slot_weights is None:
        place = np.random.default_rng([int(start), training.n_train]).permutation(training.n_train)
        changes["order"] = [[place[np.asarray(b)] for b in epoch] for epoch in training.order]
    return training.with_changes(**changes)


def outputs_and_accuracy(
    training: Training, weights: np.ndarray, on_moment: Callable[[int], None] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Output (model, epoch, test) and test accuracy (model, epoch) of a model for each row.

    Accuracy is NaN where the answers are not those of a classifier.
    """
    flat = training.start()
    outputs, accuracies = [], []

    def one(theta):
        logits = flat(theta, training.test_inputs)
        return training.output(logits, training.test_labels), _accuracy(
            logits, training.test_labels
        )

    def take(_, theta):
        with torch.no_grad():
            output, accuracy = vmap(one)(theta)
        outputs.append(output.double())
        accuracies.append(accuracy.double())
        if on_moment:
            on_moment(len(outputs))

    rows = torch.as_tensor(weights).to(flat.theta.dtype)
    train_many(training, rows, flat.theta.expand(len(rows), -1), on_epoch=take)
    return torch.stack(outputs, 1).cpu().numpy(), torch.stack(accuracies, 1).cpu().numpy()


def _accuracy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    classes = logits.dim() == 2 and labels.dim() == 1 and not labels.is_floating_point()
    if not classes or logits.shape[-1] < 2:
        return logits.new_full((), torch.nan)
    right = (logits.argmax(-1) == labels).to(logits.dtype)
    return right.masked_fill(logits.isnan().any(-1), torch.nan).mean()


def digest_of_start(training: Training, start: int, model: Model | None = None) -> str:
    """A short name of the first weights of a start."""
    if start == THIS:
        return "this"
    begun = from_start(training, start, model)
    return hashlib.sha256(bytes_of(begun.start().theta)).hexdigest()[:24]


def _check_differ(begins: dict[int, str]) -> None:
    if len(set(begins.values())) < len(begins):
        raise SettingError(
            "Two seeds give the same first weights, so they are no two starts. model=make, where "
            "make(seed) begins with torch.manual_seed(seed) and then builds the model."
        )
