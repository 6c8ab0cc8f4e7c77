"""The film: every output at every moment in one sweep forward, beside the training itself.

Carried are the derivatives of weights and optimizer memory by the weight of each training
example, or of each group of them. A direction costs one Hessian product a step, whatever the
number of outputs and moments, where the sweep backwards pays for each (output, moment).
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...errors import SettingError, UnknownExampleError
from ...training.products import LossProducts
from ...training.replay import states_in_order
from ...training.step.generic import OptimizerStep
from ...training.training import Training
from .denominator import Following

# Seconds between two savings of an unfinished film.
_SAVE_EVERY = 30.0


def group_rows(groups, training: Training) -> tuple[np.ndarray, np.ndarray]:
    """Names of groups, and which training examples are in each, shape (group, train).

    Parameters
    ----------
    groups : mapping of name -> ids, or array of one value an example, in their order
        Examples with a missing value (NaN, None, "") are in no group; with values True and
        False, the groups are those.

    Raises
    ------
    UnknownExampleError, SettingError
    """
    ids = training.train_ids
    if isinstance(groups, Mapping):
        rows = []
        for name, members in groups.items():
            unknown = np.setdiff1d(members, ids)
            if len(unknown):
                raise UnknownExampleError(
                    f"Group {name!r} holds example {unknown[0]}, which is not in the training set."
                )
            rows.append(np.isin(ids, members))
        names = np.array(list(groups))
    else:
        values = np.asarray(groups)
        if values.shape != ids.shape:
            raise SettingError(
                f"groups= holds {values.shape} values for {len(ids)} training examples; give one "
                "for each, or a mapping of name -> ids."
            )
        missing = np.array([v is None or v == "" or v != v for v in values.tolist()], dtype=bool)
        names = np.unique(values[~missing])
        rows = [(values == name) & ~missing for name in names]
    empty = [name for name, row in zip(names, rows, strict=True) if not row.any()]
    if len(names) == 0 or empty:
        raise SettingError(
            f"groups= has {'no members in ' + repr(str(empty[0])) if empty else 'none'}."
        )
    return names, np.stack(rows).astype(float)


def film(
    training: Training,
    steps: Sequence,
    directions: np.ndarray | None,
    read: Callable[[torch.Tensor], torch.Tensor],
    ends: Sequence[int],
    *,
    n_outputs: int,
    dtype: torch.dtype,
    at_once: int,
    block: int,
    following: Following | None = None,
    progress: Callable[[int, int], None] | None = None,
    keep: str | Path | None = None,
) -> np.ndarray:
    """How outputs rise with the weights along each direction, shape (moment, output, direction).

    Parameters
    ----------
    steps : sequence of (epoch, batch)
    directions : float array, shape (direction, train), or None
        None for each example alone.
    read : callable ``theta -> (output, parameter)``
        The gradients of the outputs.
    ends : sequence of int
        How many steps had been taken at each moment, in ascending order.
    at_once, block : int
        Directions carried in one sweep, and in one product.
    following : Following, optional
        Where the denominators follow.
    progress : callable ``(done, total)``, of directions times steps
    keep : path, optional
        File in which an unfinished film is kept, so that the same call goes on with it.
    """
    flat = training.start()
    device, n_train = flat.theta.device, training.n_train
    n = n_train if directions is None else len(directions)
    last, total = int(ends[-1]), n * int(ends[-1])
    carried_in = training.in_dtype(dtype)
    products = LossProducts(carried_in, carried_in.start(), block=block)
    optimizer, result = training.optimizer, np.zeros((len(ends), n_outputs, n))
    kept = _Kept(keep, training, directions, ends, dtype, following is not None)
    first, begin, tangents = kept.load(result, device)
    for start in range(first, n, at_once):
        stop = min(start + at_once, n)
        blocks = [slice(b, min(b + block, stop)) for b in range(start, stop, block)]
        if tangents is None:
            begin, zero = 0, optimizer.initial_state(flat.theta)
            tangents = [
                tuple(part.new_zeros(b.stop - b.start, len(part), dtype=dtype) for part in zero)
                for b in blocks
            ]
        for step, state in enumerate(states_in_order(training, flat, steps[:last])):
            if step < begin:  # gone over again, for the state alone
                continue
            if step in ends:
                gradients = read(state[0]).to(dtype)
                along = torch.cat([gradients @ parts[0].T for parts in tangents], 1)
                moments = [e for e, end in enumerate(ends) if end == step]
                result[moments, :, start:stop] = along.cpu().numpy()
            if step == last:
                break
            _, batch = steps[step]
            loss = products.of(batch, training.slot_weight(step), step)
            lr: Any = optimizer.lr_at(step, len(steps))
            for i, b in enumerate(blocks):
                weights = _rows(directions, b, n_train, batch).to(device, dtype)
                if following is not None:
                    weights = following.directions(step, batch, weights)
                tangents[i] = optimizer.forwards(state, tangents[i], step, lr, loss, weights)
            kept.save(start, step + 1, tangents, result)
            if progress:
                progress(start * last + (stop - start) * (step + 1), total)
        tangents = None
    kept.remove()
    return result


def _rows(directions, block: slice, n_train: int, batch) -> torch.Tensor:
    """Directions of a block in the weights of a batch's slots."""
    if directions is None:
        rows = torch.zeros(block.stop - block.start, n_train)
        rows[range(len(rows)), range(block.start, block.stop)] = 1
    else:
        rows = torch.as_tensor(directions[block])
    return rows if batch is None else rows[:, batch]


