"""Checkpoints of a run: weights, optimizer state and random state, as safetensors and JSON.

A checkpoint is a folder of blobs beside the record:

- `checkpoints/epoch_000400/weights.safetensors`: the model's state dict,
- `checkpoints/epoch_000400/training.safetensors`: tensors of the optimizer and of the
  random generators,
- `checkpoints/epoch_000400/checkpoint.json`: everything that is not a tensor, and the digests;
  written last, so that a checkpoint without it was never finished.

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
from ..errors import (
    ArchitectureMismatchError,
    CheckpointError,
    MissingGroupError,
    NonFiniteError,
)
from ..record.policy import Rows, plain_attrs
from ..record.run import as_run
from .packing import Packer, unpack
from .random_state import restore_rng, rng_state
from .renaming import renamed

__all__ = [
    "Checkpoint",
    "load_checkpoint",
    "load_initial",
    "load_into",
    "load_weights",
    "save_checkpoint",
    "save_initial",
    "saved_epochs",
]

FORMAT = 1
INITIAL = "checkpoints/initial"
_SAME_SETTINGS = "Build the model with the settings it was trained with."
_OF_KERAS = (
    "These are keras's own names. In keras on torch: model.load_weights('w_1.weights.h5'); "
    "torch.save(model.state_dict(), 'epoch_1.pt'), and pass that."
)


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
    """

    epoch: int
    weights: dict
    optimizer: dict | None = None
    rng: dict | None = None
    parameters: list[str] = field(default_factory=list)
    extra: dict = field(default_factory=dict)
    rng_of_ranks: list[dict] | None = None

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
        """Put model, optimizer and random generators back where they were."""
        load_into(model, self.weights)
        if optimizer is not None:
            optimizer.load_state_dict(self._require("optimizer"))
        if rng:
            self.restore_rng()

    def restore_rng(self) -> None:
        """Put the random generators back where they were."""
        restore_rng(self._require("rng"))

    def _require(self, part: str) -> dict:
        if part not in self.holds:
            raise CheckpointError(
                f"The checkpoint at {self.epoch} has no {part} state; it holds "
                f"{', '.join(self.holds)}. Exact resumption and replay need it: record with "
                f"save_checkpoint(run, epoch, model, optimizer), or pass rng=False here."
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
    optimizer : torch optimizer, optional
        Its state dict, needed for exact resumption and for unrolled influence.
    rng : bool
        Whether to keep the states of the random generators.
    extra : dict of plain values, optional
    rng_of_ranks : list of dict, optional
        `rng_state()` of each process, where several train the model.
    overwrite : replace the checkpoint that this epoch has

    Raises
    ------
    CheckpointError
        This epoch has a checkpoint already, or the state holds something that is neither a
        tensor nor a plain value.
    """
    if optimizer is not None and not hasattr(optimizer, "state_dict"):
        raise CheckpointError(f"A checkpoint holds one torch optimizer, not {optimizer!r}.")
    run = as_run(run)
    epoch = int(epoch)
    folder = folder_of(epoch)
    # asking the record is slow, so only where a file says that there may be one
    there = f"{folder}/checkpoint.json" in run.blobs
    if there and not overwrite and epoch in saved_epochs(run):
        raise CheckpointError(f"This run has a checkpoint at {run.time_unit} {epoch} already.")
    digest, holds = _write(run, folder, epoch, model, optimizer, rng, extra, rng_of_ranks)
    row = {"path": folder, "digest": digest, "holds": holds}
    values = {name: (("epoch",), np.array([value], dtype=object)) for name, value in row.items()}
    run.append("checkpoints", Rows("epoch", np.array([epoch]), values), overwrite=overwrite)
    return digest


def save_initial(run, model, optimizer=None) -> str:
    """Write the state before the first step, which replay starts from; return its digest.

    It stands beside the checkpoints and not among them: no epoch has been trained yet.
    """
    return _write(run, INITIAL, -1, model, optimizer, True, None)[0]


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
    """Where the checkpoint of an epoch lies, beside the record."""
    return f"checkpoints/epoch_{int(epoch):06d}"


@checked
def load_into(model, state_dict: dict, *, prefix: str | None = None) -> str:
    """Load weights into a model of the same architecture, checking names, shapes and NaN.

    What wrappers put into names may differ on either side, inside and outside (`module.`,
    `_orig_mod.`, those of FSDP and of activation checkpointing), and so may what all names begin
    with; the tensors of a criterion and the counter of averaged weights are left out; a tied weight
    that the checkpoint holds only once is found. Adapters are loaded onto a model that has them,
    and leave the rest of it as it is.

    Parameters
    ----------
    model : module
    state_dict : names of tensors to tensors
    prefix : str, optional
        What the names of this model begin with in a checkpoint of several networks.

    Returns
    -------
    str
        In words what was renamed and left out; empty where the names are the model's own.

    Raises
    ------
    ArchitectureMismatchError
        Names or shapes differ; the first that do are listed. The model is left unchanged.
    CheckpointError
        More than one renaming fits; `prefix=` chooses.
    NonFiniteError
        Weights are NaN or infinite; the first names are listed.
    """
    own = model.state_dict()
    given, told = renamed(state_dict, model, prefix)
    missing = [name for name in own if name not in given]
    unexpected = [name for name in given if name not in own]
    shapes = [
        f"{name}: {tuple(given[name].shape)} in the checkpoint, {tuple(own[name].shape)} here"
        for name in own
        if name in given and torch.is_tensor(own[name]) and given[name].shape != own[name].shape
    ]
    differs = {
        "only in the model": missing,
        "only in the checkpoint": unexpected,
        "of other shape": shapes,
    }
    if any(differs.values()):
        several = "; ".join(f"{what}: {_first(names)}" for what, names in differs.items() if names)
        raise ArchitectureMismatchError(
            f"The checkpoint does not fit this {type(model).__name__}. {several}. "
            + (_OF_KERAS if any("/vars/" in name for name in unexpected) else _SAME_SETTINGS)
        )
    check_finite(parameters_of(model, given))
    model.load_state_dict(given)
    return told


def parameters_of(model, state_dict: dict) -> dict:
    """The part of a state dict that is trained; a mask of -inf is a buffer like any other."""
    names = dict(model.named_parameters(remove_duplicate=False))
    return {name: tensor for name, tensor in state_dict.items() if name in names}


def check_finite(state_dict: dict) -> None:
    """Raise `NonFiniteError` naming the weights that hold NaN or infinity."""
    broken = [
        name
        for name, tensor in state_dict.items()
        if torch.is_tensor(tensor)
        and tensor.is_floating_point()
        and not torch.isfinite(tensor).all()
    ]
    if broken:
        raise NonFiniteError(
            f"{len(broken)} of {len(state_dict)} weights hold NaN or infinity: {_first(broken)}. "
            f"The training diverged before this checkpoint; use an earlier one."
        )


def _write(run, folder, epoch, model, optimizer, rng, extra, ranks=None) -> tuple[str, str]:
    """Write the files of one checkpoint; return the digest of the weights and what it holds."""
    names = [name for name, _ in model.named_parameters()] if hasattr(model, "parameters") else []
    weights = Packer()
    training = Packer()
    state = model.state_dict() if hasattr(model, "state_dict") else dict(model)
    plain = {
        "format": FORMAT,
        "epoch": epoch,
        "weights": weights.pack(dict(state), ""),
        "optimizer": training.pack(optimizer.state_dict(), "optimizer") if optimizer else None,
        "rng": training.pack(rng_state(), "rng") if rng else None,
        "parameters": _optimizer_names(model, optimizer, names),
        "extra": plain_attrs("the checkpoint", extra or {}),
    }
    if ranks is not None:
        plain["rng_of_ranks"] = training.pack(ranks, "rng_of_ranks")
    files = {"weights.safetensors": dump_tensors(weights.tensors)}
    if training.tensors:
        files["training.safetensors"] = dump_tensors(training.tensors)
    plain["digests"] = {name: _sha(data) for name, data in files.items()}
    files["checkpoint.json"] = json.dumps(plain).encode()
    for name, data in files.items():
        run.blobs.write(f"{folder}/{name}", data)
    holds = [part for part in ("weights", "optimizer", "rng") if plain[part] is not None]
    return plain["digests"]["weights.safetensors"], ", ".join(holds)


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
    plain = json.loads(run.blobs.read(f"{folder}/checkpoint.json"))
    tensors = {}
    for name, digest in plain["digests"].items():
        if name == "weights.safetensors" or training:
            data = bytes(run.blobs.read(f"{folder}/{name}"))
            if _sha(data) != digest:
                raise CheckpointError(
                    f"{folder}/{name} is not the file that was written: its digest differs. "
                    f"Copy the run again from where it was recorded."
                )
            tensors |= load_tensors(data)
    parts = ("optimizer", "rng", "rng_of_ranks") if training else ()
    rest = {part: unpack(plain.get(part), tensors) for part in parts}
    return Checkpoint(
        epoch=plain["epoch"],
        weights=unpack(plain["weights"], tensors),
        parameters=plain["parameters"],
        extra=plain["extra"],
        **rest,
    )


def _optimizer_names(model, optimizer, names: list[str]) -> list[str]:
    if optimizer is None or not names:
        return names
    known = {id(p): name for name, p in model.named_parameters()}
    groups = optimizer.param_groups
    return [known.get(id(p), "") for group in groups for p in group["params"]]


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _first(names, k: int = 3) -> str:
    more = f" and {len(names) - k} more" if len(names) > k else ""
    return ", ".join(names[:k]) + more
