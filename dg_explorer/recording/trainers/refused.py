"""What a trainer does that an exact replay cannot follow, said before the training begins."""

from __future__ import annotations

from collections.abc import Mapping

from ...errors import SettingError


def refuse(trainer: str, in_the_way: Mapping[str, bool]) -> None:
    """Refuse `replay=True` where something is in its way.

    Parameters
    ----------
    in_the_way : mapping of words -> whether this training has it

    Raises
    ------
    SettingError
        With the name of each.
    """
    names = [name for name, there in in_the_way.items() if there]
    if names:
        raise SettingError(
            f"replay=True cannot follow {' and '.join(names)} in {trainer}. Take it out of the "
            f"training, or record without replay=True: methods that look at one checkpoint (trak, "
            f"influence, tracin, gradient similarity) work all the same."
        )
