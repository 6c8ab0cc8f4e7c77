"""How much memory an exact derivative through training takes, said before it starts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from dg_explorer.errors import DGExplorerError


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
    state_bytes, bytes_per_query, limit : int
    """

    segment_length: int
    queries_at_once: int
    state_bytes: int
    bytes_per_query: int
    limit: int

    @property
    def total(self) -> int:
        """Estimated peak over the model and the data, in bytes."""
        return self.state_bytes + self.queries_at_once * self.bytes_per_query

    def check(self) -> None:
        """Raise `TooLittleMemoryError` if it does not fit."""
        if self.total > self.limit:
            raise TooLittleMemoryError(
                f"One query takes about {self.bytes_per_query / 1e6:.0f} MB and the optimizer "
                f"states {self.state_bytes / 1e6:.0f} MB; memory={self.limit / 1e6:.0f} MB was "
                f"given. Set memory={math.ceil(self.total / 1e6) * 1_000_000} or more, or use "
                "smaller batches, float32, or TRAK or influence functions, which need no replay."
            )


def plan_memory(training, flat, n_steps: int, n_queries: int, limit: int) -> MemoryPlan:
    """Choose how many states to keep and how many queries to carry within `limit` bytes.

    A query needs its adjoint (twice, while it is updated), the Hessian product and its
    direction, and about six copies of every activation of the batch; a sixteenth of the memory
    at least is left for queries.
    """
    item = flat.theta.element_size()
    n_parameters = len(flat.theta)
    n_parts = 1 + training.optimizer.n_moments
    batch = training.n_train if training.batch_size is None else training.batch_size
    if training.order is not None:
        batch = max(len(b) for epoch in training.order for b in epoch)
    activations = _activations_per_example(training, flat)
    per_query = item * ((2 * n_parts + 3) * n_parameters + 6 * batch * activations)
    per_query += item * 2 * training.n_train
    state = item * n_parts * n_parameters
    # More of the memory is left for queries: carrying them together saves more than replaying.
    if n_steps * state <= limit / 4 and n_steps * state + min(n_queries, 4) * per_query <= limit:
        segment = 1
    else:
        segment = max(1, math.isqrt(max(n_steps - 1, 0)) + 1)
    kept = math.ceil(n_steps / segment) + 1 + (segment if segment > 1 else 0)
    states = kept * state + 2 * batch * activations * item
    room = max(1, (limit - states) // per_query)
    return MemoryPlan(
        segment_length=segment,
        queries_at_once=int(min(max(n_queries, 1), room)),
        state_bytes=int(states),
        bytes_per_query=int(per_query),
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
        with torch.no_grad():
            flat.module(training.inputs[:1])
    finally:
        for handle in handles:
            handle.remove()
    return total
