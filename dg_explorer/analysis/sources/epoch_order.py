"""Epochs ascend: a row that comes again, or too late, would rewrite history."""

from __future__ import annotations

from ...errors import SettingError


def check_epoch(run, group: str, epoch) -> int:
    """The epoch as an integer, if it comes after the last one of the group.

    Raises
    ------
    SettingError
        It does not, or is no integer.
    """
    if int(epoch) != epoch:
        raise SettingError(f"Epochs are integers; got {epoch!r}.")
    epoch = int(epoch)
    if group in run:
        last = int(run.epochs(group)[-1])
        if epoch <= last:
            what = "is recorded already" if epoch in run.epochs(group) else "comes too late"
            raise SettingError(
                f"{run.time_unit.capitalize()} {epoch} {what}: {group!r} goes to {last}, and rows "
                f"must ascend. Number epochs on after a restart, or begin a new run."
            )
    return epoch
