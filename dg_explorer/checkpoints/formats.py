"""Read the checkpoints people already have, whatever wrote them, without unpickling code."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file

from ..errors import CheckpointError, UnsafeCheckpointError
from .store import load_weights, saved_epochs

SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
# where a dict keeps the weights, in the order they are looked for
WEIGHT_KEYS = ("state_dict", "model_state_dict", "model", "module", "weights", "net")
LIST_KEYS = ("state_dicts", "checkpoints")
NUMBER_KEYS = ("epochs", "checkpoint_epochs", "steps")
PREFIXES = ("module.", "_orig_mod.", "model.")
# names of the weights file inside a folder of one checkpoint
FOLDER_FILES = (
    "model.safetensors",
    "weights.safetensors",
    "pytorch_model.bin",
    "adapter_model.safetensors",
)
_SHARD = re.compile(r"-\d+-of-\d+$")


class ModelCheckpoints(Mapping):
    """Epoch -> state dict, in ascending order of epoch; each is read when asked for.

    Attributes
    ----------
    skipped : names of files that look like checkpoints but carry no number
    """

    def __init__(self, loaders: dict[int, Callable[[], dict]], skipped=()):
        self._loaders = {epoch: loaders[epoch] for epoch in sorted(loaders)}
        self.skipped = list(skipped)

    def __getitem__(self, epoch: int) -> dict:
        if epoch not in self._loaders:
            raise KeyError(f"No checkpoint {epoch!r}; there are {_few(self)}.")
        return self._loaders[epoch]()

    def __iter__(self) -> Iterator[int]:
        return iter(self._loaders)

    def __len__(self) -> int:
        return len(self._loaders)

    def __repr__(self) -> str:
        return f"ModelCheckpoints({_few(self)})"


def model_checkpoints(source, *, epochs=None) -> ModelCheckpoints:
    """Checkpoints by epoch, from a folder, a file, a mapping, or a run.

    Parameters
    ----------
    source : path, Run, `{epoch: model, state dict or path}`, or list of state dicts
        A folder may hold numbered files (`400.pth`, `model_epoch_400.pt`, Lightning's
        `epoch=4-step=400.ckpt`), Hugging Face's `checkpoint-400/`, safetensors files, or
        folders with one checkpoint each; sharded weights are put together. A file may hold one
        state dict or a list of them. Sorted by number, never by name.
    epochs : list of int, optional
        Numbers for a list of state dicts that brings none along.

    Returns
    -------
    ModelCheckpoints
        Mapping from epoch to state dict, with `module.`, `_orig_mod.` and `model.` taken
        off where every name has it. Nothing is read before it is asked for.

    Raises
    ------
    CheckpointError
        Nothing here is a checkpoint, or two carry the same number.
    UnsafeCheckpointError
        Reading would mean unpickling, which can run any code.
    """
    if hasattr(source, "blobs") and hasattr(source, "groups"):
        return _of_run(source)
    if isinstance(source, ModelCheckpoints):
        return source
    if isinstance(source, Mapping):
        return ModelCheckpoints({int(e): _loader(value) for e, value in source.items()})
    if isinstance(source, (list, tuple)):
        return _of_list(source, epochs, "the list")
    path = Path(source)
    if not path.exists():
        raise CheckpointError(f"There is no file or folder {path}.")
    return _of_folder(path) if path.is_dir() else _of_file(path, epochs)


def state_dict_of(loaded, where: str) -> dict:
    """The weights inside whatever a checkpoint file held, common prefixes taken off.

    Raises
    ------
    CheckpointError
        There is no dict of tensors in it; what there is gets listed.
    """
    if hasattr(loaded, "state_dict"):
        return dict(loaded.state_dict())
    if not isinstance(loaded, Mapping):
        raise CheckpointError(f"{where} holds a {type(loaded).__name__}, not a dict of weights.")
    for key in WEIGHT_KEYS:
        if isinstance(loaded.get(key), Mapping):
            return state_dict_of(loaded[key], where)
    if not loaded or not all(
        torch.is_tensor(v) or str(k).endswith("_extra_state") for k, v in loaded.items()
    ):
        raise CheckpointError(
            f"{where} holds no state dict: its keys are {_few(loaded)}. "
            f"Weights are looked for under {', '.join(WEIGHT_KEYS)}, or directly."
        )
    return _strip(dict(loaded))


def safe_load(path: Path):
    """`torch.load` of tensors and plain data only.

    Raises
    ------
    UnsafeCheckpointError
        The file holds objects of other classes; they are named.
    CheckpointError
        The file is damaged or no checkpoint at all.
    """
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except Exception as error:
            raise CheckpointError(f"{path} is not a whole safetensors file: {error}") from error
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        classes = re.findall(r"GLOBAL ([\w.]+)", str(error))
        what = (
            f"it holds {', '.join(dict.fromkeys(classes))}" if classes else "it is not plain data"
        )
        raise UnsafeCheckpointError(
            f"{path} needs unpickling, which can run any code hidden in it: {what}. If you wrote "
            f"it yourself, save its weights alone, once: safetensors.torch.save_file("
            f"model.state_dict(), 'name.safetensors')."
        ) from error
    except Exception as error:
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint: {str(error).splitlines()[0]}. Its "
            f"{path.stat().st_size:,} bytes may be half of one: write it again, or move it away."
        ) from error


def _of_run(run) -> ModelCheckpoints:
    return ModelCheckpoints({e: (lambda e=e: load_weights(run, e)) for e in saved_epochs(run)})


def _of_list(states, epochs, where: str) -> ModelCheckpoints:
    numbers = range(len(states)) if epochs is None else [int(e) for e in epochs]
    if len(numbers) != len(states):
        raise CheckpointError(f"{where} holds {len(states)} state dicts for {len(numbers)} epochs.")
    return ModelCheckpoints(_unique((n, where, _loader(s)) for n, s in zip(numbers, states)))


def _of_file(path: Path, epochs) -> ModelCheckpoints:
    loaded = safe_load(path)
    states = loaded
    if isinstance(loaded, Mapping):
        states = next((loaded[k] for k in LIST_KEYS if isinstance(loaded.get(k), list)), None)
        if states is not None and epochs is None:
            there = [loaded.get(k) for k in NUMBER_KEYS]
            epochs = next((list(n) for n in there if n is not None and len(n) == len(states)), None)
        elif states is None and all(isinstance(k, int) for k in loaded):
            return ModelCheckpoints({e: _loader(s) for e, s in loaded.items()})
    if isinstance(states, (list, tuple)):
        return _of_list(states, epochs, str(path))
    number = _numbers(path.stem).get("epoch", 0)
    return ModelCheckpoints({number: lambda: state_dict_of(loaded, str(path))})


def _of_folder(folder: Path) -> ModelCheckpoints:
    whole = _folder_loader(folder)
    if whole:
        return ModelCheckpoints({_numbers(folder.name).get("epoch", 0): whole})
    found, skipped = [], []
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            loader = _folder_loader(entry)
        elif entry.suffix in SUFFIXES:
            loader = _loader(entry)
        else:
            continue
        numbers = _numbers(entry.name if entry.is_dir() else entry.stem)
        if loader and numbers:
            found.append((numbers, entry.name, loader))
        elif loader:
            skipped.append(entry.name)
    if not found:
        names = _few([p.name for p in sorted(folder.iterdir())])
        raise CheckpointError(
            f"{folder} holds no numbered checkpoint: {names}. Expected names such as 400.pth, "
            f"model_epoch_400.pt, epoch=4-step=400.ckpt or checkpoint-400/; or pass "
            f"{{epoch: path}}."
        )
    # several files of one epoch are told apart by their step
    by_epoch = [n.get("epoch") for n, _, _ in found]
    kind = "epoch" if len(set(by_epoch)) == len(by_epoch) else "step"
    numbered = ((n.get(kind, n["epoch"]), name, loader) for n, name, loader in found)
    return ModelCheckpoints(_unique(numbered), skipped)


def _numbers(name: str) -> dict[str, int]:
    """The epoch (else the last number) and the step that a name speaks of."""
    named = {
        kind: int(m[1]) for kind in ("epoch", "step") if (m := re.search(rf"{kind}\D?(\d+)", name))
    }
    every = re.findall(r"\d+", name)
    if "epoch" not in named and every:
        named["epoch"] = named.get("step", int(every[-1]))
    return named


def _folder_loader(folder: Path) -> Callable[[], dict] | None:
    """How to read a folder that is one checkpoint, or None where it is not."""
    for index in sorted(folder.glob("*.index.json")):
        return lambda: _sharded(index)
    for name in FOLDER_FILES:
        if (folder / name).exists():
            return _loader(folder / name)
    shards = [p for p in sorted(folder.iterdir()) if _SHARD.search(p.stem) and p.suffix in SUFFIXES]
    if shards:
        return lambda: _merge(shards)
    return None


def _sharded(index: Path) -> dict:
    names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    missing = [name for name in names if not (index.parent / name).exists()]
    if missing:
        raise CheckpointError(f"{index} names shards that are not there: {_few(missing)}.")
    return _merge([index.parent / name for name in names])


def _merge(shards: list[Path]) -> dict:
    last = re.search(r"-of-(\d+)$", shards[0].stem)
    if last and int(last[1]) != len(shards):
        raise CheckpointError(f"{shards[0].parent} has {len(shards)} of {int(last[1])} shards.")
    return _strip({name: tensor for shard in shards for name, tensor in safe_load(shard).items()})


def _loader(value) -> Callable[[], dict]:
    if isinstance(value, (str, Path)):
        path = Path(value)
        if path.is_dir():
            return _folder_loader(path) or (lambda: next(iter(_of_folder(path).values())))
        return lambda: state_dict_of(safe_load(path), str(path))
    return lambda: state_dict_of(value, f"a {type(value).__name__}")


def _unique(numbered) -> dict:
    loaders, names = {}, {}
    for number, name, loader in numbered:
        if number in loaders:
            raise CheckpointError(
                f"{names[number]} and {name} carry the same number {number}. "
                f"Pass a mapping {{epoch: path}} that says which is which."
            )
        loaders[number], names[number] = loader, name
    return loaders


def _strip(state: dict) -> dict:
    """Take off prefixes that wrappers put on every name."""
    while state and any(prefix := p for p in PREFIXES if all(k.startswith(p) for k in state)):
        state = {k.removeprefix(prefix): v for k, v in state.items()}
    return state


def _few(names, k: int = 8) -> str:
    names = [str(n) for n in names]
    return (", ".join(names[:k]) or "nothing") + (f" ... {names[-1]}" if len(names) > k else "")
