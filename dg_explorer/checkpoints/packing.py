"""Nested plain data with tensors in it, as safetensors and JSON instead of pickle."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..errors import CheckpointError


class Packer:
    """Takes nested plain data apart: tensors into `tensors`, the rest into what JSON can hold."""

    def __init__(self):
        self.tensors: dict[str, torch.Tensor] = {}
        self._seen: dict[tuple, str] = {}

    def pack(self, value, key: str):
        """The value with its tensors replaced by names that begin with the key.

        Raises
        ------
        CheckpointError
            Something is neither a tensor nor a plain value; its place is named.
        """
        if torch.is_tensor(value):
            return {"tensor": self._keep(value.detach(), key)}
        if isinstance(value, np.ndarray):
            return {"array": self._keep(torch.from_numpy(value.copy()), key)}
        if isinstance(value, dict):
            return {"dict": [[k, self.pack(v, f"{key}/{k}".lstrip("/"))] for k, v in value.items()]}
        if isinstance(value, (list, tuple)):
            kind = "tuple" if isinstance(value, tuple) else "list"
            return {kind: [self.pack(v, f"{key}/{i}") for i, v in enumerate(value)]}
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, (bool, int, float, str)):
            return {"plain": value}
        raise CheckpointError(
            f"{key!r} is a {type(value).__name__}, which only pickle could store, and pickle "
            f"is refused. Keep tensors, numbers, strings, lists and dicts in the state."
        )

    def _keep(self, tensor, key: str) -> str:
        # tied weights are written once, and tied again by name when read
        memory = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        if tensor.numel() and memory in self._seen:
            return self._seen[memory]
        self._seen[memory] = key
        tensor = tensor.cpu().contiguous()
        # a view of a larger tensor would drag the rest along
        whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
        self.tensors[key] = tensor if whole else tensor.clone()
        return key


def unpack(packed, tensors: dict) -> Any:
    """Put together again what `Packer.pack` returned and the tensors it kept."""
    if packed is None:
        return None
    [(kind, value)] = packed.items()
    if kind == "tensor":
        return tensors[value]
    if kind == "array":
        return tensors[value].numpy()
    if kind == "dict":
        return {k: unpack(v, tensors) for k, v in value}
    if kind in ("list", "tuple"):
        return (tuple if kind == "tuple" else list)(unpack(v, tensors) for v in value)
    return value
