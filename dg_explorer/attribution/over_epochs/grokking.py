"""Which training examples gained influence when a model grokked, and what they have in common."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy.stats import mannwhitneyu

from ...checkpoints.formats import model_checkpoints as read_checkpoints
from ...checkpoints.loading import copied, load_into
from ...data.ids import dataset_of, ids_of
from ...errors import CheckpointError, DataError, SettingError
from .delayed import DelayedGeneralizationTRAK

_EQUATION = re.compile(r"(-?\d+)\s*(\S+?)\s*(-?\d+)(?:\s*\(?mod\s*\d+\)?)?\s*=\s*(-?\d+)")


def analyze_grokking_attributions(
    model_checkpoints,
    train_loader,
    test_loader,
    grokking_epoch: int,
    *,
    model: torch.nn.Module | None = None,
    window: int = 500,
    top_k: int = 100,
    run=None,
    verbose: bool = True,
    **settings,
) -> dict:
    """Compare the scores before and after a model groks.

    Parameters
    ----------
    model_checkpoints : anything `dg_explorer.model_checkpoints` reads
        `{epoch: state dict, model or path}`, a folder, a run.
    grokking_epoch : int
    model : torch module
        The architecture; may be left out where the checkpoints are models.
    window : int
        Epochs before and after; the nearest checkpoints outside the window are taken, or the
        outermost ones.
    top_k : int
    run : Run, optional
        Where the scores go; in memory unless given.
    **settings
        Of `DelayedGeneralizationTRAK`: `task`, `proj_dim`, `device`, ...

    Returns
    -------
    dict
        That of `find_phase_transition_examples`, with `pre_epoch`, `post_epoch`, `run`, and
        `properties` of the examples that gained (None where they are no arithmetic).
    """
    if model is None and isinstance(model_checkpoints, Mapping):
        modules = [m for m in model_checkpoints.values() if isinstance(m, torch.nn.Module)]
        model = modules[0] if modules else None
    if model is None:
        raise SettingError(
            "The checkpoints are weights without an architecture. Pass model=, built as it was "
            "for training."
        )
    found = read_checkpoints(model_checkpoints)
    pre, post = _around(sorted(found), grokking_epoch, window)
    scratch = copied(model)
    trak = DelayedGeneralizationTRAK(scratch, run=run, **settings)
    for epoch in (pre, post):
        load_into(scratch, found[epoch])
        trak.compute_epoch_features(train_loader, epoch, "train")
        trak.compute_epoch_features(test_loader, epoch, "test")
    changes = trak.find_phase_transition_examples(pre, post, top_k)
    try:
        properties = analyze_grokking_examples(
            changes["gained_influence_indices"], dataset_of(train_loader), verbose=verbose
        )
    except DataError:
        properties = None
    return changes | {
        "pre_epoch": pre,
        "post_epoch": post,
        "properties": properties,
        "run": trak.run,
    }


def analyze_grokking_examples(example_indices, train_dataset, *, verbose: bool = True) -> dict:
    """Operands, results and difficulty of some arithmetic examples, against all of them.

    Parameters
    ----------
    example_indices : ids of the examples
        Positions in the dataset unless it has ids.
    train_dataset : dataset
        Items with a text such as "5 + 7 = 12" (under `text`, or the first string), or an integer
        tensor whose first two entries are the operands, with the result as label.
    verbose : bool

    Returns
    -------
    dict
        `operand_ranges` [(a, b)], `result_ranges`, `operation_types`, `difficulty_levels`
        (|a - b| + result), one entry an example; `means` and `means_of_all` by property;
        `p_values`: of a two-sided rank test that the chosen ones are like the rest.

    Raises
    ------
    DataError
        An example is no arithmetic, or an id is not in the dataset.
    """
    ids = ids_of(train_dataset)
    position = {int(example): i for i, example in enumerate(ids)}
    chosen = [int(i) for i in np.atleast_1d(np.asarray(example_indices, dtype=np.int64))]
    strangers = [i for i in chosen if i not in position]
    if strangers:
        raise DataError(f"No example {strangers[0]} in this dataset of {len(ids)}.")
    everyone = [parse_arithmetic(train_dataset[i]) for i in range(len(ids))]
    picked = [everyone[position[i]] for i in chosen]
    found = {
        "operand_ranges": [(a, b) for a, _, b, _ in picked],
        "result_ranges": [result for *_, result in picked],
        "operation_types": [op for _, op, _, _ in picked],
        "difficulty_levels": [_difficulty(e) for e in picked],
        "means": {},
        "means_of_all": {},
        "p_values": {},
    }
    inside = np.isin(ids, chosen)
    for name, of in (
        ("operand 1", lambda e: e[0]),
        ("operand 2", lambda e: e[2]),
        ("result", lambda e: e[3]),
        ("difficulty", _difficulty),
    ):
        values = np.array([of(e) for e in everyone], dtype=np.float64)
        found["means"][name] = float(values[inside].mean()) if inside.any() else float("nan")
        found["means_of_all"][name] = float(values.mean())
        found["p_values"][name] = _rank_test(values[inside], values[~inside])
    if verbose:
        print(f"{len(chosen)} examples that gained influence, against all {len(ids)}:")
        for name, mean in found["means"].items():
            print(
                f"  mean {name}: {mean:.2f} (all: {found['means_of_all'][name]:.2f}, "
                f"p = {found['p_values'][name]:.2g})"
            )
    return found


def parse_arithmetic(item) -> tuple[int, str, int, int]:
    """(a, operation, b, result) of a dataset's item; `DataError` where it is no arithmetic."""
    text = item.get("text") if isinstance(item, Mapping) else item
    parts: list[Any] = list(item) if isinstance(item, (tuple, list)) else [text]
    text = next((part for part in parts if isinstance(part, str)), None)
    if text is not None:
        match = _EQUATION.search(text)
        if match:
            a, op, b, result = match.groups()
            return int(a), op, int(b), int(result)
        raise DataError(f"{text!r} is no equation such as '5 + 7 = 12'.")
    tokens: Any = next(
        (p for p in parts if torch.is_tensor(p) and p.ndim == 1 and len(p) >= 2), None
    )
    if tokens is not None and not tokens.is_floating_point() and len(parts) >= 2:
        return int(tokens[0]), "?", int(tokens[1]), int(parts[1])
    raise DataError(
        f"An item of {type(item).__name__} is no arithmetic: it has neither a text such as "
        f"'5 + 7 = 12' nor a tensor of integer operands."
    )


def _difficulty(example) -> int:
    a, _, b, result = example
    return abs(a - b) + result


def _rank_test(inside: np.ndarray, outside: np.ndarray) -> float:
    if len(inside) == 0 or len(outside) == 0:
        return float("nan")
    return float(mannwhitneyu(inside, outside).pvalue)


def _around(epochs: list[int], grokking_epoch: int, window: int) -> tuple[int, int]:
    before = [e for e in epochs if e < grokking_epoch]
    after = [e for e in epochs if e >= grokking_epoch]
    if not before or not after:
        raise CheckpointError(
            f"There must be a checkpoint before {grokking_epoch} and one after; there are "
            f"{', '.join(map(str, epochs)) or 'none'}."
        )
    early = [e for e in before if e <= grokking_epoch - window]
    late = [e for e in after if e >= grokking_epoch + window]
    return (early[-1] if early else before[0]), (late[0] if late else after[-1])
