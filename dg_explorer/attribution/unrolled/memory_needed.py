"""How much memory an exact derivative through training takes, said before it starts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ...checkpoints.random_state import untouched_rng
from ...errors import DGExplorerError


class TooLittleMemoryError(DGExplorerError, MemoryError):
    """The run does not fit into the memory given, even with one query at a time."""


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes that a sweep would take, and the settings that make it fit.

    Attributes
    ----------
    segment_length : int
        Steps between kept states; 1 keeps them all, and nothing is computed twice.
    queries_at_once : int
        (query, epoch) pairs carried in one sweep.
    directions_at_once : int
        Pairs whose Hessian products are taken in one pass over the examples.
    state_bytes, bytes_per_query, bytes_per_direction, limit : int
    """

    segment_length: int
    queries_at_once: int
    directions_at_once: int
    state_bytes: int
    bytes_per_query: int
    bytes_per_direction: int
    limit: int

    @property
    def total(self) -> int:
        """Estimated peak over the model and the data, in bytes."""
        queries = self.queries_at_once * self.bytes_per_query
        return self.state_bytes + queries + self.directions_at_once * self.bytes_per_direction

    def check(self) -> None:
        """Raise `TooLittleMemoryError` if it does not fit."""
        if self.total > self.limit:
            raise TooLittleMemoryError(
                f"One query takes about {(self.total - self.state_bytes) / 1e6:.0f} MB and the "
                f"optimizer states {self.state_bytes / 1e6:.0f} MB; "
                f"memory={self.limit / 1e6:.0f} MB was given. Set "
                f"memory={math.ceil(self.total / 1e6) * 1_000_000} or more, or use smaller "
                "batches, float32, or TRAK or influence functions, which need no replay."
            )


def plan_memory(
    training, flat, n_steps: int, n_queries: int, limit: int, dtype: torch.dtype
) -> MemoryPlan:
    """Choose how many states to keep and how many queries to carry within `limit` bytes.

    A query needs its adjoint, two vectors while it is updated, the Hessian product and its
    direction; while that product is taken, also about eight copies of every activation of the
    batch. What is carried has the precision `dtype`, states have the model's own.
    """
    item, carried = flat.theta.element_size(), dtype.itemsize
    n_parameters = len(flat.theta)
    n_parts = 1 + training.optimizer.n_moments
    batch = training.n_train if training.batch_size is None else training.batch_size
    if training.order is not None:
        batch = max(len(b) for epoch in training.order for b in epoch)
    activations = batch * _activations_per_example(training, flat)
    per_query = carried * ((n_parts + 5) * n_parameters + 2 * training.n_train)
    per_direction = carried * (8 * activations + n_parameters)
    state = item * n_parts * n_parameters
    needed = min(max(n_queries, 1), 4) * (per_query + per_direction)
    # More of the memory is left for queries: carrying them together saves more than replaying.
    if n_steps * state <= limit / 4 and n_steps * state + needed <= limit:
        segment = 1
    else:
        segment = max(1, math.isqrt(max(n_steps - 1, 0)) + 1)
    kept = math.ceil(n_steps / segment) + 1 + (segment if segment > 1 else 0)
    states = kept * state + 2 * activations * item
    room = limit - states
    directions = int(min(max(n_queries, 1), 32, max(1, room // (per_query + per_direction))))
    queries = max(directions, (room - directions * per_direction) // per_query)
    return MemoryPlan(
        segment_length=segment,
        queries_at_once=int(min(max(n_queries, 1), queries)),
        directions_at_once=directions,
        state_bytes=int(states),
        bytes_per_query=int(per_query),
        bytes_per_direction=int(per_direction),
        limit=int(limit),
    )


def _activations_per_example(training, flat) -> int:
    """Numbers that one example's forward pass leaves behind, over all leaf modules."""
    total = 0
    leaves = [m for m in flat.module.modules() if not list(m.children())]

    def count(module, inputs, output):
        nonlocal total
        output = getattr(output, "logits", output)
        if isinstance(output, tuple):
            output = output[0]
        total += output.numel() + sum(x.numel() for x in inputs if torch.is_tensor(x))

    handles = [leaf.register_forward_hook(count) for leaf in leaves]
    try:
        with torch.no_grad(), untouched_rng():  # a pass may drop units
            flat.module(training.inputs[:1])
    finally:
        for handle in handles:
            handle.remove()
    return total
