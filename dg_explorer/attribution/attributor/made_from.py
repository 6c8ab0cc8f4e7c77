"""What scores were made from: the same call on other things is not answered with the old ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch

from ...data.batch import Batch
from ...data.leaves import is_array, leaves
from ...data.served import Served
from ...errors import SettingError
from ...record.writing import versions
from ...tasks import Task
from ...tasks.identity import UNKNOWN, code_digest, model_digest, unknown_in

# numbers are weighed by their place with odd multipliers and summed modulo 2^64
_SEED = 20261128


def made_from(model, task: Task, train: Served | None, test: Served | None) -> dict[str, str]:
    """Digests of what a call of `attribute` reads, by what they are of.

    Of data that differ from one reading to the next only ids and labels can be compared. The
    version only marks the scores.
    """
    found = {
        "model": model_digest(model),
        "model without counters": model_digest(model, counters=False),
        "task": _known(f"{task.name} {task.digest()}", task.functions()),
        "forward": "",
        "version": versions().get("dg_explorer", ""),
    }
    for split, served in (("train", train), ("test", test)):
        found[f"{split} examples"] = (
            "" if served is None else examples_digest(served, task.needs_batch)
        )
        if served is not None and served.forward is not None:
            found["forward"] = _known(code_digest(served.forward), [served.forward])
    return found


def examples_digest(served: Served, whole: bool = False) -> str:
    """A short name for some examples; of their ids and labels alone where inputs are augmented."""
    told = data_digest(served, whole=whole, inputs=not served.augmented)
    return f"{'labels alone ' if served.augmented else ''}{told}"


def _known(digest: str, functions: Sequence) -> str:
    """The digest, or what it does not cover of the values that the functions reach."""
    unknown = [what for function in functions for what in unknown_in(function)]
    return f"{UNKNOWN}{', '.join(dict.fromkeys(unknown))}" if unknown else digest


def as_served(attributor, data, split: str) -> Served | None:
    """The examples as `Served` gives them; None where only the user's functions can read them."""
    if isinstance(data, Served):
        return data
    if attributor.task.needs_batch:
        return None
    return Served(data, split=split, model=attributor.model)


def weights_of(run, epoch: int) -> str:
    """The digest of the weights of a checkpoint, as the record lists it; "" where it does not."""
    listed = run["checkpoints"]
    return str(listed["digest"].sel(epoch=epoch).item()) if "digest" in listed else ""


def check_made_from(
    run, group: str, now: dict[str, str], answers_as_recorded: Callable[[], bool]
) -> None:
    """Refuse to go on with scores that were made from other things, saying what differs.

    A model in which whole numbers alone differ may have counted its calls: it is the same one
    where it answers as recorded, and did when the scores were made.

    Parameters
    ----------
    answers_as_recorded : called if need be, once

    Raises
    ------
    SettingError
        Inputs or labels, the task or the weights of an epoch are others.
    """
    wrong, same = [], None
    saved = set(run["checkpoints"]["epoch"].values.tolist())
    for epoch, then in run.made_from(group).items():
        differ = [k for k, v in now.items() if _differs(k, v, then.get(k))]
        counted = "model" in differ and "model without counters" in then
        if counted and "model without counters" not in differ:
            same = answers_as_recorded() if same is None else same
            differ = [k for k in differ if k != "model" or not same]
        wrong += [_named(k, now[k]) for k in differ if k != "model without counters"]
        if epoch in saved and then.get("weights", weights_of(run, epoch)) != weights_of(run, epoch):
            wrong.append(f"the weights of {run.time_unit} {epoch}")
    if wrong:
        raise SettingError(
            f"This run has {group!r} made from other things, under the same settings: what "
            f"differs, or cannot be known to be the same, is {', '.join(dict.fromkeys(wrong))}. "
            f"Pass overwrite=True to replace these scores, or name= to keep both."
        )


def _differs(what: str, now: str, then: str | None) -> bool:
    if what == "version" or then is None:
        return False
    return now.startswith(UNKNOWN) or (now != then and bool((now and then) or what == "forward"))


def _named(what: str, now: str) -> str:
    if now.startswith(UNKNOWN):
        return f"the {what} (it reads {now.removeprefix(UNKNOWN)}, which cannot be compared)"
    return "forward=" if what == "forward" else f"the {what}"


