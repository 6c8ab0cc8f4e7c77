"""Jobs: retrainings and other checks beside a notebook, one at a time, in their own process.

A job computes and sends rows; whoever started it is handed each row and writes it, so that the
record keeps its one writer. It never runs on fewer than two cores and takes at most half of them,
at low priority.
"""

from __future__ import annotations

import atexit
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO, cast

import numpy as np
import xarray as xr

from ...errors import SettingError
from ...training.training import Training
from .asked import Work, as_dataset
from .frames import read_frame, write_frame
from .sending import packed

RETRAININGS = ("retrain", "what_if")  # names of jobs that train again
_LAST = 300  # characters of what a process said before it died
_CHILD = "from dg_explorer.evaluation.jobs.child import main; main()"


class _Stopped(Exception):
    """A job in this process was cancelled."""


def cores() -> int:
    """How many processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Job:
    """A job under way. `state` is "running", "paused", "done", "failed" or "cancelled".

    Attributes
    ----------
    name : "what_if", "retrain", "metasmoothness" or "exact"
    total : how many models it trains; of "exact", how many training examples it scores
    done : how many are done; a fraction while some are under way
    rows : how many retrainings were handed over; of another job, how many results
    words : why it failed, else ""
    where : "a process of its own", or "this kernel" where its training could not be sent to one
    """

    def __init__(self, name: str, total: int, on_rows, changed):
        self.name, self.total = name, total
        self.done, self.state, self.words = 0.0, "running", ""
        self.where = "a process of its own"
        self.rows = 0
        self._on_rows, self._changed = on_rows, changed
        self._began = time.monotonic()
        self._worked = 0.0  # seconds until the last pause
        self._go, self._over = threading.Event(), threading.Event()
        self._go.set()
        self._process: subprocess.Popen | None = None
        self._lock = threading.RLock()

    @property
    def is_over(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.state in ("done", "failed", "cancelled")

    @property
    def seconds_left(self) -> float | None:
        """How long it will take at the pace until now; None before there is one."""
        if self.done <= 0 or self.is_over:
            return None
        worked = self._worked + (time.monotonic() - self._began if self.state == "running" else 0)
        return worked / self.done * (self.total - self.done)

    @property
    def can_pause(self) -> bool:
        """Whether it can be paused here."""
        return self._process is None or hasattr(signal, "SIGSTOP")

    def pause(self) -> None:
        """Stop where it is, until `resume`; nothing is lost."""
        with self._lock:
            if self.state != "running" or not self.can_pause:
                return
            self._worked += time.monotonic() - self._began
            self.state = "paused"
            self._go.clear()
            self._signal("SIGSTOP")
        self._changed(self)

    def resume(self) -> None:
        """Go on after a pause."""
        with self._lock:
            if self.state != "paused":
                return
            self._began = time.monotonic()
            self.state = "running"
            self._go.set()
            self._signal("SIGCONT")
        self._changed(self)

    def cancel(self) -> None:
        """End it; the models that are finished stay."""
        self._end("cancelled")
        self._go.set()
        if self._process is not None:
            self._process.kill()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is over; False where that takes longer than `timeout` seconds."""
        return self._over.wait(timeout)

    def _signal(self, name: str) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(getattr(signal, name))

    def _heard(self, done: float) -> None:
        self.done = done
        self._changed(self)

    def _take(self, rows: xr.Dataset) -> None:
        if not self.is_over:
            self._on_rows(rows)
            self.rows += rows.sizes.get("retraining", 1)

    def _end(self, state: str, words: str = "") -> None:
        with self._lock:
            if self.is_over:
                return
            self.state, self.words = state, words
        # told outside the lock: what is told may hold one of its own
        self._changed(self)
        self._over.set()


