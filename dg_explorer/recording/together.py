"""`TrainedTogether`: what a recorder says to those of the other processes that train its model."""

from __future__ import annotations

from typing import Any

from ..arguments import checked
from ..checkpoints.random_state import rng_state
from ..checkpoints.store import load_checkpoint, saved_epochs
from ..errors import SettingError
from ..training.step.rounds import Rounds
from .epoch_rows import EpochRows
from .ranks.joining import check_parts, check_world, checkpoint_for
from .ranks.processes import Processes
from .ranks.sharded import restore_sharded
from .ranks.steps import joined, plain
from .table import LogitBuffer


class TrainedTogether(EpochRows):
    """The part of a `Recorder` that knows of other processes; alone it has no one to wait for."""

    _buffer: LogitBuffer
    _last: int | None

    @checked
    def resume(self, *, rng: bool = True) -> int | None:
        """Go back to the last checkpoint, exactly; return its epoch, or None if there is none.

        Weights, optimizer and random generators are restored, so that going on from the epoch
        after it gives what the interrupted training would have given. Rows that the record has
        already beyond it are kept, not written twice. An epoch that was cut short after its
        checkpoint and before its `metrics` is trained again. Where several processes train, all
        of them call this, and each has its own random generators back.

        Parameters
        ----------
        rng : bool
            False goes on with other random numbers, which another number of processes needs.

        Raises
        ------
        CheckpointError
            The checkpoint was written by another number of processes.
        """
        if self._processes is None:
            found = self._saved(rng, 1)
        else:
            world = self._processes.world
            where = "resume"
            found = self._processes.join(where, lambda: None, lambda _: self._saved(rng, world))
        if found["checkpoint"] is None:
            # from the beginning, over what the first epoch has written
            self._resumed_at = found["resumed_at"]
            return None
        checkpoint = checkpoint_for(self._processes, found["checkpoint"])
        if self._sharded:
            restore_sharded(checkpoint, self.model, self.optimizer)
            if rng:
                checkpoint.restore_rng()
        else:
            checkpoint.restore(self.model, self.optimizer, rng=rng)
        self.steps_taken = checkpoint.extra.get("steps_taken", 0)
        self._calls = found["calls"]  # so that every n-th epoch stays every n-th
        if self._witness is not None:
            self._witness.go_on_from(self.steps_taken)
        if self._watched is not None:
            self._watched.settle()
        if self._sampler is not None:
            self._sampler.go_on(checkpoint.going_on)
        if not rng and self._replay is not None:
            self._replay.miss(f"the random numbers from step {self.steps_taken} on")
        self._take_up_rates(checkpoint.epoch)
        self._resumed_at = self._last = checkpoint.epoch
        return checkpoint.epoch

    def _saved(self, rng: bool, world: int) -> dict:
        """The checkpoint to go back to, as plain data, and how many epochs were recorded by it."""
        saved = saved_epochs(self.run)
        if not saved:
            return {"checkpoint": None, "resumed_at": None}
        complete = self.run.epochs("metrics").tolist() if "metrics" in self.run else []
        saved = [epoch for epoch in saved if epoch in complete]
        if not saved:
            return {"checkpoint": None, "resumed_at": -1}
        checkpoint = load_checkpoint(self.run, saved[-1])
        if rng:
            check_world(checkpoint, world)
        return {"checkpoint": vars(checkpoint), "calls": complete.index(saved[-1]) + 1}

    def _record(self, epoch: int, parts: list[dict]) -> dict[str, float]:
        """Write the rows of an epoch, from what each process has of it."""
        if self._processes is None:
            self._unseen = parts[0]["unseen"]
        else:
            self._join(parts)
        return self._record_row(epoch, self._evaluate(), self._whole())

    def _joined(self, processes: Processes, epoch: int) -> dict[str, float]:
        """Record what all processes have of an epoch, in the first one."""
        where = f"{self.run.time_unit} {epoch}"
        if not self._sharded:
            return processes.join(
                where, lambda: self._part(epoch), lambda parts: self._record(epoch, parts)
            )
        # no process can evaluate or save by itself
        processes.join(where, lambda: self._part(epoch), self._join)
        measured = self._evaluate()
        whole = self._whole() if self._saves_now else None
        return processes.join(
            where, lambda: None, lambda _: self._record_row(epoch, measured, whole)
        )

    def _check_order(self, epoch: int) -> None:
        if self._last is not None and epoch <= self._last:
            what = "comes again" if epoch == self._last else f"comes after {self._last}"
            raise SettingError(
                f"{self.run.time_unit.capitalize()} {epoch} {what}, but the record must ascend. "
                f"Number epochs on, record into a new run, or call rec.resume() first to go on "
                f"from the last checkpoint."
            )

    def _part(self, epoch: int) -> dict:
        """What this process has of an epoch, as plain data."""
        self._check_order(epoch)
        self._buffer.reduce()
        if isinstance(self.optimizer, Rounds):
            self.optimizer.settle()
        part: dict[str, Any] = {"unseen": self._watched is not None and self._watched.look()}
        self._name_moved()
        if self._processes is None:
            return part
        if self._watched is not None and not self._sharded:
            part["weights"] = self._watched.sums
        if self._replay is not None and self._witness is not None:
            self._witness.finish()  # the last step may still wait to be compared
            steps = self._replay.take()
            first, weights = self.steps_taken - len(steps), self._witness.take_weights()
            part["replay"] = plain(steps, first, weights)
            part["missing"] = self._replay.missing
        return part | {
            "epoch": epoch,
            "steps_taken": self.steps_taken,
            "train": self._tables["train"].part(),
            "rng": rng_state(),
        }

    def _join(self, parts: list[dict]) -> None:
        """Go on as one process that had been given the batches of all."""
        said = check_parts(parts)
        self._unseen = any(part["unseen"] for part in parts)
        self._tables["train"].join([part["train"] for part in parts])
        self._rng_of_ranks = [part["rng"] for part in parts]
        self.steps_taken = max(part["steps_taken"] for part in parts)
        if self._replay is not None:
            for lack in [*said, *(lack for part in parts for lack in part["missing"])]:
                self._replay.miss(lack)
            self._replay.put(joined([part["replay"] for part in parts]))

    def _go_on_at(self, steps: int) -> None:
        """Count steps as the others do: this process may have been without data before them."""
        if self._witness is not None and self._witness.step != steps:
            self._witness.go_on_from(steps)
        self.steps_taken = steps
