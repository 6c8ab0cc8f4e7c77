"""Folders of checkpoints as trainers leave them: what is a checkpoint, and how it is read."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

from ..errors import CheckpointError
from . import foreign
from .moments import Entry
from .names import is_special, is_stray, stem_of, tokens_of
from .reading import (
    WHICH,
    averages_beside,
    counters_in,
    counters_of,
    few,
    look,
    optimizer_step,
    safe_load,
    state_dict_of,
    strip,
)

MAYBE = (".tar", ".pkl", ".model", ".weights")  # torch's, where they are zip files as torch writes
SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".h5", ".zip", *MAYBE)
# names of the weights file inside a folder of one checkpoint
FOLDER_FILES = (
    "model.safetensors",
    "weights.safetensors",
    "pytorch_model.bin",
    "adapter_model.safetensors",
    "adapter_model.bin",
)
DEPTH = 4  # folders below the one given in which checkpoints are looked for
_MODEL = re.compile(r"model(_\d+)?\.safetensors|pytorch_model(_\d+)?\.bin")  # accelerate's
_SHARD = re.compile(r"-\d+-of-\d+$")

Loader = Callable[..., dict]


def is_checkpoint_file(path: Path) -> bool:
    """Whether a file's name is that of weights."""
    if not path.is_file() or path.suffix.lower() not in SUFFIXES or is_stray(path.name):
        return False
    if path.suffix.lower() in MAYBE:
        return path.name.lower().endswith((".pth.tar", ".pt.tar")) or zipfile.is_zipfile(path)
    if path.suffix.lower() == ".zip":
        return foreign.is_policy_zip(path)
    return path.suffix.lower() != ".h5" or path.name.lower().endswith(".weights.h5")


def file_loader(path: Path) -> Loader:
    """How to read a file of weights: `loader(weights=, key=)` returns a state dict."""
    if path.suffix.lower() == ".h5":
        return lambda **_: foreign.read_h5(path)
    if path.suffix.lower() == ".zip":
        return lambda **_: foreign.read_policy(path)
    return lambda **how: state_dict_of(safe_load(path), str(path), **how)


def folder_loader(folder: Path) -> Loader | None:
    """How to read a folder that is one checkpoint, or None where it is not."""
    if foreign.is_distributed(folder):
        return lambda **how: state_dict_of(foreign.read_distributed(folder), str(folder), **how)
    if models_in(folder):
        return lambda key=None, **how: file_loader(model_of(folder, key))(**how)
    for index in sorted(folder.glob("*.index.json")):
        return lambda **_: _sharded(index)
    for name in FOLDER_FILES:
        if (folder / name).exists():
            return file_loader(folder / name)
    files = [p for p in sorted(folder.iterdir()) if is_checkpoint_file(p)]
    shards = [p for p in files if _SHARD.search(p.stem)]
    if shards:
        return lambda **_: _merge(shards)
    if any(re.match(r"mp_rank_\d+_model_states", p.name) for p in files):
        return lambda **_: _deepspeed(folder)
    return file_loader(files[0]) if len(files) == 1 else None


def models_in(folder: Path) -> list[Path]:
    """The weights of each model, where accelerate wrote several into one checkpoint; else none."""
    if not any(folder.glob("random_states_*.pkl")):
        return []
    models = [p for p in sorted(folder.iterdir()) if p.is_file() and _MODEL.fullmatch(p.name)]
    models = [p for p in models if p.suffix == models[0].suffix]
    return models if len(models) > 1 else []


def model_of(folder: Path, key: str | None) -> Path:
    """The file of the one model that is meant; `CheckpointError` where that is not said."""
    models = models_in(folder)
    for path in models:
        if key in (path.name, path.stem):
            return path
    held = "; ".join(f"{p.name} ({_tensors(p)})" for p in models)
    asked = " or ".join(f"key={p.stem!r}" for p in models)
    said = "" if key is None else f", none of them {key!r}"
    raise CheckpointError(
        f"{folder} holds {len(models)} models{said}: {held}. Say which is meant: {asked}, to "
        f"Run.from_checkpoints, or model_checkpoints({str(folder.parent)!r}, "
        f"key={models[-1].stem!r}) for checkpoints=."
    )


def _tensors(path: Path) -> str:
    state = state_dict_of(safe_load(path), str(path))
    return few((f"{name} {list(x.shape)}" for name, x in state.items()), 2)


def entries_of(folder: Path) -> tuple[list[Path], Loader | None]:
    """The files and folders in here that are checkpoints, and how to read this as one itself."""
    parts = _parts(folder)
    inside = [p for p in sorted(folder.iterdir()) if p.name not in parts]
    files = [p for p in inside if is_checkpoint_file(p) and not _SHARD.search(p.stem)]
    folders = [
        p for p in inside if p.is_dir() and p.name[0] != "." and not is_stray(p.name) and _is_one(p)
    ]
    whole = None
    if foreign.is_distributed(folder) or any(folder.glob("random_states_*.pkl")):
        return [], folder_loader(folder)
    if (
        any(folder.glob("*.index.json"))
        or any((folder / n).exists() for n in FOLDER_FILES)
        or any(_SHARD.search(p.stem) for p in inside if is_checkpoint_file(p))
    ):
        whole = folder_loader(folder)
    return [*files, *folders], whole


def places_below(folder: Path) -> list[Path]:
    """The folders below this one in which checkpoints lie, nearest first; none within another."""
    found: list[Path] = []
    level = [folder]
    for _ in range(DEPTH):
        level = [
            p
            for above in level
            for p in sorted(above.iterdir())
            if p.is_dir() and p.name[0] != "." and p.name not in _parts(above)
        ]
        for place in list(level):
            entries, whole = entries_of(place)
            if entries or whole is not None:
                found.append(place)
                level.remove(place)
    return found


