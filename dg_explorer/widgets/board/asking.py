"""*What if these were gone?* on a board: answers at once, and jobs where they were allowed.

The board computes nothing: `what_if` reads the record, and retraining is a job of `evaluation`,
whose rows are written here, by the kernel's one writer.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import traitlets

from ...errors import DGExplorerError
from ...record.growing_run import GrowingRun
from ..reading.blocks import pack
from ..reading.lights import lights
from ..reading.reader import RunReader
from .live import LiveBoard

if TYPE_CHECKING:
    from ...evaluation.jobs.running import Jobs

LINE = "explore(run, training=training)"
CHECKS = 32  # random removals that a board's check of itself makes
# what a board does to check itself, in turn: the first two by `check=True`, all by "exact"
PARTS = ("metasmoothness", "retrain", "exact")
_MOMENTS = 40  # at which exact scores are taken, at most
SHARE = 0.05  # of the training examples that each of them lacks
_BAND = 16  # random removals that stand beside a true answer
_KEPT = 20  # answers that a board carries
_EVERY = 0.25  # seconds between two reports of progress
_LISTS = ("train", "epoch", "words")
_IDLE = {"name": "", "state": "", "done": 0, "total": 0, "left": None, "words": "", "answer": ""}


class AsksWhatIf(traitlets.HasTraits):
    """The part of a board that answers questions and says how far a job has come."""

    _asked = traitlets.List().tag(sync=True)  # answers, the newest first
    _job = traitlets.Dict().tag(sync=True)
    _lights = traitlets.Bytes().tag(sync=True)  # newer ones than the preview's

    _asking: Asking | None = None

    def _allow(self, training, check: bool | str) -> None:
        """Take questions from now on; jobs where there is a training."""
        self._asking = Asking(self, training, exact=check == "exact")
        self._asked = self._asking.kept()
        self._asking.publish()
        if check:
            self._asking.check(True)


class Asking:
    """What one board was asked, and the job that it runs.

    Parameters
    ----------
    board : it is held weakly
    training : Training, optional
        Without it nothing is retrained.
    exact : bool
        Whether a check of the board adds exact scores as well.
    """

    def __init__(self, board, training=None, exact: bool = False):
        self._board: Callable[[], LiveBoard | None] = weakref.ref(board)
        self._jobs: Jobs | None = None
        self._answer = ""  # which answer the job under way is for
        self._checking = False  # whether the board is to check itself
        self._parts = PARTS if exact else PARTS[:2]
        self._tried: set[str] = set()  # parts that ended without a result
        self._folder = ""  # of an unfinished film
        self._again = False  # whether it goes on to when the job under way is over
        self._train, self._test = [], None  # what it is about
        self._told = 0.0
        self._lock = threading.RLock()
        if training is not None:
            from ...evaluation.jobs.running import Jobs
            from ...evaluation.retrainings.kept import check_of_this_run

            check_of_this_run(board.run, training)
            self._jobs = Jobs(training, self._changed)

    # ------------------------------------------------------------------ questions

    def kept(self) -> list[dict]:
        """The answers in the record, newest first."""
        board = self._board()
        if board is None or not board.run.kept("checks/what_if"):
            return []
        from ...evaluation.retrainings.what_if import what_ifs

        return [_plain(answer) for answer in what_ifs(board.run)[:_KEPT]]

    def hear(self, content: dict) -> None:
        """Do what the browser asks for; a refusal goes back to it in words."""
        board, kind = self._board(), content.get("kind")
        if board is None:
            return
        try:
            if kind == "what_if":
                self._ask(list(content["train"]), content.get("test"), content.get("method"))
                board.send({"kind": "what_if_answered"})
            elif kind == "retrain":
                self._retrain(list(content["train"]), content.get("test"))
            elif kind == "check":
                self.check(bool(content.get("on")))
            elif kind == "job" and self._jobs is not None and self._jobs.current is not None:
                act = str(content.get("act"))
                if act in ("pause", "resume", "cancel"):
                    getattr(self._jobs.current, act)()
        except DGExplorerError as error:
            board.send({"kind": "what_if_refused", "error": str(error)})
        except Exception as error:
            board.send({"kind": "what_if_refused", "error": f"{type(error).__name__}: {error}"})

    def _ask(self, train, test, method) -> dict | None:
        board = self._board()
        if board is None:
            return None
        from ...evaluation.retrainings.what_if import what_if

        answer = _plain(what_if(board.run, train, test=test, method=method))
        with self._lock:
            board._asked = [answer, *(a for a in board._asked if a["id"] != answer["id"])][:_KEPT]
        return answer

    # ------------------------------------------------------------------ jobs

    @property
    def refusal(self) -> str:
        """Why nothing is retrained from this board, in words; "" where it may be."""
        board = self._board()
        if self._jobs is None or board is None:
            return "This board was opened without a training."
        if isinstance(board.run, GrowingRun):
            return "This board follows a run that is being recorded, and only reads it."
        path = board.run.path
        if path is not None and (os.path.isfile(path) or not _writable(path)):
            return "This run is read-only: what a retraining finds could not be kept in it."
        current = self._jobs.current
        busy = current is not None and not current.is_over
        return "" if busy else self._jobs.refusal

    def _allowed(self) -> Jobs:
        if self._jobs is None:
            raise DGExplorerError(self.refusal)
        return self._jobs

    def check(self, on: bool) -> None:
        """Have the board check itself, part by part, or let that rest."""
        with self._lock:
            self._checking = on
            current = self._jobs.current if self._jobs else None
            if current is not None and not current.is_over and current.name in PARTS:
                (current.resume if on else current.pause)()
            elif on and not self.refusal and (current is None or current.is_over):
                any(self._start_part(part) for part in self._parts if part not in self._tried)
        self.publish()

    def _start_part(self, part: str) -> bool:
        """Start a part of the check; False where its result is there already."""
        from ...evaluation.jobs.asked import AskedExact, AskedSmoothness
        from ...evaluation.retrainings.removals import random_removals

        board, jobs = self._board(), self._allowed()
        training = jobs.training
        if board is None:
            return False
        if part == "retrain":
            removals = random_removals(CHECKS, training.train_ids, SHARE)
            weights = np.concatenate([np.ones_like(removals[:1]), removals])
            return self._start("retrain", weights, ["whole", *["random"] * CHECKS], "")
        if part == "metasmoothness":
            if board.run.checks(part):
                return False
            asked = AskedSmoothness()
        else:
            if "scores/unrolled" in board.run:
                return False
            if not self._folder:
                self._folder = tempfile.mkdtemp(prefix="dg-explorer-")
                weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
            keep = os.path.join(self._folder, "film")
            asked = AskedExact(_moments(board.run, training), training.n_train, keep)
        self._answer = ""
        jobs.start(part, asked, self._keep_part)
        return True

    def _keep_part(self, found) -> None:
        """Write what a part of the check found."""
        board = self._board()
        if board is None:
            return
        with board._lock:
            if "metasmoothness" in found:
                board.run.keep("checks/metasmoothness", found)
            else:
                from ...attribution.unrolled.recorded import keep_exact_scores

                keep_exact_scores(board.run, found)

    def _retrain(self, train, test) -> None:
        from ...evaluation.retrainings.removals import random_removals, weights_without

        with self._lock:
            if why := self.refusal:
                raise DGExplorerError(why)
            jobs = self._allowed()
            current, known = jobs.current, jobs.training.train_ids
            if current is not None and not current.is_over:
                if current.name not in PARTS:
                    raise DGExplorerError("A retraining is under way; wait for it or cancel it.")
                self._again = True
                current.cancel()  # its finished rows are kept; it goes on afterwards
            asked = weights_without(train, known)
            k = int((asked == 0).sum())
            random = random_removals(_BAND, known, k / len(asked))
            weights = np.concatenate([asked[None], np.ones_like(asked)[None], random])
            self._test, self._train = test, train
            self._start(
                "what_if", weights, ["asked", "whole", *["random"] * _BAND], _name_of(train, test)
            )

    def _start(self, name: str, weights: np.ndarray, why: list[str], answer: str) -> bool:
        from ...evaluation.jobs.asked import Asked
        from ...evaluation.retrainings.again import digest_of
        from ...evaluation.retrainings.kept import THIS, finished, name_of

        board, jobs = self._board(), self._allowed()
        if board is None:
            return False
        training = jobs.training
        there = finished(
            board.run, digest_of(training), training.recorded_epochs(), training.test_ids
        )
        todo = [i for i, row in enumerate(weights) if name_of(row, "this") not in there]
        self._answer = answer
        if not todo:
            if name == "what_if":
                self._conclude()
            return False
        asked = Asked(weights[todo], np.full(len(todo), THIS), [why[i] for i in todo])
        jobs.start(name, asked, self._write)
        return True

    def _write(self, rows) -> None:
        from ...evaluation.retrainings.kept import add_rows

        board = self._board()
        if board is None:
            return
        with board._lock:
            add_rows(board.run, rows)
        if self._answer and "asked" in rows["why"].values:
            self._ask(self._train, self._test, None)  # true from now on

    def _conclude(self) -> None:
        """The true answer is there: show it, and keep it in the record."""
        board = self._board()
        if board is None:
            return
        from ...evaluation.retrainings.what_if import what_if

        answer = self._ask(self._train, self._test, None)
        if answer is not None and answer["true"] is not None:
            what_if(board.run, self._train, test=self._test).keep()

    def _changed(self, job) -> None:
        if job.is_over:
            if job.name == "what_if":
                self._conclude()
            self.publish()
            if job.rows:
                self._turn_lights(new_scores=job.name == "exact")
            with self._lock:
                if job.name in PARTS and job.state == "failed":
                    self._tried.add(job.name)
                again = job.name in PARTS and job.state != "cancelled"
                if job.name == "what_if":
                    again, self._again = self._again, False
            if again and self._checking:
                threading.Thread(target=self.check, args=(True,), daemon=True).start()
        elif job.state == "paused" or time.monotonic() - self._told > _EVERY:
            self.publish()

    def _turn_lights(self, new_scores: bool = False) -> None:
        """What was found is a check of the scores: the lights go by it from now on."""
        from ...evaluation.retrainings.calibration import note_calibrations

        board = self._board()
        if board is None or board.comm is None:
            return
        note_calibrations(board.run, "this")
        if new_scores:  # another method in the menu: the board is read anew, lights and all
            board._lights = b""
            board.refresh()
        else:
            board._lights = pack(lights(RunReader(board.run)))

    def publish(self) -> None:
        """Tell the browser how things stand."""
        board = self._board()
        if board is None or board.comm is None:
            return
        self._told = time.monotonic()
        job = self._jobs.current if self._jobs else None
        said = dict(_IDLE)
        if job is not None:
            left = job.seconds_left
            said |= {
                "name": job.name,
                "state": job.state,
                "done": round(job.done, 2),
                "total": job.total,
                "left": None if left is None else round(left, 1),
                "words": job.words,
                "answer": self._answer,
                "pauses": job.can_pause,
                "where": job.where,
            }
        why = self.refusal
        board._job = {
            **said,
            "allowed": not why,
            "why": why,
            "line": LINE,
            "check": self._checking,
            "checked": retrainings_of(board.run),
        }

    def stop(self) -> None:
        """End the job under way."""
        if self._jobs is not None:
            self._checking = self._again = False
            self._jobs.stop()


def _moments(run, training) -> list[int]:
    """The epochs of the scores that are there, where the training passes them; else spread ones."""
    there = [int(epoch) for epoch in training.recorded_epochs()]
    scored = {int(e) for g in run.groups() if g.startswith("scores/") for e in run.epochs(g)}
    chosen = [epoch for epoch in there if epoch in scored] or there
    places = np.linspace(0, len(chosen) - 1, min(len(chosen), _MOMENTS)).round().astype(int)
    return [chosen[i] for i in np.unique(places)]


def retrainings_of(run) -> int:
    """How many retrainings a run keeps."""
    return sum(run.sizes(group)["retraining"] for group in run.kept("checks/retrainings"))


def _plain(answer) -> dict:
    """An answer as the browser takes it, with a name that the same question has again."""
    said = answer.to_dict()
    curves = {k: [_short(v) for v in c] for k, c in said.items() if k not in _LISTS and _is_list(c)}
    return {**said, **curves, "id": _name_of(said["train"], said["test"])}


def _is_list(value) -> bool:
    return isinstance(value, list)


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")  # a saved notebook holds them all


def _name_of(train, test) -> str:
    told = hashlib.sha256(repr((sorted(map(int, train)), test)).encode())
    return told.hexdigest()[:16]


def _writable(path) -> bool:
    return "://" in str(path) or os.access(path, os.W_OK)
