"""What scores were made from: the same call on other things is not answered with the old ones."""

from __future__ import annotations

from ...data.served import Served
from ...errors import SettingError
from ...tasks import Task
from .data_digests import data_digest


def made_from(task: Task, train: Served | None, test: Served | None) -> dict[str, str]:
    """Digests of what a call of `attribute` reads, by what they are of.

    Data that differ from one reading to the next have none.
    """
    found = {"task": f"{task.name} {task.digest()}"}
    for split, served in (("train", train), ("test", test)):
        known = served is not None and not served.augmented
        found[f"{split} examples"] = data_digest(served) if known else ""
    return found


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


def check_made_from(run, group: str, now: dict[str, str]) -> None:
    """Refuse to go on with scores that were made from other things, saying what differs.

    Raises
    ------
    SettingError
        Inputs or labels, the task or the weights of an epoch are others.
    """
    wrong = []
    saved = set(run["checkpoints"]["epoch"].values.tolist())
    for epoch, then in run.made_from(group).items():
        wrong += [f"the {k}" for k, v in now.items() if v and then.get(k) and then[k] != v]
        if epoch in saved and then.get("weights", weights_of(run, epoch)) != weights_of(run, epoch):
            wrong.append(f"the weights of {run.time_unit} {epoch}")
    if wrong:
        raise SettingError(
            f"This run has {group!r} made from other things, under the same settings: what "
            f"differs is {', '.join(dict.fromkeys(wrong))}. Pass overwrite=True to replace these "
            f"scores, or name= to keep both."
        )
