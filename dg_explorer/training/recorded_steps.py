"""`RecordedSteps`: what the record says of each step, and how the optimizer was set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..arguments import Brief
from ..checkpoints.several import Several
from ..errors import DGExplorerError
from .loss.trained_loss import ROUNDED, TrainedLossError
from .precision import Draws, Precisions
from .step.by_hand import UnsupportedOptimizerError
from .step.choose import makers_of
from .step.clipping import Clipping

REMAINING = (
    "Methods that look at one checkpoint at a time (trak, influence, tracin, gradient "
    "similarity) work on this run."
)


@dataclass(frozen=True)
class RecordedRates:
    """The learning rate of each step as it was recorded, one or one a group; can be pickled."""

    rates: np.ndarray

    def __call__(self, step: int, n_steps: int) -> float | list[float]:
        return self.rates[step].tolist()


class ReplayMissingError(DGExplorerError, ValueError):
    """The record lacks something without which the training cannot be run again."""


class OptimizerStateMissingError(ReplayMissingError):
    """What the optimizer remembered is not in the record."""


@dataclass(frozen=True, repr=False)
class RecordedSteps(Brief):
    """Each step of a recorded training.

    Attributes
    ----------
    batches : list of int array
        Positions of the examples of each step in the training set, in the order they came.
    weights : list of float64 array, or None
        The weight of each slot, 1 for the mean over the step's slots; None where all are 1.
    rates : float64 array, shape (step, group)
    micro : list of int array, or None
        Which batch of its step each slot came in, where several were added up; None for one each.
    counts : float array, shape (train,), or None
        Trained labels of each example, where they have several.
    rules : list of str
        Which of `WEIGHT_RULES` give all weights.
    draws : Draws or None
        Where the generator stood at each pass, of a model with dropout.
    resting : list of str
        Layers that were in eval mode as the model trained: batch norms, dropouts.
    precisions : Precisions or None
        Which autocast was in force at each pass; None where there was none at all.
    module : str
        Where the optimizer's class is from; of several one after another, " and " between.
    clip : Clipping or None
        What a trainer did to the gradients.
    kinds : list of (str, int)
        The class of each optimizer, and how many of the groups are its own.
    turns : bool array, shape (step, optimizer), or None
        Which optimizers stepped, where not all of them did at each step.
    optimizer, module : str
        Its class, and where that is defined; "" in records that do not say it.
    groups : list of dict
        The settings of each parameter group, with the `names` of its parameters.
    torch, threads : what the training ran with
    ids : int array, shape (train,)
        Who stands at each position.
    trainer : dict
        What `TrainerFacts` told; empty of a loop of one's own.
    cut : bool
        Whether each batch was padded to its longest example and no wider.
    """

    batches: list[np.ndarray]
    weights: list[np.ndarray] | None
    micro: list[np.ndarray] | None
    counts: np.ndarray | None
    rules: list[str]
    draws: Draws | None
    precisions: Precisions | None
    clip: Clipping | None
    rates: np.ndarray
    kinds: list[tuple[str, int]]
    turns: np.ndarray | None
    groups: list[dict]
    torch: str
    threads: int
    ids: np.ndarray
    resting: list[str] = field(default_factory=list)
    module: str = "torch.optim"
    trainer: dict = field(default_factory=dict)
    cut: bool = False

    def __len__(self) -> int:
        return len(self.batches)

    @property
    def optimizer(self) -> str:
        """The class of the optimizer, or those of several."""
        return " and ".join(kind for kind, _ in self.kinds)

    @property
    def trained(self) -> frozenset[str]:
        """Names of the parameters that the optimizer moved."""
        return frozenset(n for group in self.groups for n in _moved(group))

    def trained_by_each(self) -> list[list[str]]:
        """Names of the parameters that each optimizer moved."""
        groups = iter(self.groups)
        return [[n for _ in range(k) for n in _moved(next(groups))] for _, k in self.kinds]

    def turn(self, step: int) -> Sequence[bool]:
        """Which optimizers step at a step."""
        return [True] * len(self.kinds) if self.turns is None else self.turns[step].tolist()

    def of_trained(self, optimizer: dict) -> dict:
        """A recorded state for the optimizer of `optimizer_for`, which holds nothing frozen."""
        groups, state = [], {}
        for group, own in zip(optimizer["param_groups"], self.groups, strict=True):
            moved, first = set(_moved(own)), sum(len(g["params"]) for g in groups)
            kept = [i for i, n in zip(group["params"], own["names"], strict=True) if n in moved]
            places = list(range(first, first + len(kept)))
            state |= {
                new: optimizer["state"][old]
                for new, old in zip(places, kept, strict=True)
                if old in optimizer["state"]
            }
            groups.append({**group, "params": places})
        return {**optimizer, "state": state, "param_groups": groups}

    def optimizer_for(self, model, make=None) -> Any:
        """The optimizer as it was set, for the parameters of a model; of several, `Several`.

        Parameters
        ----------
        make : class or callable ``parameter groups -> optimizer``, optional
            For an optimizer that is none of torch's; the groups hold the recorded settings. Of
            several optimizers a list, with None for those of torch.

        Raises
        ------
        UnsupportedOptimizerError
            It is none of torch's and not given, or it is one through which no derivative goes.
        """
        makers = makers_of([kind for kind, _ in self.kinds], make, self.module.split(" and "))
        parameters, made, first = dict(model.named_parameters()), [], 0
        for (kind, n), maker in zip(self.kinds, makers, strict=True):
            groups = [self._group(i, parameters, model) for i in range(first, first + n)]
            first += n
            optimizer = maker(groups)
            if type(optimizer).__name__ != kind:
                raise UnsupportedOptimizerError(
                    f"optimizer= makes {type(optimizer).__name__}; this training was stepped by "
                    f"{kind}."
                )
            if callable(getattr(optimizer, "train", None)):  # schedule-free ones wait for it
                optimizer.train()
            made.append(optimizer)
        return made[0] if len(made) == 1 else Several(made)

    def _group(self, i: int, parameters: dict, model) -> dict:
        """A parameter group as it was set, at the largest rate of its schedule."""
        group = self.groups[i]
        settings = {k: tuple(v) if isinstance(v, list) else v for k, v in group.items()}
        names = _moved(group)
        for name in ("names", "n_parameters", "frozen"):
            settings.pop(name, None)
        unknown = [name for name in names if name not in parameters]
        if unknown:
            raise ReplayMissingError(
                f"The optimizer held {unknown[0] or 'a parameter'!r}, which this "
                f"{type(model).__name__} does not have. Give the model that was trained."
            )
        rate = float(np.nanmax(self.rates[:, i]))
        return {"params": [parameters[n] for n in names], **settings, "lr": rate}


def recorded_steps(run, train_ids: np.ndarray, labels: np.ndarray, names: Sequence[str]):
    """Read the replay log of a run.

    Parameters
    ----------
    train_ids, labels : arrays, shape (train,)
        Of the training set as it is given now.
    names : list of str
        The optimizer's parameters in its own order, for records that do not name them by group.

    Raises
    ------
    ReplayMissingError
        There is no log, it lacks something, or an example is not in the training set.
    TrainedLossError
        The weights of the examples follow the model's answers.
    """
    log = _log(run)
    batches = _positions(log["train_id"].values, train_ids)
    micro = _micro(log, batches)
    trainer = json.loads(log.attrs.get("trainer", "{}"))
    columns = ["learning_rate"]
    columns += [f"learning_rate_{i}" for i in range(1, len(log.data_vars))]
    rates = np.stack([log[name].values for name in columns if name in log], axis=1)
    groups = json.loads(log.attrs["settings"])
    first = 0
    for group in groups:
        group.setdefault("names", list(names[first : first + group["n_parameters"]]))
        first += group["n_parameters"]
    told = json.loads(log.attrs.get("optimizers", "[]"))
    kinds = [(str(kind), int(n)) for kind, n in told] or [(log.attrs["optimizer"], len(groups))]
    return RecordedSteps(
        batches=batches,
        weights=_weights(log, batches, labels, micro),
        micro=micro,
        counts=_counts(log, batches, len(train_ids)),
        rules=json.loads(log.attrs.get("weight_rules", "[]")),
        draws=_draws(log),
        precisions=_precisions(log),
        clip=Clipping(**trainer["clip"]) if trainer.get("clip") else None,
        rates=rates,
        kinds=kinds,
        turns=_turns(log, len(kinds)),
        groups=groups,
        torch=log.attrs.get("torch", "?"),
        threads=int(log.attrs.get("threads", 0)),
        ids=np.asarray(train_ids),
        resting=json.loads(log.attrs.get("resting", "[]")),
        module=log.attrs.get("optimizer_module", "torch.optim"),
        trainer=trainer,
        cut=bool(log.attrs.get("cut", False)),
    )


def steps_at_epochs(run) -> dict[int, int]:
    """How many steps had been taken at each recorded epoch."""
    metrics = run["metrics"]
    if "steps_taken" not in metrics:
        raise ReplayMissingError(
            f"The record does not say how many steps each epoch took. {REMAINING}"
        )
    column = metrics["steps_taken"].dropna("epoch")
    return {int(e): int(s) for e, s in zip(column["epoch"].values, column.values, strict=True)}


def _log(run):
    if "replay" not in run:
        raise ReplayMissingError(
            "This run holds no order of its examples, so its training cannot be taken again: "
            f"record with Recorder(..., replay=True). {REMAINING}"
        )
    log = run["replay"].load()
    missing = json.loads(log.attrs.get("missing", "[]"))
    taken, known = max(steps_at_epochs(run).values(), default=0), log.sizes["step"]
    if known < taken:
        missing.append(f"steps {known} to {taken - 1}, recorded without replay=True")
    if missing:
        raise ReplayMissingError(
            f"An exact replay of this run is impossible; it lacks {'; '.join(missing)}. {REMAINING}"
        )
    return log


def _positions(ids: np.ndarray, train_ids: np.ndarray) -> list[np.ndarray]:
    by_id = np.argsort(train_ids)
    order = []
    for row in ids:
        row = row[row >= 0]
        at = np.searchsorted(train_ids, row, sorter=by_id).clip(max=len(train_ids) - 1)
        positions = by_id[at]
        unknown = row[train_ids[positions] != row]
        if len(unknown):
            raise ReplayMissingError(
                f"The run was trained on example {unknown[0]}, which the given training set does "
                "not have. Give the set it was trained on, with its ids (with_ids)."
            )
        order.append(positions)
    return order


def _draws(log) -> Draws | None:
    if "random" not in log:
        return None
    states = [json.loads(text) for text in log["random"].values]
    return Draws(states, cut=bool(log.attrs.get("cut", False)))


def _moved(group: dict) -> list[str]:
    """The parameters of a group that were not frozen."""
    frozen = set(group.get("frozen", ()))
    return [name for name in group["names"] if name not in frozen]


def _micro(log, batches) -> list[np.ndarray] | None:
    """The batch of each slot, numbered in its step; each process has batches of its own."""
    names = [name for name in ("micro", "rank") if name in log]
    if not names:
        return None
    tables = [np.nan_to_num(log[name].values, nan=0.0).astype(np.int64) for name in names]
    found = []
    for k, batch in enumerate(batches):
        rows = np.stack([table[k, : len(batch)].clip(min=0) for table in tables])
        found.append(np.unique(rows, axis=1, return_inverse=True)[1].reshape(-1))
    return found if any(row.any() for row in found) else None


def _precisions(log) -> Precisions | None:
    if "autocast" not in log:
        return None
    # before the first step under autocast there was nothing to write down
    return Precisions([s if isinstance(s, str) else "" for s in log["autocast"].values])


def _turns(log, n: int) -> np.ndarray | None:
    """Which of n optimizers stepped at each step; None where all always did."""
    names = ["stepped", *(f"stepped_{k}" for k in range(1, n))]
    if n == 1 or any(name not in log for name in names):
        return None
    turns = np.stack([log[name].values for name in names], axis=1).astype(bool)
    return None if turns.all() else turns


def _counts(log, batches, n_train: int) -> np.ndarray | None:
    if "n_trained" not in log:
        return None
    counts = np.ones(n_train)
    for row, batch in zip(log["n_trained"].values, batches, strict=True):
        counts[batch] = row[: len(batch)]
    return counts


def _weights(log, batches, labels, micro) -> list[np.ndarray] | None:
    """The weight of each slot, 1 for the mean; refused where it follows the answers."""
    if "weight" not in log:
        return None
    found = []
    for row, batch in zip(log["weight"].values, batches, strict=True):
        own = row[: len(batch)].astype(np.float64) * len(batch)
        found.append(np.where(np.isnan(own), 1.0, own))
    if all(np.allclose(own, 1.0, atol=1e-5) for own in found):
        return None
    keys = [batches] if labels.ndim > 1 else [[labels[b] for b in batches], batches]
    fits = [_by_key_and_batch(found, key, micro) for key in keys]
    rounded = "autocast" in log
    room = ROUNDED if rounded else 1e-3
    if rounded and not json.loads(log.attrs.get("weight_rules", "[]")):
        # what bfloat16 blurs in each step is steadier over all of them
        found = next((fitted for spread, fitted in fits if spread <= room), found)
    spread = min(spread for spread, _ in fits)
    if spread > room:
        raise TrainedLossError(
            "The weights of the examples in the trained loss change from step to step (by "
            f"{spread:.0%}) beyond what their label or themselves decide: they follow the model's "
            "answers, so the loss is another one (a focal loss, a curriculum), and a derivative "
            f"with fixed weights would be wrong. {REMAINING}"
        )
    return found


def _by_key_and_batch(
    weights: list[np.ndarray], keys: list[np.ndarray], micro
) -> tuple[float, list[np.ndarray]]:
    """The nearest weights that are a number of each key times one of each batch, and how far."""
    steps = np.repeat(np.arange(len(weights)), [len(w) for w in weights])
    if micro is not None:
        both = np.stack([steps, np.concatenate(micro)])
        steps = np.unique(both, axis=1, return_inverse=True)[1].reshape(-1)
    values, of = np.concatenate(weights), np.concatenate(keys)
    there = values > 0
    if not there.any() or (values < 0).any():
        return float("inf"), weights
    steps, logs = steps[there], np.log(values[there])
    place = np.unique(of[there], return_inverse=True)[1]
    by_key, by_step = np.zeros(place.max() + 1), np.zeros(0)
    for _ in range(50):
        by_step = _mean_by(steps, logs - by_key[place])
        by_key = _mean_by(place, logs - by_step[steps])
    fitted = by_key[place] + by_step[steps]
    nearest = np.zeros(len(values))
    nearest[there] = np.exp(fitted)
    cuts = np.cumsum([len(w) for w in weights])[:-1]
    return float(np.abs(logs - fitted).max()), np.split(nearest, cuts)


def _mean_by(groups: np.ndarray, values: np.ndarray) -> np.ndarray:
    n = groups.max() + 1
    return np.bincount(groups, values, n) / np.maximum(np.bincount(groups, minlength=n), 1)