def entry_of(path: Path) -> Entry:
    """A checkpoint's name and the counters in it, for `moments_of`."""
    return Entry(path.name, _counters(path))


def loader_of(path: Path) -> Loader:
    """How to read a file or folder that is one checkpoint.

    Raises
    ------
    CheckpointError
        The folder holds several, or none.
    """
    if not path.exists():
        raise CheckpointError(f"There is no file or folder {path}.")
    if not path.is_dir():
        return file_loader(path)
    loader = folder_loader(path)
    if loader is None:
        raise CheckpointError(
            f"{path} is not one checkpoint, and no file of it is named. It holds "
            f"{few(p.name for p in sorted(path.iterdir()))}."
        )
    return loader


def averages_of(path: Path) -> str | None:
    """Which entry of a checkpoint file holds averaged weights beside the trained ones, or None."""
    if path.is_dir() or path.suffix.lower() in (".safetensors", ".h5", ".zip"):
        return None
    return averages_beside(look(path))


def check_which(weights: str) -> None:
    """`CheckpointError` unless this is one of "trained" and "averaged"."""
    if weights not in WHICH:
        raise CheckpointError(f"weights={weights!r}: choose 'trained' or 'averaged'.")


def advice(folder: Path, entries: list[Path]) -> str:
    """What to pass for checkpoints that carry no number."""
    if len(entries) == 1:
        history = folder / "history.json"
        n = _length(history) if history.exists() else None
        end = f"; history.json has {n} rows, so {n} if it is the last" if n else ""
        name = entries[0].name
        return (
            f"{name} carries no number and holds no counter. If you know its epoch pass "
            f"{{epoch: path}}, such as {{{n or 10}: {str(entries[0])!r}}}{end}."
        )
    return (
        "Expected names such as 400.pth, model_epoch_400.pt, epoch=4-step=400.ckpt or "
        "checkpoint-400/; or pass {epoch: path}."
    )


def _is_one(folder: Path) -> bool:
    """Whether a folder is one checkpoint, and not the place of several."""
    if folder_loader(folder) is None:
        return False
    if foreign.is_distributed(folder) or any(folder.glob("random_states_*.pkl")):
        return True
    parts = _parts(folder)
    return not any(
        folder_loader(p) is not None
        if p.is_dir()
        else is_checkpoint_file(p) and not _SHARD.search(p.stem) and p.name not in FOLDER_FILES
        for p in folder.iterdir()
        if p.name not in parts and _numbered(p) and not _same_number(folder, p)
    )


def _same_number(folder: Path, path: Path) -> bool:
    """Whether a file is alone in a folder of the same number: step_100/model_step_100.pt."""
    if path.is_dir() or sum(map(is_checkpoint_file, folder.iterdir())) > 1:
        return False
    own, above = ({t.value for t in tokens_of(stem_of(p.name))} for p in (path, folder))
    return bool(own & above)


def _parts(folder: Path) -> set[str]:
    """The folders that belong to the model that is here, as sentence-transformers writes it."""
    index = folder / "modules.json"
    try:
        return {str(part["path"]) for part in json.loads(index.read_text())} - {""}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _numbered(path: Path) -> bool:
    tokens = tokens_of(stem_of(path.name))
    return any(t.counts in ("epoch", "step", "") for t in tokens) and not is_special(path.name)


def _counters(path: Path) -> dict[str, int]:
    if path.suffix.lower() == ".zip":
        return foreign.policy_counters(path)
    if not path.is_dir():
        return {} if path.suffix.lower() == ".h5" else counters_of(path)
    state = path / "trainer_state.json"
    if state.exists():  # transformers' epochs are no whole numbers
        try:
            step = json.loads(state.read_text()).get("global_step")
        except ValueError:
            return {}
        return {"step": step} if isinstance(step, int) else {}
    if foreign.is_distributed(path):
        try:
            return counters_in({"model": {}, **foreign.read_distributed(path, tensors=False)})
        except CheckpointError:
            return {}
    for name in ("optimizer.bin", "optimizer.pt"):
        if (path / name).exists():
            try:
                return optimizer_step(safe_load(path / name))
            except CheckpointError:
                return {}
    files = [p for p in path.iterdir() if is_checkpoint_file(p)]
    return counters_of(files[0]) if len(files) == 1 else {}


def _sharded(index: Path) -> dict:
    names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    missing = [name for name in names if not (index.parent / name).exists()]
    if missing:
        raise CheckpointError(f"{index} names shards that are not there: {few(missing)}.")
    return _merge([index.parent / name for name in names])


def _merge(shards: list[Path]) -> dict:
    last = re.search(r"-of-(\d+)$", shards[0].stem)
    if last and int(last[1]) != len(shards):
        raise CheckpointError(f"{shards[0].parent} has {len(shards)} of {int(last[1])} shards.")
    return strip({name: tensor for shard in shards for name, tensor in safe_load(shard).items()})


def _deepspeed(folder: Path) -> dict:
    raise CheckpointError(
        f"{folder} was written by DeepSpeed, which may write weights in pieces. Put them together "
        f"once, with the script beside it: python zero_to_fp32.py {folder.parent} OUT, "
        f"and pass {{step: OUT}}."
    )


def _length(history: Path) -> int | None:
    try:
        return len(json.loads(history.read_text()))
    except (ValueError, TypeError, OSError):
        return None
