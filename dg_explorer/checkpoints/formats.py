"""Read the checkpoints people already have, whatever wrote them, without unpickling code."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path

import torch

from ..arguments import checked
from ..errors import CheckpointError, SettingError
from . import folders
from .moments import Moments, moments_of
from .names import stem_of
from .reading import averages_beside, few, safe_load, state_dict_of, tell
from .store import load_weights, saved_epochs

LIST_KEYS = ("state_dicts", "checkpoints")
NUMBER_KEYS = ("epochs", "checkpoint_epochs", "steps")


class ModelCheckpoints(Mapping):
    """Epoch -> state dict, in ascending order of epoch; each is read when asked for.

    Attributes
    ----------
    unit : "epoch", "step", or "number" where neither names nor files say what the numbers count
    counts_from : 0 or 1 where epochs (or saves) are plainly counted from there, else None
    steps : number -> optimizer steps taken, where names or files say it
    names : number -> file or folder
    skipped : names that look like checkpoints and are not among the moments
    notes : what was decided on the way, and why each of `skipped` was left out
    """

    def __init__(
        self,
        loaders: dict[int, Callable[[], dict]],
        skipped=(),
        *,
        moments: Moments | None = None,
        notes=(),
    ):
        self._loaders = {epoch: loaders[epoch] for epoch in sorted(loaders)}
        self.skipped = list(skipped)
        self.notes = list(notes)
        self.unit, self.counts_from = "number", None
        self.steps: dict[int, int] = {}
        self.names: dict[int, str] = {}
        if moments is not None:
            self.unit, self.counts_from = moments.unit, moments.counts_from
            self.names = dict(sorted((number, name) for name, number in moments.labels.items()))
            steps = {moments.labels[name]: step for name, step in moments.steps.items()}
            self.steps = dict(sorted(steps.items()))
            self.notes += moments.notes
        self._digests: dict[int, int] = {}
        self._told = False

    def __getitem__(self, epoch: int) -> dict:
        if epoch not in self._loaders:
            raise KeyError(f"No checkpoint {epoch!r}; there are {few(self)}.")
        state = self._loaders[epoch]()
        self._compare(epoch, state)
        return state

    def __iter__(self) -> Iterator[int]:
        return iter(self._loaders)

    def __len__(self) -> int:
        return len(self._loaders)

    def __repr__(self) -> str:
        counted = {"epoch": "by epoch", "step": "by step", "number": "by number"}[self.unit]
        begin = "" if self.counts_from is None else f", counted from {self.counts_from}"
        lines = [f"ModelCheckpoints({few(self)}; {counted}{begin})", *self.notes[:6]]
        return "\n  ".join(lines)

    def _compare(self, epoch: int, state: dict) -> None:
        """Say once that neighbours hold equal weights."""
        digest = self._digests[epoch] = _digest(state)
        order = list(self._loaders)
        at = order.index(epoch)
        same = [e for e in order[max(0, at - 1) : at + 2] if self._digests.get(e) == digest]
        if len(same) > 1 and not self._told:
            self._told = True
            tell(f"Checkpoints {' and '.join(map(str, same))} hold equal weights. {_UNCLONED}")


_UNCLONED = (
    "Where model.state_dict() was kept without a copy, every entry is the last one: keep "
    "{name: tensor.clone() for name, tensor in model.state_dict().items()}."
)


@checked
def model_checkpoints(
    source,
    *,
    epochs: Sequence[int] | None = None,
    pattern: str | None = None,
    weights: str = "trained",
    key: str | None = None,
) -> ModelCheckpoints:
    """Checkpoints by epoch, from a folder, a file, a mapping, or a run.

    Parameters
    ----------
    source : path, Run, `{epoch: model, state dict or path}`, or list of state dicts
        A folder may hold numbered files (`400.pth`, `model_epoch_400.pt`, Lightning's
        `epoch=4-step=400.ckpt`), Hugging Face's `checkpoint-400/`, safetensors files, folders
        with one checkpoint each (sharded and distributed ones are put together), keras's
        `.weights.h5` (with h5py) or stable-baselines3's zips; or be a trainer's outer folder, if
        one training is in it. A file may hold one state dict or a list of them.
    epochs : list of int, optional
        Numbers for a list of state dicts that brings none along.
    pattern : str, optional
        Where the moment is in names that have several numbers: `ckpt_{epoch}_acc*.pt`, or with
        `{step}`; names that it does not fit are left out.
    weights : "trained" or "averaged"
        Which of the two, where the training also kept an average of the weights (EMA, SWA).
    key : str, optional
        Which entry of a checkpoint's dict holds the weights, where it is none of the usual; or
        which of several models that accelerate wrote into one checkpoint: `model_1`.

    Returns
    -------
    ModelCheckpoints
        Mapping from epoch to state dict, with `module.`, `_orig_mod.` and `model.` taken
        off where every name has it. Weights are not read before they are asked for. It says
        what its numbers count (`unit`, `counts_from`, `steps`) and what was left out (`notes`).

    Notes
    -----
    Sorted by counters inside the files where there are any, else by the one number in the names
    that differs; never by date, name or metric. What is unclear is asked for.

    Raises
    ------
    CheckpointError
        Nothing here is a checkpoint, two carry the same number, or it is unclear which number is
        the moment.
    UnsafeCheckpointError
        Reading would mean unpickling, which can run any code.
    """
    folders.check_which(weights)
    how = {"weights": weights, "key": key}
    if hasattr(source, "blobs") and hasattr(source, "groups"):
        return _of_run(source)
    if isinstance(source, ModelCheckpoints):
        return source
    if isinstance(source, Mapping):
        return _of_mapping(source, how)
    if isinstance(source, (list, tuple)):
        return _of_list(source, epochs, "the list", how)
    if not isinstance(source, (str, PathLike)):
        raise CheckpointError(
            f"Checkpoints are a folder, a file, a mapping of epochs, a list or a run, not a "
            f"{type(source).__name__}."
        )
    path = Path(source)
    if not path.exists():
        raise CheckpointError(f"There is no file or folder {path}.")
    if path.is_dir():
        return _of_folder(path, pattern, how)
    if pattern is not None:
        raise SettingError("pattern= chooses among the names of a folder; this is a file.")
    return _of_file(path, epochs, how)


def _of_run(run) -> ModelCheckpoints:
    found = ModelCheckpoints({e: (lambda e=e: load_weights(run, e)) for e in saved_epochs(run)})
    found.unit = run.time_unit
    return found


def _of_mapping(source: Mapping, how: dict) -> ModelCheckpoints:
    _tell_uncloned(source)
    return ModelCheckpoints({moment_of(e): _loader(value, how) for e, value in source.items()})


def moment_of(key) -> int:
    """The whole number that a key of checkpoints is; `CheckpointError` for any other key."""
    try:
        number = float(key)
        if number == int(number):
            return int(number) if isinstance(key, (str, float)) else int(key)
    except (TypeError, ValueError, OverflowError):
        pass
    raise CheckpointError(
        f"{key!r} is no moment of checkpoints: they are whole numbers, {{epoch: path}} or "
        f"{{step: path}}. Where some were saved within an epoch, number them by their steps."
    )


def _of_list(states, epochs, where: str, how: dict) -> ModelCheckpoints:
    numbers = range(len(states)) if epochs is None else [int(e) for e in epochs]
    if len(numbers) != len(states):
        raise CheckpointError(f"{where} holds {len(states)} state dicts for {len(numbers)} epochs.")
    if len(set(numbers)) != len(numbers):
        raise CheckpointError(f"{where} has two state dicts of one number: {few(numbers)}.")
    _tell_uncloned(dict(zip(numbers, states)))
    return ModelCheckpoints({n: _loader(s, how) for n, s in zip(numbers, states)})


def _of_file(path: Path, epochs, how: dict) -> ModelCheckpoints:
    if folders.is_checkpoint_file(path) and path.suffix.lower() in (".h5", ".zip"):
        return _lone(path, folders.file_loader(path), how)
    loaded = safe_load(path)
    states = loaded
    if isinstance(loaded, Mapping):
        states = next((loaded[k] for k in LIST_KEYS if isinstance(loaded.get(k), list)), None)
        if states is not None and epochs is None:
            there = [loaded.get(k) for k in NUMBER_KEYS]
            epochs = next((list(n) for n in there if n is not None and len(n) == len(states)), None)
        elif states is None and loaded and all(isinstance(k, int) for k in loaded):
            return _of_mapping(loaded, how)
    if isinstance(states, (list, tuple)):
        return _of_list(states, epochs, str(path), how)
    found = _lone(path, lambda **how: state_dict_of(loaded, str(path), **how), how)
    _tell_averages(found, averages_beside(loaded), how)
    return found


def _lone(path: Path, loader, how: dict) -> ModelCheckpoints:
    """One checkpoint, under its number if it has one, else 0."""
    try:
        moments = moments_of([folders.entry_of(path)], str(path))
    except CheckpointError:
        moments = None
    moments = moments or Moments({path.name: 0})
    (number,) = moments.labels.values()
    return ModelCheckpoints({number: lambda: loader(**how)}, moments=moments)


def _of_folder(folder: Path, pattern: str | None, how: dict) -> ModelCheckpoints:
    entries, whole = folders.entries_of(folder)
    moments = None
    if entries and (whole is None or any(p.is_dir() or stem_of(p.name) for p in entries)):
        moments = moments_of([folders.entry_of(p) for p in entries], str(folder), pattern)
    final = [
        f"The model at the top of {folder.name} is the final one, without a number of its own: "
        f"it is not among the moments."
    ]
    if moments is None:
        places = folders.places_below(folder)
        if not places and whole is not None:
            if pattern is not None:
                raise SettingError(
                    f"pattern= chooses among the names of a folder; {folder} is one checkpoint."
                )
            _check_model(folder, how)
            return _lone(folder, whole, how)
        if len(places) == 1:
            found = _of_folder(places[0], pattern, how)
            found.notes[:0] = [f"Read from {places[0]}.", *(final if whole else [])]
            found.skipped += [p.name for p in entries if p.is_file()]
            return found
        if places:
            raise CheckpointError(
                f"{folder} holds checkpoints of more than one training. Pass one of its folders: "
                f"{few(str(place) for place in places)}."
            )
        names = few(p.name for p in sorted(folder.iterdir()))
        raise CheckpointError(
            f"{folder} holds no numbered checkpoint: {names}. {folders.advice(folder, entries)}"
        )
    loaders = {
        moments.labels[path.name]: (lambda path=path: folders.loader_of(path)(**how))
        for path in entries
        if path.name in moments.labels
    }
    top = set(folders.FOLDER_FILES) if whole is not None else set()
    left = [*final] if whole is not None else []
    reasons: dict[str, list[str]] = {}
    for name, why in moments.left_out.items():
        if name not in top:
            reasons.setdefault(why, []).append(name)
    left += [f"Left out: {few(names, 4)}: {why}." for why, names in reasons.items()]
    found = ModelCheckpoints(loaders, moments.left_out, moments=moments, notes=left)
    first = next(p for p in entries if p.name in moments.labels)
    _check_model(first, how)
    _tell_averages(found, folders.averages_of(first), how)
    return found


def _check_model(path: Path, how: dict) -> None:
    """`CheckpointError` where a checkpoint holds several models and none of them is named."""
    if path.is_dir() and folders.models_in(path):
        folders.model_of(path, how["key"])


def _tell_averages(found: ModelCheckpoints, beside: str | None, how: dict) -> None:
    """Say which weights are read where a checkpoint holds trained and averaged ones."""
    if beside is None or how["key"] is not None:
        return
    other = "averaged" if how["weights"] == "trained" else "trained"
    told = (
        f"These checkpoints hold averaged weights (under {beside}) beside those that were trained; "
        f"the {how['weights']} ones are read. weights={other!r} reads the others."
    )
    found.notes.insert(0, told)
    if how["weights"] == "trained":
        tell(told)


def _loader(value, how: dict) -> Callable[[], dict]:
    if isinstance(value, (str, Path)):
        return lambda: folders.loader_of(Path(value))(**how)
    return lambda: state_dict_of(value, f"a {type(value).__name__}", **how)


def _tell_uncloned(states: Mapping) -> None:
    """Say that state dicts in memory share their tensors, and so are all the last one."""
    seen: dict[tuple, int] = {}
    for number, value in states.items():
        if not isinstance(value, Mapping):
            continue
        tensors = [v for v in value.values() if torch.is_tensor(v) and v.numel()]
        where = tuple(tensor.data_ptr() for tensor in tensors)
        if where and where in seen:
            tell(f"Checkpoints {seen[where]} and {number} are the same tensors. {_UNCLONED}")
            return
        seen[where] = number


def _digest(state: dict) -> int:
    """A number that differs where weights differ."""
    crc = 0
    for name, tensor in state.items():
        if torch.is_tensor(tensor):
            raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            crc = zlib.crc32(raw.numpy().data, zlib.crc32(str(name).encode(), crc))
    return crc
