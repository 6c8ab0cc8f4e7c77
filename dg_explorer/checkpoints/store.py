"""Checkpoints of a run: weights, optimizer state and random state, as safetensors and JSON.

A checkpoint is a folder of blobs beside the record:

- `checkpoints/epoch_000400/weights.safetensors`: the model's state dict,
- `checkpoints/epoch_000400/training.safetensors`: tensors of the optimizer and of the
  random generators,
- `checkpoints/epoch_000400/checkpoint.json`: everything that is not a tensor, and the digests;
  written last, so that a checkpoint without it was never finished.

The state of optimizer and generators may stand in `checkpoints/newest` instead, where the next
checkpoint replaces it.

Nothing is ever pickled. `model_checkpoints` reads the formats that other tools write.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as dump_tensors

from ..arguments import Brief, checked
from ..errors import CheckpointError, MissingGroupError
from ..record.policy import Rows, plain_attrs
from ..record.run import as_run
from .loading import load_into
from .packing import Packer, unpack
from .random_state import restore_rng, rng_state
from .several import Several, as_one, name_of

__all__ = [
    "Checkpoint",
    "load_checkpoint",
    "load_initial",
    "load_weights",
    "save_checkpoint",
    "save_initial",
    "saved_epochs",
]

FORMAT = 1
INITIAL = "checkpoints/initial"
NEWEST = "checkpoints/newest"
_STATE = ("optimizer", "rng", "rng_of_ranks", "going_on")


@dataclass(repr=False)
class Checkpoint(Brief):
    """One checkpoint of a run, read back.

    Attributes
    ----------
    weights : dict of tensors, by name of parameter or buffer
    optimizer : the optimizer's state dict, or None where it was not saved
    rng : the states of torch's, NumPy's and Python's random generators, or None
    parameters : names of the parameters in the order of the optimizer's numbering
    extra : what the writer noted besides, such as `steps_taken`
    rng_of_ranks : as `rng`, one a process where several trained the model, else None
    going_on : what else its recorder needs to go on from the newest checkpoint, or None
    """

    epoch: int
    weights: dict
    optimizer: dict | None = None
    rng: dict | None = None
    parameters: list[str] = field(default_factory=list)
    extra: dict = field(default_factory=dict)
    rng_of_ranks: list[dict] | None = None
    going_on: dict | None = None

    @property
    def holds(self) -> tuple[str, ...]:
        """Which of weights, optimizer and rng this checkpoint has."""
        there = {"weights": True, "optimizer": self.optimizer, "rng": self.rng}
        return tuple(name for name, value in there.items() if value)

    def optimizer_state(self) -> dict[str, dict]:
        """The optimizer's tensors by name of parameter: `{"fc1.weight": {"exp_avg": ...}}`."""
        state = self._require("optimizer")["state"]
        return {name: state[i] for i, name in enumerate(self.parameters) if i in state}

    def restore(self, model, optimizer=None, *, rng: bool = True) -> None:
        """Put model, optimizer (or a list of them, as saved) and random generators back."""
        load_into(model, self.weights)
        if optimizer is not None:
            self._check_order(model, as_one(optimizer))
            as_one(optimizer).load_state_dict(self._require("optimizer"))
        if rng:
            self.restore_rng()

    def _check_order(self, model, optimizer) -> None:
        """Refuse several optimizers in another order than that in which they were saved."""
        names = _optimizer_names(model, optimizer, self.parameters)
        if isinstance(optimizer, Several) and names != self.parameters:
            raise CheckpointError(
                f"{name_of(optimizer)} hold other parameters, or in another order, than the "
                f"optimizers that were saved: theirs began with {self.parameters[0]!r}, these "
                f"with {names[0]!r}. Give the same optimizers in the same order."
            )

    def restore_rng(self) -> None:
        """Put the random generators back where they were."""
        restore_rng(self._require("rng"))

    def _require(self, part: str) -> dict:
        if part not in self.holds:
            raise CheckpointError(
                f"The checkpoint at {self.epoch} has no {part} state; it holds "
                f"{', '.join(self.holds)}. Exact resumption needs it: take the newest checkpoint, "
                f"record with Recorder(..., state_every=1) or save_checkpoint(run, epoch, model, "
                f"optimizer), or pass rng=False here."
            )
        return getattr(self, part)


