"""The one reader: it never writes, repairs or waits, and may be used from any thread beside a
writer. It sees the manifest with all that the journal says since."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from pathlib import Path

from ...errors import DamagedRecordError, NotARunError
from . import journal, legacy, manifest
from . import state as st
from .manifest import Head
from .places import MANIFEST, Folder

_IN_MEMORY = Head("in memory", 0, "")
_TRIES = 50  # how often a writer may begin another journal while one look is taken


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A record at one moment.

    Attributes
    ----------
    head : what the manifest says of itself; without a journal where there is no manifest
    state : groups, attributes, blobs
    at, frames : bytes and frames of the journal that are in the state
    torn : bytes after them that are no whole frame
    legacy : whether the record is still of an older schema
    """

    head: Head
    state: st.State
    at: int = 0
    frames: int = 0
    torn: int = 0
    legacy: bool = False


class Reader:
    """Looks at the record at a place; `place` None is a record in memory, given by `hold`."""

    def __init__(self, place):
        self.place = place
        self._turn = threading.RLock()
        self._now: Snapshot | None = None
        self._stamps: tuple | None = None
        self._held = False
        self._foreign = False

    def state(self) -> st.State:
        """The record as it is now."""
        return self.look().state

    def look(self) -> Snapshot:
        """The record as it is now, read again only where something changed.

        Raises
        ------
        NotARunError, NewerSchemaError, DamagedRecordError
        """
        with self._turn:
            if self.place is None or self._held:
                if self._now is None:
                    raise RuntimeError("A reader in memory is given its record by `hold` first.")
                return self._now
            for _ in range(_TRIES):
                first = self.place.stamp(MANIFEST)
                if first is None:
                    return self._without_manifest()
                found = self._look(first)
                if found is not None:
                    return found
            raise DamagedRecordError(
                f"The journal that {MANIFEST} of the run at {self.place} names is gone, and with "
                f"it what was written last. Copy the run again from where it was recorded."
            )

    def remember(self, now: Snapshot) -> Snapshot:
        """Take over what this process has just written."""
        with self._turn:
            self._held = False
            self._stamps = self._stamps_of(now)
            self._now = now
            return now

    def hold(self, state: st.State, head: Head = _IN_MEMORY) -> None:
        """Take over a state of which some is in memory only."""
        with self._turn:
            self._now = Snapshot(head, state)
            self._held = True

    def changed_by_others(self) -> bool:
        """Whether the last look found a manifest of another process; asking forgets it."""
        changed, self._foreign = self._foreign, False
        return changed

    def stamp(self) -> tuple:
        """A value that changes whenever something is written; quick to make."""
        now = self.look()
        return self._stamps_of(now)

    # ------------------------------------------------------------------ inside

    def _look(self, first: tuple) -> Snapshot | None:
        """One look; None where a writer replaced the manifest meanwhile."""
        now = self._now
        if now is None or now.legacy or self._stamps is None or self._stamps[0] != first:
            try:
                data = self.place.read(MANIFEST)
            except FileNotFoundError:
                return None
            head, state = manifest.load(data, self.place)
            now = Snapshot(head, state)
            self._foreign = True
        elif self._stamps_of(now) == self._stamps:
            return now
        if now.head.journal and self.place.journals:
            try:
                data = self.place.read(now.head.journal, now.at)
            except FileNotFoundError:
                return None
            if not data and now.at:
                self._check_length(now)
            now = _with_frames(now, data, self.place)
        stamps = self._stamps_of(now)
        if stamps[0] == first:  # else it is the state of a moment ago: right, but not to be kept
            self._stamps = (
                first,
                stamps[1] if now.torn == 0 and _length(stamps) == now.at else None,
            )
            self._now = now
        return now

    def _check_length(self, now: Snapshot) -> None:
        """Raise where the journal has become shorter than what was read of it."""
        stamp = self.place.stamp(now.head.journal)
        if stamp is not None and stamp[-1] < now.at and not self._manifest_changed(now):
            raise DamagedRecordError(
                f"The journal {now.head.journal} of the run at {self.place} was cut from {now.at} "
                f"to {stamp[-1]} bytes by somebody else, and with it what was written last. Open "
                f"the run again to see what is left, or copy it from where it was recorded."
            )

    def _manifest_changed(self, now: Snapshot) -> bool:
        return self._stamps is None or self._stamps[0] != self.place.stamp(MANIFEST)

    def _stamps_of(self, now: Snapshot) -> tuple:
        if self.place is None:
            return (id(now.state), None)
        name = now.head.journal
        return (self.place.stamp(MANIFEST), self.place.stamp(name) if name else None)

    def _without_manifest(self) -> Snapshot:
        if not isinstance(self.place, Folder) or not legacy.is_there(self.place.path):
            raise NotARunError(not_a_run(self.place.path))
        if (
            self._now is None
            or not self._now.legacy
            or legacy.stamp(self.place.path) != self._stamps
        ):
            self._stamps = legacy.stamp(self.place.path)
            state = legacy.load(self.place.path)
            self._now = Snapshot(Head("schema 1", 0, ""), state, legacy=True)
        return self._now


def _with_frames(now: Snapshot, data: bytes, place) -> Snapshot:
    """A snapshot with the frames of the journal that come after it."""
    state, at, frames, torn = now.state, 0, now.frames, 0
    damage: dict[str, str] = {}
    while at < len(data):
        frame = journal.decode(data, at, place)
        if frame is not None:
            operations, at = frame
            for operation in operations:
                state = st.apply(state, operation)
            frames += 1
            continue
        after = data.find(journal.MAGIC, at + 1)
        if after < 0 and journal.may_be_torn(data, at):
            torn = len(data) - at  # a frame that was being written when its process ended
            break
        names = journal.groups_in(data, at) or {*state.groups, "?"}
        damage |= dict.fromkeys(names, f"{now.head.journal} is damaged at byte {now.at + at}")
        at = len(data) if after < 0 else after
    if damage:
        kept = {name: group for name, group in state.groups.items() if name not in damage}
        state = replace(state, groups=kept, broken=state.broken | damage)
    return Snapshot(now.head, state, now.at + at, frames, torn)


def _length(stamps: tuple) -> int | None:
    return stamps[1][-1] if stamps[1] else None


def not_a_run(path) -> str:
    """Words for what is at a path instead of a run."""
    if isinstance(path, str):
        return f"There is no run at {path}."
    path = Path(path)
    if not path.exists():
        return f"There is nothing at {path}."
    if (path / "record").is_dir() and not (path / MANIFEST).exists():
        return (
            f"{path} is not a run: {MANIFEST} is not there. A process was killed while it created "
            f"the run, or copied it here; do that again."
        )
    if path.is_dir():
        found = [p.parent.parent for p in path.glob(f"*/{MANIFEST}")]
        found += [p.parent.parent for p in path.glob("*/record.zarr/zarr.json")]
        inside = sorted({p.name for p in found})[:5]
        hint = f" It holds these runs: {', '.join(inside)}." if inside else ""
        return f"{path} is a folder but not a run: it has no {MANIFEST}.{hint}"
    return f"{path} is not a run. A run is a folder made by Run.create, or a zip by run.pack."
