"""Live mode: a board that reads its record again whenever somebody has recorded more."""

from __future__ import annotations

import threading
import time
import weakref

from .live import LiveBoard

LOOK_SECONDS = 0.3  # between two looks at the folder; a look takes a millisecond
_SHARE = 0.5  # of the kernel's time that reading again may take
_PATIENCE = 3  # failures in a row before one is shown: a group is replaced in two steps


class Follower:
    """A thread that refreshes the board of a `GrowingRun` until stopped, or the board is gone."""

    def __init__(self, board: LiveBoard):
        self._board = weakref.ref(board)
        self._run = board.run
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="dg-live-board", daemon=True)
        self._seen = self._run.stamp()
        self._thread.start()

    def stop(self) -> None:
        """End; returns at once, a reading under way is finished."""
        self._stop.set()

    def _follow(self) -> None:
        pause, failures = LOOK_SECONDS, 0
        while not self._stop.wait(pause):
            pause, board = LOOK_SECONDS, self._board()
            if board is None or board.comm is None:  # closed
                return
            stamp = self._run.stamp()
            if stamp == self._seen:
                continue
            began = time.monotonic()
            try:
                board.refresh()
                self._seen, failures = stamp, 0
            except Exception as error:
                failures += 1
                if failures == _PATIENCE:
                    board._report(f"The live board could not be read again: {error}")
            pause = max(LOOK_SECONDS, (time.monotonic() - began) * (1 / _SHARE - 1))
            del board  # or it would never be seen to be gone