@checked
def save_checkpoint(
    run,
    epoch: int,
    model: torch.nn.Module | Mapping,
    optimizer=None,
    *,
    rng: bool = True,
    extra=None,
    rng_of_ranks: list | None = None,
    keep_state: bool = True,
    going_on: Mapping | None = None,
    overwrite: bool = False,
) -> str:
    """Write a checkpoint beside the record, list it in `checkpoints`, and return its digest.

    Parameters
    ----------
    run : Run
    epoch : int
        In the run's time unit.
    model : module or state dict
        Written in the precision it has.
    optimizer : torch optimizer or list of them, optional
        Its state dict, needed for exact resumption and for unrolled influence; of several that of
        one optimizer with the groups of all, in their order.
    rng : bool
        Whether to keep the states of the random generators.
    extra : dict of plain values, optional
    rng_of_ranks : list of dict, optional
        `rng_state()` of each process, where several train the model.
    keep_state : whether the state of optimizer and generators stays when the next is saved
    going_on : dict of tensors and plain values, optional
        Kept until the next checkpoint is saved.
    overwrite : replace the checkpoint that this epoch has

    Raises
    ------
    CheckpointError
        This epoch has a checkpoint already, or the state holds something that is neither a
        tensor nor a plain value.
    """
    optimizer = as_one(optimizer)
    if optimizer is not None and not hasattr(optimizer, "state_dict"):
        raise CheckpointError(
            f"A checkpoint holds a torch optimizer or a list of them, not {optimizer!r}."
        )
    run = as_run(run)
    epoch = int(epoch)
    folder = folder_of(epoch)
    # asking the record is slow, so only where a file says that there may be one
    there = f"{folder}/checkpoint.json" in run.blobs
    if there and not overwrite and epoch in saved_epochs(run):
        raise CheckpointError(f"This run has a checkpoint at {run.time_unit} {epoch} already.")
    parts = _packed(epoch, model, optimizer, rng, extra)
    if rng_of_ranks is not None:
        parts["rng_of_ranks"] = rng_of_ranks
    newest = {} if going_on is None else {"going_on": dict(going_on)}
    if not keep_state:
        newest |= {part: parts.pop(part) for part in _STATE if part in parts}
    digest, holds = _write(run, folder, parts)
    if newest:
        _write(run, NEWEST, {"epoch": epoch, "of": digest, **newest})
    row = {"path": folder, "digest": digest, "holds": holds}
    values = {name: (("epoch",), np.array([value], dtype=object)) for name, value in row.items()}
    run.append("checkpoints", Rows("epoch", np.array([epoch]), values), overwrite=overwrite)
    return digest


def save_initial(run, model, optimizer=None) -> str:
    """Write the state before the first step, which replay starts from; return its digest.

    It stands beside the checkpoints and not among them: no epoch has been trained yet.
    """
    return _write(run, INITIAL, _packed(-1, model, optimizer, True, None))[0]


def load_initial(run) -> Checkpoint:
    """The state before the first step; `CheckpointError` where the recorder did not keep it."""
    if f"{INITIAL}/checkpoint.json" not in run.blobs:
        raise CheckpointError(
            "This run does not hold the state before its first step. Record with "
            "Recorder(..., replay=True) to keep what an exact replay needs."
        )
    return _read_folder(run, INITIAL, training=True)


def load_weights(run, epoch: int) -> dict:
    """The weights saved at an epoch: a state dict of tensors on the CPU.

    Raises
    ------
    CheckpointError
        Nothing was saved at this epoch, or the file changed since it was written.
    """
    return _read(run, epoch, training=False).weights


def load_checkpoint(run, epoch: int) -> Checkpoint:
    """Everything saved at an epoch; `Checkpoint.restore` resumes from it exactly."""
    return _read(run, epoch, training=True)


def saved_epochs(run) -> list[int]:
    """The epochs with a finished checkpoint, in ascending order."""
    try:
        return [int(epoch) for epoch in run.epochs("checkpoints")]
    except MissingGroupError:
        return []


def folder_of(epoch: int) -> str:
    """The path of an epoch's checkpoint, beside the record."""
    return f"checkpoints/epoch_{int(epoch):06d}"


