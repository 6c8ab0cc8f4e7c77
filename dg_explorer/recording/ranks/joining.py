"""Do the parts of several processes belong together, and from which of them is a checkpoint?"""

from __future__ import annotations

import numpy as np

from ...checkpoints.store import Checkpoint
from ...errors import CheckpointError, RunError
from .processes import Processes

# weights that all processes are given are the same to the last bit; sums of them may be rounded
SAME = 1e-6


def check_parts(parts: list[dict]) -> list[str]:
    """Raise where the parts are not of one training; return what a replay lacks by them.

    Raises
    ------
    RunError
        Processes are at different epochs, have different weights, or gave no batch while others
        did; says which.
    """
    epochs = [part["epoch"] for part in parts]
    if len(set(epochs)) > 1:
        raise RunError(
            f"The processes record different epochs: {_by_rank(epochs)}. Every process calls "
            f"rec.epoch with the same number."
        )
    first = parts[0].get("weights")
    for rank, part in enumerate(parts):
        own = part.get("weights")
        if own is None or first is None:
            continue
        if not np.allclose(own, first, rtol=SAME, atol=SAME, equal_nan=True):
            raise RunError(
                f"Process (rank) {rank} has other weights than the first one, so they do not train "
                f"one model. Wrap it in DistributedDataParallel; or record only one process, "
                f"before torch.distributed begins."
            )
    seen = [part["train"]["seen"] for part in parts]
    idle = [r for r, p in enumerate(parts) if not seen[r] and p["steps_taken"]]
    if any(seen) and idle:
        raise RunError(
            f"Process (rank) {idle[0]} took {parts[idle[0]]['steps_taken']} steps and gave no "
            f"batch, and others did: the row would lack its examples. Call rec.batch(logits, "
            f"labels, ids) in every process."
        )
    steps = [part["steps_taken"] for part in parts]
    if len(set(steps)) > 1:
        return [f"the steps of all processes alike: they have taken {_by_rank(steps)}"]
    return []


def check_world(checkpoint: Checkpoint, world: int) -> None:
    """Raise where a checkpoint was written by another number of processes than go on now."""
    before = len(checkpoint.rng_of_ranks or [0])
    if before != world:
        raise CheckpointError(
            f"{_processes(before)} wrote this checkpoint, and {_processes(world).lower()} would go "
            f"on from it, so the random numbers cannot be those that they would have been. "
            f"rec.resume(rng=False) goes on with others."
        )


def checkpoint_for(processes: Processes | None, plain: dict) -> Checkpoint:
    """The checkpoint as one of the processes needs it: with its own random generators."""
    checkpoint = Checkpoint(**plain)
    own = checkpoint.rng_of_ranks
    if processes is not None and own is not None and processes.rank < len(own):
        checkpoint.rng = own[processes.rank]
    return checkpoint


def _processes(n: int) -> str:
    return "One process" if n == 1 else f"{n} processes"


def _by_rank(values: list) -> str:
    return ", ".join(f"{value} (rank {rank})" for rank, value in enumerate(values))