class _Kept:
    """An unfinished film in a file, written by one rename."""

    def __init__(self, path, training: Training, directions, ends, dtype, follows: bool):
        self.path = None if path is None else Path(path)
        self._at = time.monotonic()
        if self.path is not None:
            self._digest = _digest(training, directions, ends, dtype, follows)

    def load(self, result: np.ndarray, device) -> tuple[int, int, list | None]:
        """First direction and step to go on with, and what was carried there."""
        if self.path is None or not self.path.exists():
            return 0, 0, None
        kept = torch.load(self.path, weights_only=True, map_location=device)
        if kept["digest"] != self._digest:
            raise SettingError(
                f"{self.path} keeps an unfinished film of another training or other questions. "
                "Delete it, or give another path."
            )
        result[:] = kept["result"].cpu().numpy()
        return kept["first"], kept["step"], [tuple(parts) for parts in kept["tangents"]]

    def save(self, first: int, step: int, tangents: list, result: np.ndarray) -> None:
        """Keep the state before a step, now and then."""
        if self.path is None or time.monotonic() - self._at < _SAVE_EVERY:
            return
        kept = {
            "digest": self._digest,
            "first": first,
            "step": step,
            "tangents": [list(parts) for parts in tangents],
            "result": torch.from_numpy(result),
        }
        partial = self.path.with_suffix(".partial")
        torch.save(kept, partial)
        os.replace(partial, self.path)
        self._at = time.monotonic()

    def remove(self) -> None:
        """The film is finished."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _digest(training: Training, directions, ends, dtype, follows: bool) -> str:
    digest = hashlib.sha256()
    parts = [training.start().theta, training.inputs, training.labels, training.weights]
    parts += [training.test_inputs, training.test_labels]
    for part in parts:
        if part is not None:
            digest.update(part.detach().cpu().contiguous().numpy().tobytes())
    for _, batch in training.steps():
        digest.update(b"all" if batch is None else batch.numpy().tobytes())
    if directions is not None:
        digest.update(np.ascontiguousarray(directions).tobytes())
    rule, n = training.optimizer, sum(1 for _ in training.steps())
    own = (
        rule.description()
        if isinstance(rule, OptimizerStep)
        else {k: v for k, v in vars(rule).items() if k != "lr"}
    )
    rates = [rule.lr_at(step, n) for step in range(n)]
    said = (own, rates, list(ends), str(dtype), training.output.__qualname__, follows)
    digest.update(repr(said).encode())
    return digest.hexdigest()