def _packed(epoch: int, model, optimizer, rng: bool, extra) -> dict:
    """What one checkpoint holds, by part."""
    names = [name for name, _ in model.named_parameters()] if hasattr(model, "parameters") else []
    return {
        "epoch": epoch,
        "weights": dict(model.state_dict() if hasattr(model, "state_dict") else model),
        "optimizer": optimizer.state_dict() if optimizer else None,
        "rng": rng_state() if rng else None,
        "parameters": _optimizer_names(model, optimizer, names),
        "extra": plain_attrs("the checkpoint", extra or {}),
    }


def _write(run, folder: str, parts: dict) -> tuple[str, str]:
    """Write the files of one checkpoint; return the digest of the weights and what it holds."""
    weights, training = Packer(), Packer()
    plain = {"format": FORMAT, "optimizer": None, "rng": None} | parts
    for part in ("weights", *_STATE):
        if plain.get(part) is not None:
            packer, key = (weights, "") if part == "weights" else (training, part)
            plain[part] = packer.pack(plain[part], key)
    files = {}
    if "weights" in parts:
        files["weights.safetensors"] = dump_tensors(weights.tensors)
    if training.tensors:
        files["training.safetensors"] = dump_tensors(training.tensors)
    plain["digests"] = {name: _sha(data) for name, data in files.items()}
    files["checkpoint.json"] = json.dumps(plain).encode()
    for name, data in files.items():
        run.blobs.write(f"{folder}/{name}", data)
    holds = [part for part in ("weights", "optimizer", "rng") if plain.get(part) is not None]
    return plain["digests"].get("weights.safetensors", ""), ", ".join(holds)


def going_on_from(run, epoch: int) -> dict | None:
    """What the recorder of the newest checkpoint kept to go on, if that is of this epoch."""
    if f"{NEWEST}/checkpoint.json" not in run.blobs or epoch not in saved_epochs(run):
        return None
    return load_checkpoint(run, epoch).going_on


def _read(run, epoch: int, *, training: bool) -> Checkpoint:
    folder = folder_of(epoch)
    if int(epoch) not in saved_epochs(run):
        there = ", ".join(map(str, saved_epochs(run))) or "none"
        raise CheckpointError(
            f"No checkpoint at {run.time_unit} {epoch}; this run has {there}. "
            f"Choose one of these, or record with a smaller checkpoint_every."
        )
    return _read_folder(run, folder, training=training)


def _read_folder(run, folder: str, *, training: bool) -> Checkpoint:
    plain, tensors = _files(run, folder, ("weights", "training") if training else ("weights",))
    state = {part: unpack(plain.get(part), tensors) for part in _STATE if training}
    if training and f"{NEWEST}/checkpoint.json" in run.blobs:
        newest, kept = _files(run, NEWEST, ())
        same = newest["of"] == plain["digests"]["weights.safetensors"]
        if same and newest["epoch"] == plain["epoch"]:
            newest, kept = _files(run, NEWEST, ("training",))
            state |= {p: unpack(newest[p], kept) for p in _STATE if newest.get(p) is not None}
    return Checkpoint(
        epoch=plain["epoch"],
        weights=unpack(plain["weights"], tensors),
        parameters=plain["parameters"],
        extra=plain["extra"],
        **state,
    )


def _files(run, folder: str, wanted: tuple[str, ...]) -> tuple[dict, dict]:
    """What a checkpoint's JSON says, and the tensors of the wanted files, compared with it."""
    plain, tensors = json.loads(run.blobs.read(f"{folder}/checkpoint.json")), {}
    for name, digest in plain["digests"].items():
        if name.partition(".")[0] in wanted:
            data = bytes(run.blobs.read(f"{folder}/{name}"))
            if _sha(data) != digest:
                raise CheckpointError(
                    f"{folder}/{name} is not the file that was written: its digest differs. "
                    f"Copy the run again from where it was recorded."
                )
            tensors |= load_tensors(data)
    return plain, tensors


def _optimizer_names(model, optimizer, names: list[str]) -> list[str]:
    if optimizer is None or not names:
        return names
    known = {id(p): name for name, p in model.named_parameters()}
    groups = optimizer.param_groups
    return [known.get(id(p), "") for group in groups for p in group["params"]]


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
