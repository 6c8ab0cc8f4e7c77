"""`Step`: the examples in one optimizer step, each with its pass, its process and its weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np


@dataclass
class Step:
    """One optimizer step.

    Attributes
    ----------
    passes : list of int array
        The ids of each batch, in the order in which one process would have seen them.
    rates : list of float
        The learning rate of each parameter group.
    micro, rank : list of int
        Of each pass: its place in its own process, and that process.
    weights : float array, shape (slot,), or None
        The weight of each slot in the step's loss, 1 for the mean over the slots; None where it
        was not found.
    turns : list of int, or None
        Which of several optimizers stepped.
    """

    passes: list[np.ndarray]
    rates: list[float]
    micro: list[int] = field(default_factory=list)
    rank: list[int] = field(default_factory=list)
    weights: np.ndarray | None = None
    turns: list[int] | None = None

    @property
    def ids(self) -> np.ndarray:
        """Who is in the step, one a slot; an example that is shown twice has two."""
        return np.concatenate(self.passes) if self.passes else np.empty(0, dtype=np.int64)

    @property
    def places(self) -> list[int]:
        """The place of each pass in its own process."""
        return self.micro or list(range(len(self.passes)))

    @property
    def n_passes(self) -> int:
        """Into how many batches the examples of the step were divided in one process."""
        return len(set(self.places))

    @property
    def even(self) -> bool:
        """Whether the mean over its passes of their means is the mean over its slots."""
        return self.n_passes <= 1 and len({len(ids) for ids in self.passes}) <= 1

    def by_slot(self, values: Sequence[int]) -> np.ndarray:
        """What is said of each pass, said of each slot of it."""
        return np.repeat(np.asarray(values, dtype=np.int64), [len(ids) for ids in self.passes])


def plain(steps: Sequence[Step], first: int, weights: Mapping[int, np.ndarray]) -> list[dict]:
    """Steps of one process as plain data, with the weights that it found.

    Parameters
    ----------
    first : the number of the first of the steps
    weights : step -> float array, shape (slot,)
        As the process sees them: 1 for the mean over its own slots.
    """
    return [asdict(step) | {"weights": weights.get(first + k)} for k, step in enumerate(steps)]


def joined(parts: Sequence[Sequence[dict]]) -> list[Step]:
    """The steps of all processes as steps of one training, by the mean of their gradients.

    Slots are in the order of (micro-batch, process, place). The training's gradient is the mean
    of what each process has, so a slot weighs what it does there, divided by their number.

    Parameters
    ----------
    parts : for each process its steps as `plain` gives them
    """
    world = len(parts)
    steps = []
    for k in range(max(map(len, parts))):
        own = [(rank, part[k]) for rank, part in enumerate(parts) if k < len(part)]
        places = sorted((m, rank) for rank, step in own for m in range(len(step["passes"])))
        there = dict(own)
        step = Step(
            [np.asarray(there[rank]["passes"][m], dtype=np.int64) for m, rank in places],
            there[0]["rates"] if 0 in there else own[0][1]["rates"],
            [m for m, _ in places],
            [rank for _, rank in places],
        )
        step.turns = own[0][1]["turns"]
        if all(_known(one) for _, one in own):
            shares = {rank: _shares(one, world) for rank, one in own}
            step.weights = np.concatenate([shares[rank][m] for m, rank in places]) * len(step.ids)
        steps.append(step)
    return steps


def _known(step: dict) -> bool:
    """Whether the weight of every slot was found."""
    slots = sum(map(len, step["passes"]))
    return step["weights"] is not None and len(step["weights"]) == slots > 0


def _shares(step: dict, world: int) -> list[np.ndarray]:
    """For each pass the share of its slots in the loss of the training's step."""
    sizes = [len(ids) for ids in step["passes"]]
    raw = np.asarray(step["weights"], dtype=np.float64) / sum(sizes) / world
    return np.split(raw, np.cumsum(sizes)[:-1])
