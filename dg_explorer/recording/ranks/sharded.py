"""Models whose weights are shared out among processes (`fully_shard`), put together and given back.

Everything here is called in all processes at once: each of them holds a piece.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from ...checkpoints.store import Checkpoint
from ...errors import RunError


def is_sharded(model) -> bool:
    """Whether each process holds a part of the weights (FSDP2).

    Raises
    ------
    RunError
        They are in pieces by something else than `fully_shard`.
    """
    name = next((n for n, p in model.named_parameters() if hasattr(p, "full_tensor")), None)
    by_fsdp = hasattr(model, "set_requires_gradient_sync") and hasattr(model, "unshard")
    if type(model).__name__ == "FullyShardedDataParallel" or (name is not None and not by_fsdp):
        raise RunError(
            f"The weights are shared out among processes ({name or 'as flat parameters'}), not by "
            f"fully_shard(model) of the whole model, and a recorder cannot put them together. Use "
            f"fully_shard or DistributedDataParallel; or save checkpoints with "
            f"torch.distributed.checkpoint, and make the run of them: Run.from_checkpoints(folder, "
            f"model, train, test)."
        )
    return name is not None


def whole(tensor: Any) -> Any:
    """A tensor with the pieces of all processes; others are themselves."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


class WholeModel(dict):
    """The weights of all processes under the model's names, in the first process."""

    def __init__(self, model):
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        super().__init__(get_model_state_dict(model, options=options))
        self._names = [name for name, _ in model.named_parameters()]

    def state_dict(self) -> dict:
        """As that of a model in one process."""
        return dict(self)

    def named_parameters(self) -> Iterator[tuple[str, torch.Tensor]]:
        """As those of a model in one process."""
        return ((name, self[name]) for name in self._names if name in self)

    def parameters(self) -> Iterator[torch.Tensor]:
        """As those of a model in one process."""
        return (p for _, p in self.named_parameters())


class WholeOptimizer:
    """The optimizer's memory of all processes, numbered as in one process."""

    def __init__(self, model, optimizer, weights: WholeModel):
        from torch.distributed.checkpoint.state_dict import (
            StateDictOptions,
            get_optimizer_state_dict,
        )

        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        found: Any = get_optimizer_state_dict(model, optimizer, options=options)
        tensors = dict(weights.named_parameters())
        groups = found.get("param_groups", [])
        names = [name for group in groups for name in group["params"]]
        number = {name: i for i, name in enumerate(names)}
        self.param_groups = [{"params": [tensors[n] for n in group["params"]]} for group in groups]
        self._state = {
            "state": {number[name]: state for name, state in found.get("state", {}).items()},
            "param_groups": [
                group | {"params": [number[name] for name in group["params"]]} for group in groups
            ],
        }

    def state_dict(self) -> dict:
        """As that of an optimizer in one process."""
        return self._state


def restore_sharded(checkpoint: Checkpoint, model, optimizer) -> None:
    """Give each process its pieces of a checkpoint."""
    from torch.distributed.checkpoint.state_dict import (
        StateDictOptions,
        set_model_state_dict,
        set_optimizer_state_dict,
    )

    options = StateDictOptions(full_state_dict=True)
    set_model_state_dict(model, checkpoint.weights, options=options)
    if optimizer is None:
        return
    names: list[str] = checkpoint.parameters
    saved: Any = checkpoint.optimizer
    named = {
        "state": {names[i]: state for i, state in saved["state"].items()},
        "param_groups": [
            group | {"params": [names[i] for i in group["params"]]}
            for group in saved["param_groups"]
        ],
    }
    set_optimizer_state_dict(model, optimizer, named, options=options)
