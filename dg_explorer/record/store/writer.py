"""The one writer: every change of a record is planned, put into the journal, and sometimes settled.

A change costs one write to the journal. Values of more than a few MB first get a file of their
own, which the journal then names. `settle` moves what the journal holds into files, merges small
files, writes a new manifest and removes what nothing names any more. Threads take turns by a lock,
processes by a lock file; each looks at what others have written before it writes.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from ...errors import DamagedRecordError, RunError
from . import journal
from . import state as st
from .manifest import SCHEMA_VERSION, Head, dump
from .pieces import Held, Stored
from .places import MANIFEST
from .reader import Reader, Snapshot
from .settling import own_file, settled, unnamed

JOURNAL_BYTES = 16 << 20  # then its rows move into files
JOURNAL_FRAMES = 2000
REPLACED_BYTES = 64 << 20  # of files that nothing names any more; then they are removed
_AWAY_ROWS, _AWAY_SECONDS = 32, 2.0  # where there is no journal: how long rows wait in memory

Request = Callable[[st.State], "st.Operation | None"]  # plans an operation on what is there


class Writer:
    """Changes one record. `place` None keeps it in memory.

    Attributes
    ----------
    done : what was put right when writing began, in words
    """

    def __init__(self, reader: Reader):
        self._reader = reader
        self._place = reader.place
        self._identity = None if reader.place is None else reader.look().head.identity
        self._turn = threading.RLock()
        self._owner: int | None = None  # the thread that writes several things together
        self._draft: st.State | None = None
        self._requests: list[Request] = []
        self._planned: list[st.Operation] = []
        self._waiting, self._since = 0, time.monotonic()
        self._cleaned = False
        self._limit = JOURNAL_BYTES
        self._replaced = (
            0  # bytes of files that were replaced since the manifest, and are there yet
        )
        self.done: list[str] = []

    # ------------------------------------------------------------------ writing

    def write(self, request: Request) -> None:
        """Plan an operation on the state as it is, and do it."""
        with self.together():
            draft = self.state()
            operation = request(draft)
            if operation is not None:
                self._draft = st.apply(draft, operation)
                self._requests.append(request)
                self._planned.append(operation)

    @contextmanager
    def together(self) -> Iterator[None]:
        """All that is written inside goes into the record at once, at the end; or none of it."""
        with self._turn:
            if self._draft is not None:
                yield
                return
            self._draft, self._requests, self._planned = self._reader.state(), [], []
            base = self._draft
            self._owner = threading.get_ident()
            try:
                yield
                requests, planned = self._requests, (base, self._planned, self._draft)
            finally:
                self._draft, self._requests, self._owner = None, [], None
            if requests:
                self._commit(requests, planned)

    def state(self) -> st.State:
        """The state as this thread sees it: with what it is writing together."""
        if self._owner == threading.get_ident() and self._draft is not None:
            return self._draft
        return self._reader.state()

    def settle(self) -> None:
        """Move all that the journal holds into files."""
        if self._place is None:
            return
        with self._turn, self._place.writing():
            now = self._ready()
            if any(isinstance(piece, Held) for piece in now.state.pieces()) or now.frames:
                self._settle(now)

    def tidy(self) -> None:
        """Remove what killed processes left, if nobody is writing; for whoever opens a run."""
        if self._place is None or not self._place.journals:
            return
        now = self._reader.look()
        if not (now.torn or unnamed(self._place, now)):
            return
        with self._turn, self._place.writing(wait=0) as taken:
            if taken:
                self._ready()

    # ------------------------------------------------------------------ inside

    def _commit(self, requests: list[Request], planned: tuple) -> None:
        base, operations, state = planned
        if self._place is None:
            self._reader.hold(state)
            return
        with self._place.writing():
            now = self._ready()
            if now.state is not base:  # somebody else has written meanwhile
                operations, state = _planned(now.state, requests)
            after = replace(now, state=state)
            if not self._place.journals:
                self._wait(after)
            elif not now.head.journal:  # of an older schema, or from a zip: converted by writing
                self._settle(after)
            else:
                self._add(now, operations, state)

    def _add(self, now: Snapshot, operations: list[st.Operation], state: st.State) -> None:
        """Put operations into the journal, after which there is a state; needs the lock."""
        written: list[str] = []
        try:
            operations = [own_file(self._place, op, written) for op in operations]
            end = self._place.add_to(now.head.journal, journal.encode(operations), at=now.at)
        except BaseException:
            for name in written:
                self._place.remove(name)
            raise
        if written:
            state = now.state
            for operation in operations:
                state = st.apply(state, operation)
        blobs = [now.state.blobs.get(op.name) for op in operations if isinstance(op, st.SetBlob)]
        self._replaced += sum(piece.nbytes for piece in blobs if isinstance(piece, Stored))
        now = self._reader.remember(Snapshot(now.head, state, end, now.frames + 1))
        full = end > self._limit or now.frames > JOURNAL_FRAMES or self._replaced > REPLACED_BYTES
        if full and not state.broken:
            try:
                self._settle(now)
                self._limit = JOURNAL_BYTES
            except OSError:  # a full disk, say: the rows are safe in the journal; later again
                self._limit = 2 * end

    def _wait(self, now: Snapshot) -> None:
        """Where there is no journal: keep what is new in memory for a moment."""
        self._reader.hold(now.state, now.head)
        self._waiting += 1
        late = time.monotonic() - self._since > _AWAY_SECONDS
        if late or self._waiting >= _AWAY_ROWS * max(1, len(now.state.groups)):
            self._settle(now)

    def _ready(self) -> Snapshot:
        """The record as it is now, put right where a process was killed; needs the lock."""
        now = self._reader.look()
        if now.head.identity != self._identity:
            raise RunError(
                f"Another run was put at {self._place} meanwhile, so nothing more is written "
                f"there. Open that one with Run.open, or create a run of another name."
            )
        if not self._place.journals:
            return now
        if now.torn:
            self._place.cut(now.head.journal, now.at)
            self.done.append(
                f"journal: dropped {now.torn} bytes that were not written to their end"
            )
            now = self._reader.remember(replace(now, torn=0))
        if not self._cleaned or self._reader.changed_by_others():
            left = self._clean(now)
            if left:
                files = f"{len(left)} file{'s' * (len(left) > 1)}"
                self.done.append(f"removed {files} that a process left when it ended")
            self._cleaned = True
        return now

    def _settle(self, now: Snapshot) -> Snapshot:
        """Write a new manifest, with all pieces in files; needs the lock."""
        if now.state.broken:
            raise damage(self._place, now.state)
        before, written = self._place.stamp(MANIFEST), []
        try:
            head, state = commit(self._place, now.head, now.state, written)
        except BaseException:
            if self._place.stamp(MANIFEST) == before:
                for name in written:
                    self._place.remove(name)
            raise
        now = self._reader.remember(Snapshot(head, state, 0, 0))
        self._waiting, self._since, self._replaced = 0, time.monotonic(), 0
        self._clean(now)
        return now

    def _clean(self, now: Snapshot) -> list[str]:
        left = unnamed(self._place, now)
        for name in left:
            self._place.remove(name)
        return left


def commit(
    place, head: Head, state: st.State, written: list[str], *, copy: bool = False
) -> tuple[Head, st.State]:
    """Put all of a state into files of a place and its manifest in place of the one there.

    Returns
    -------
    head, state
        Those of the new manifest. Names of files written go to `written`.
    """
    name = f"record/journal-{head.generation + 1:06d}" if place.journals else ""
    head = Head(head.identity, head.generation + 1, name)
    state = replace(state, attrs=state.attrs | {"schema_version": SCHEMA_VERSION})
    state = settled(place, state, written, copy=copy)
    if name:  # there from the start, so that a journal that goes missing is noticed
        place.remove(name)
        written.append(name)
        place.write_new(name, [])
    place.replace(MANIFEST, dump(head, state))
    return head, state


def damage(place, state: st.State) -> DamagedRecordError:
    """What of a record is damaged, as an error that says what to do."""
    what = "; ".join(f"{name}: {why}" for name, why in state.broken.items())
    return DamagedRecordError(
        f"The run at {place} is damaged, so it is not written to: {what}. Copy it again from where "
        f"it was recorded; or give up what is damaged, run.delete(name), and go on."
    )


def new_head(generation: int = 0) -> Head:
    """The head of a record that begins."""
    return Head(secrets.token_hex(8), generation, "")


def _planned(state: st.State, requests: list[Request]) -> tuple[list[st.Operation], st.State]:
    operations = []
    for request in requests:
        operation = request(state)
        if operation is not None:
            state = st.apply(state, operation)
            operations.append(operation)
    return operations, state
