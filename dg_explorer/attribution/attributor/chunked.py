"""Features in chunks: memory for one chunk at a time, and a killed job resumes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ...errors import SettingError
from .features import join_features


def compute_features_chunked(
    attributor,
    dataloader,
    chunk_size: int = 1000,
    save_intermediate: bool | None = None,
    *,
    folder=".",
    verbose: bool = True,
):
    """Features of a whole loader, computed and kept chunk by chunk.

    Parameters
    ----------
    attributor : Attributor
        With `proj_dim=` features are tensors and can be saved; exact features are joined.
    chunk_size : int
        Examples a chunk.
    save_intermediate : bool, optional
        Write each chunk to `folder/features_chunk_<start>_<end>.safetensors`, and read it from
        there when called again with the same checkpoint, settings and examples. By default
        where features are tensors.
    verbose : bool

    Returns
    -------
    Features of all examples, in the dataset's order; tensors on the CPU.
    """
    if chunk_size < 1:
        raise SettingError(f"chunk_size={chunk_size}: at least one example a chunk.")
    projected = getattr(attributor, "projection", None) is not None
    save = projected if save_intermediate is None else save_intermediate
    if save and not projected:
        raise SettingError(
            "Exact features are factors of layers and are not saved. Pass proj_dim= to the "
            "attributor, or save_intermediate=False."
        )
    served = attributor.served(dataloader)
    ids = served.ids
    # what the features depend on; written with them, so that stale ones are not taken
    origin = {"attributor": f"{sorted(attributor.settings().items())}"} if save else {}
    if save:
        origin["weights"] = ",".join(digest for _, digest in attributor.models())
    if getattr(getattr(attributor, "projection", None), "chosen", True) is False:
        attributor.choose_landmarks(served)
    parts = []
    for start in range(0, len(ids), chunk_size):
        end = min(start + chunk_size, len(ids))
        path = Path(folder) / f"features_chunk_{start}_{end}.safetensors"
        found = _saved(path, origin, ids[start:end]) if save else None
        if verbose:
            print(f"Chunk {start}-{end} of {len(ids)}" + (" (saved)" if found is not None else ""))
        if found is None:
            found = attributor.compute_train_features(served.part(start, end)).cpu()
            if save:
                _save(path, found, origin, ids[start:end])
        parts.append(found)
    return torch.cat(parts) if projected else join_features(parts)


def _save(path: Path, features: torch.Tensor, origin: dict, ids: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    tensors = {"features": features.contiguous(), "ids": torch.from_numpy(ids.copy())}
    save_file(tensors, part, metadata=origin)
    os.replace(part, path)


def _saved(path: Path, origin: dict, ids: np.ndarray) -> torch.Tensor | None:
    """The features of a chunk from disk, or None where there are none of this origin."""
    if not path.exists():
        return None
    with safe_open(path, "pt") as file:
        if file.metadata() != origin:
            return None
    tensors = load_file(path)
    return tensors["features"] if np.array_equal(tensors["ids"].numpy(), ids) else None