class Jobs:
    """Starts jobs of one training, one at a time.

    Parameters
    ----------
    changed : called with the job whenever its state or progress is another, from a thread
    """

    def __init__(self, training: Training, changed: Callable[[Job], None] = lambda job: None):
        self.training = training
        self.current: Job | None = None
        self._changed = changed
        self._lock = threading.Lock()
        _alive.add(self)

    @property
    def refusal(self) -> str:
        """Why no job can be started now, in words; "" where one can."""
        if cores() < 2:
            return (
                "This kernel has one processor core, and a job would take it from your cells: "
                "retrain in a cell instead."
            )
        if self.current is not None and not self.current.is_over:
            return f"The job {self.current.name!r} is under way; wait for it or cancel it."
        return ""

    def start(self, name: str, asked: Work, on_rows: Callable[[xr.Dataset], None]) -> Job:
        """Start a job; returns at once.

        Parameters
        ----------
        on_rows : called with what `asked.results` gives, from a thread; it writes them

        Raises
        ------
        SettingError
            Another job is under way, or there is one core only.
        """
        with self._lock:
            if self.refusal:
                raise SettingError(self.refusal)
            job = self.current = Job(name, len(asked), on_rows, self._changed)
        threading.Thread(
            target=_run, args=(job, self.training, asked), name="dg-job", daemon=True
        ).start()
        self._changed(job)
        return job

    def stop(self) -> None:
        """Cancel what is under way."""
        if self.current is not None:
            self.current.cancel()


_alive: weakref.WeakSet[Jobs] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    for jobs in list(_alive):
        jobs.stop()


def _run(job: Job, training: Training, asked: Work) -> None:
    try:
        sent = packed(training, own=asked.steps_itself)
        if sent is None:
            job.where = "this kernel"
            _run_here(job, training, asked)
        else:
            _run_there(job, sent, asked)
    except _Stopped:
        job._end("cancelled")
    except Exception as error:
        if job._process is not None:
            job._process.kill()
        job._end("failed", f"{type(error).__name__}: {error}")


def _run_here(job: Job, training: Training, asked: Work) -> None:
    """In a thread of this process: for a training that no other process can be sent."""

    def on_moment(done: float) -> None:
        job._go.wait()
        if job.is_over:
            raise _Stopped
        job._heard(done)

    for found in asked.results(training, on_moment):
        job._take(found)
    job._end("done")


def _run_there(job: Job, sent: bytes, asked: Work) -> None:
    threads = max(1, cores() // 2)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    with tempfile.TemporaryFile() as said:
        with job._lock:
            if job.is_over:
                return
            process = job._process = subprocess.Popen(
                [sys.executable, "-c", _CHILD],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                env=environment,
            )
        to, back = cast(BinaryIO, process.stdin), cast(BinaryIO, process.stdout)
        told = {"training": sent, "asked": pickle.dumps(asked)}
        arrays = {name: np.frombuffer(one, np.uint8) for name, one in told.items()}
        with suppress(BrokenPipeError):
            write_frame(to, {"threads": threads}, arrays)
        finished = False
        while (frame := read_frame(back)) is not None:
            message, found = frame
            if message["kind"] == "progress":
                job._heard(message["done"])
            elif message["kind"] == "rows":
                job._take(as_dataset(message["found"], found))
            elif message["kind"] == "failed":
                job._end("failed", message["words"])
            else:
                finished = True
                job._heard(float(job.total))
        with suppress(BrokenPipeError):
            to.close()
        code = process.wait()
        back.close()
        if finished:
            job._end("done")
        elif not job.is_over:
            said.seek(0)
            job._end("failed", _how_it_died(code, said.read().decode(errors="replace"), job))


def _how_it_died(code: int, said: str, job: Job) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        memory = ", as the system does where memory runs out" if name == "SIGKILL" else ""
        cause = f"was ended by {name}{memory}"
    else:
        last = [line for line in said.splitlines() if line.strip()][-1:]
        cause = f"ended with {code}: {last[0][-_LAST:] if last else 'it said nothing'}"
    kept = f" {job.rows} of {job.total} retrainings are kept."
    return f"The process of this job {cause}.{kept if job.name in RETRAININGS else ''}"