def data_digest(batches: Iterable[Batch], *, whole: bool = False, inputs: bool = True) -> str:
    """A name of examples that differs where an input, a label or an id does.

    The order of examples, and the batches that they come in, do not count: each example has a
    number of its own, made of its values and its id, and these are added up. Zeros at the end of
    a row (padding) do not count either.

    Parameters
    ----------
    batches : as `Served` yields them
    whole : bool
        Everything in a batch counts, as functions of the user's own may read it.
    inputs : bool
        Without them labels and ids alone count.
    """
    total, n = np.uint64(0), 0
    for batch in batches:
        numbers = _of_examples(batch, whole, inputs)
        ids = batch.ids.astype(np.int64).view(np.uint64)
        with np.errstate(over="ignore"):
            total += _mixed(numbers + _mixed(ids + np.uint64(1))).sum(dtype=np.uint64)
        n += len(ids)
    return f"{n}-{int(total):016x}"


def _of_examples(batch: Batch, whole: bool, inputs: bool) -> np.ndarray:
    """One number an example of a batch, uint64."""
    n = len(batch)
    numbers = np.zeros(n, dtype=np.uint64)
    parts = [*batch.inputs, *batch.keywords.values(), batch.labels]
    if whole or batch.forward is not None or not (batch.inputs or batch.keywords):
        parts = [batch.raw, batch.labels]
    if not inputs:
        parts = [batch.labels]
    for place, part in enumerate(parts):
        if part is None:
            continue
        for path, leaf in leaves(part):
            told = _salt(f"{place} {path}")
            with np.errstate(over="ignore"):
                numbers += _mixed(_of_leaf(leaf, n) + told)
    return numbers


def _of_leaf(leaf: Any, n: int) -> np.ndarray:
    if torch.is_tensor(leaf) and not leaf.is_nested and leaf.layout == torch.strided:
        plain = leaf.detach().cpu()
        if plain.dtype == torch.bfloat16:
            plain = plain.view(torch.int16)
        leaf = (torch.view_as_real(plain) if plain.is_complex() else plain).numpy()
    if isinstance(leaf, np.ndarray) and leaf.shape[:1] == (n,) and leaf.dtype.kind in "iufb":
        return _of_rows(np.ascontiguousarray(leaf).reshape(n, -1))
    if isinstance(leaf, (list, tuple)) and len(leaf) == n:
        return np.array([_salt(_words(value)) for value in leaf], dtype=np.uint64)
    if is_array(leaf):
        return np.full(n, _salt(np.asarray(leaf).tobytes().hex()), dtype=np.uint64)
    return np.full(n, _salt(_words(leaf)), dtype=np.uint64)


def _words(leaf: object) -> str:
    plain = isinstance(leaf, (str, bytes, int, float, type(None)))
    return repr(leaf) if plain else code_digest(leaf)


def _of_rows(rows: np.ndarray) -> np.ndarray:
    """The values of each row, weighed by their places, modulo 2^64."""
    width = rows.shape[1] * rows.itemsize
    size = next(s for s in (4, 2, 1) if width % s == 0)
    words = rows.view(np.uint8).reshape(len(rows), width).view(f"u{size}")
    found = np.zeros(len(rows), dtype=np.uint64)
    weights = np.random.Generator(np.random.PCG64(_SEED))
    step = max(1, (8 << 20) // max(len(rows), 1))
    for start in range(0, words.shape[1], step):
        part = words[:, start : start + step]
        odd = weights.integers(0, 2**63, part.shape[1], dtype=np.uint64) * np.uint64(2)
        with np.errstate(over="ignore"):
            found += (part.astype(np.uint64) * (odd + np.uint64(1))).sum(1, dtype=np.uint64)
    return found


def _mixed(x: np.ndarray) -> np.ndarray:
    """Every bit in reach of every other (the finisher of splitmix64)."""
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _salt(text: str) -> np.uint64:
    found = np.uint64(0xCBF29CE484222325)
    words = np.frombuffer(text.encode().ljust(1, b"\0"), dtype=np.uint8).astype(np.uint64)
    with np.errstate(over="ignore"):
        places = np.arange(1, len(words) + 1, dtype=np.uint64)
        found += _mixed(words + (places << np.uint64(8))).sum(dtype=np.uint64)
    return _mixed(np.array([found]))[0]
