"""`Processes`: those that train one model together, and what they say to each other.

What is sent is tensors and JSON, never a pickle, through a group of its own: it is not mixed up
with what the training sends, and has its own time limit.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as dump_tensors

from ...checkpoints.packing import Packer, unpack
from ...errors import DGExplorerError, RunError

# how long the others wait while the first evaluates and writes; if it dies they hear at once
LONG = timedelta(days=7)


class Processes:
    """The processes of a training, seen from one of them.

    Parameters
    ----------
    wait : float
        Seconds that one waits for the others at a moment that they all come to.

    Attributes
    ----------
    rank, world : int
        This one's number, and how many there are.

    Raises
    ------
    RunError
        Not all of them made a recorder in that time.
    """

    def __init__(self, wait: float):
        import torch.distributed as dist

        self._dist = dist
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self._wait = timedelta(seconds=wait)
        try:
            self._group: Any = dist.new_group(backend="gloo", timeout=self._wait)
        except RuntimeError as error:
            raise RunError(
                f"Process (rank) {self.rank} of {self.world} waited {wait:g} s for the others to "
                f"make a Recorder: {_first_line(error)}. Make it in every process, with the same "
                f"settings: Recorder(run if rank == 0 else None, model, optimizer, ...)."
            ) from error
        # until now a process that never comes; from now on one that evaluates for long
        dist.distributed_c10d._set_pg_timeout(LONG, self._group)

    @staticmethod
    def there() -> bool:
        """Whether several processes train together."""
        dist = sys.modules.get("torch.distributed")
        if dist is None or not dist.is_available() or not dist.is_initialized():
            return False
        return dist.get_world_size() > 1

    @property
    def first(self) -> bool:
        """Whether this is the one that records."""
        return self.rank == 0

    def meet(self, where: str) -> None:
        """Wait until all processes are there.

        Raises
        ------
        RunError
            One did not come in time, or has ended; says which, where that is known.
        """
        try:
            self._dist.monitored_barrier(self._group, timeout=self._wait, wait_all_ranks=True)
        except RuntimeError as error:
            raise self._left_alone(where, error) from error

    def gather(self, mine: Any, where: str) -> list | None:
        """Plain data of every process, in their order, at the first one; None at the others."""
        self.meet(where)
        try:
            if not self.first:
                self._send(to_bytes(mine), 0)
                return None
            rest = [from_bytes(self._receive(rank)) for rank in range(1, self.world)]
            return [from_bytes(to_bytes(mine)), *rest]
        except RuntimeError as error:
            raise self._left_alone(where, error) from error

    def from_first(self, value: Any, where: str) -> Any:
        """Plain data that the first process gives to all; what the others give is not looked at."""
        try:
            if not self.first:
                return from_bytes(self._receive(0))
            data = to_bytes(value)
            for rank in range(1, self.world):
                self._send(data, rank)
            return value
        except RuntimeError as error:
            raise self._left_alone(where, error) from error

    def join(self, where: str, part: Callable[[], Any], record: Callable[[list], Any]) -> Any:
        """Each process's part to the first one, which makes the result of all out of them.

        What is raised in one process is raised in all, so that none waits for the others.

        Parameters
        ----------
        part : callable ``() -> plain data``
        record : callable ``(parts) -> plain data``, called in the first process only

        Raises
        ------
        RunError
            Something went wrong in another process; names it.
        """
        mine, raised = _tried(part)
        parts = self.gather({"part": mine, "error": _words(raised)}, where)
        said = {"result": None, "rank": 0, "error": None}
        late = None
        if parts is not None:
            wrong = [(rank, p["error"]) for rank, p in enumerate(parts) if p["error"]]
            if wrong:
                said["rank"], said["error"] = wrong[0]
            else:
                said["result"], late = _tried(lambda: record([p["part"] for p in parts]))
                said["error"] = _words(late)
        said = self.from_first(said, where)
        own = raised or late
        if own is not None:
            raise own
        if said["error"]:
            raise RunError(
                f"Process (rank) {said['rank']} of {self.world} could not record {where}: "
                f"{said['error']}"
            )
        return said["result"]

    def _send(self, data: bytes, to: int) -> None:
        size = torch.tensor([len(data)])
        self._dist.send(size, to, group=self._group)
        self._dist.send(torch.frombuffer(bytearray(data), dtype=torch.uint8), to, group=self._group)

    def _receive(self, rank: int) -> bytes:
        size = torch.zeros(1, dtype=torch.int64)
        self._dist.recv(size, rank, group=self._group)
        data = torch.empty(int(size), dtype=torch.uint8)
        self._dist.recv(data, rank, group=self._group)
        return data.numpy().tobytes()

    def _left_alone(self, where: str, error: Exception) -> RunError:
        said = _first_line(error)
        return RunError(
            f"Process (rank) {self.rank} of {self.world} is at {where}, and another has not come "
            f"within {self._wait.total_seconds():g} s, or has ended: {said}. Every process calls "
            f"rec.epoch and rec.resume as the first one does. More time: Recorder(wait=...)."
        )


def to_bytes(value: Any) -> bytes:
    """Nested plain data with arrays and tensors in it, as JSON and safetensors."""
    packer = Packer()
    head = json.dumps(packer.pack(value, "part")).encode()
    return len(head).to_bytes(8, "big") + head + dump_tensors(packer.tensors)


def from_bytes(data: bytes) -> Any:
    """What `to_bytes` made."""
    size = int.from_bytes(data[:8], "big")
    return unpack(json.loads(data[8 : 8 + size]), load_tensors(data[8 + size :]))


def _tried(act: Callable[[], Any]) -> tuple[Any, Exception | None]:
    try:
        return act(), None
    except Exception as error:
        return None, error


def _words(error: Exception | None) -> str | None:
    if error is None:
        return None
    return str(error) if isinstance(error, DGExplorerError) else f"{type(error).__name__}: {error}"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
