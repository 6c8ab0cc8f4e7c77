"""What scores were made from: the same call on other things is not answered with the old ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...data.served import Served
from ...errors import SettingError
from ...record.writing import versions
from ...tasks import Task
from ...tasks.identity import UNKNOWN, code_digest, model_digest, unknown_in
from .data_digests import data_digest


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
        return f"the {what} (it reads {now.removeprefix(UNKNOWN)}, whose value cannot be compared)"
    return "forward=" if what == "forward" else f"the {what}"
