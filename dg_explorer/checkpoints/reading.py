"""What is in one checkpoint file, without unpickling: weights, counters, averaged weights."""

from __future__ import annotations

import math
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from ..errors import CheckpointError, UnsafeCheckpointError

# where a dict keeps the weights, in the order they are looked for
WEIGHT_KEYS = (
    *("current_model_state", "state_dict", "model_state_dict", "model_state", "model", "module"),
    *("weights", "net", "network", "net_state_dict", "params", "model_weights"),
)
AVERAGED_KEYS = (
    *("state_dict_ema", "ema_state_dict", "model_ema", "ema_model", "ema", "swa_state_dict"),
    *("swa_model", "averaged", "model_ema_state_dict"),
)
STEP_KEYS = (
    *("global_step", "step", "iteration", "iter", "num_steps", "current_step", "train_step"),
    *("steps", "it", "num_updates", "n_iter", "global_steps", "iter_num", "iters", "itr"),
    *("step_num", "train_steps"),
)
EPOCH_KEYS = ("epoch", "current_epoch", "epoch_num", "epoch_idx", "last_epoch")
# where a dict keeps counters apart from its own level
COUNTER_KEYS = ("meta", "trainer", "trainer_state", "train_state", "progress", "info", "extra")
OPTIMIZER_KEYS = ("optimizer", "optimizer_state_dict", "optimizer_states", "optim", "opt")
PREFIXES = ("module.", "_orig_mod.", "model.")
WHICH = ("trained", "averaged")
_OF_MMENGINE = (
    " (mmengine's EMAHook puts the averaged weights under 'state_dict', and those that were "
    "trained under 'ema_state_dict')"
)


class CheckpointWarning(UserWarning):
    """Checkpoints are read, and something about them should be known."""


def tell(what: str) -> None:
    """Say something about a checkpoint that its reader should know."""
    warnings.warn(what, CheckpointWarning, stacklevel=4)


# ---------------------------------------------------------------- weights


def state_dict_of(loaded, where: str, *, weights: str = "trained", key: str | None = None) -> dict:
    """The weights inside whatever a checkpoint file held, common prefixes taken off.

    Parameters
    ----------
    loaded : what `safe_load` returned, a module, or a state dict
    where : how errors name it
    weights : "trained" or "averaged"
        Which of the two, where a training also kept averaged weights (EMA, SWA).
    key : which entry of a dict holds the weights, where it is none of the usual

    Raises
    ------
    CheckpointError
        There is no dict of tensors in it, several, or not the weights asked for; what there is
        gets listed.
    """
    if hasattr(loaded, "state_dict"):
        return dict(loaded.state_dict())
    if not isinstance(loaded, Mapping):
        raise CheckpointError(f"{where} holds a {type(loaded).__name__}, not a dict of weights.")
    if key is not None:
        if not isinstance(loaded.get(key), Mapping):
            raise CheckpointError(
                f"{where} holds no dict under {key!r}: its keys are {few(loaded)}."
            )
        return strip(dict(loaded[key]))
    if _is_state(loaded):
        return strip(_of_averages(dict(loaded), where, weights))
    found = _averaged(loaded) if weights == "averaged" else _trained(loaded, where)
    if found is None:
        raise CheckpointError(
            f"{where} holds no averaged weights: its keys are {few(loaded)}. "
            f"Leave out weights='averaged'."
            if weights == "averaged"
            else f"{where} holds no state dict: its keys are {few(loaded)}. Weights are looked for "
            f"under {', '.join(WEIGHT_KEYS)}, or directly; key= names another."
        )
    if _is_state(found):
        return strip(_of_averages(dict(found), where, weights))
    return state_dict_of(found, where, weights=weights)


def averages_beside(loaded) -> str | None:
    """Which entry holds averaged weights beside the trained ones, or None."""
    if not isinstance(loaded, Mapping):
        return None
    if _is_state(loaded):
        both = {str(name).split(".")[0] for name in loaded}
        return "ema_model" if {"ema_model", "online_model"} <= both else None
    if isinstance(loaded.get("current_model_state"), Mapping):
        return "state_dict"
    return next((k for k in AVERAGED_KEYS if isinstance(loaded.get(k), Mapping)), None)


def _trained(loaded: Mapping, where: str) -> Mapping | None:
    usual = [k for k in WEIGHT_KEYS if isinstance(loaded.get(k), Mapping) and loaded[k]]
    if _swapped(loaded):
        return {k: v for k, v in loaded["ema_state_dict"].items() if k.startswith("module.")}
    for key in usual:
        if _is_state(loaded[key]) or _trained(loaded[key], where) is not None:
            return loaded[key]
    others = [
        k
        for k, v in loaded.items()
        if _is_state(v) and k not in AVERAGED_KEYS and "optim" not in str(k)
    ]
    if len(others) > 1:
        asked = " or ".join(f"key={k!r}" for k in others)
        raise CheckpointError(f"{where} holds several networks. Pass {asked} for the one you mean.")
    if others:
        return loaded[others[0]]
    # weights on the same level as what else was noted
    flat = {k: v for k, v in loaded.items() if torch.is_tensor(v) and "." in str(k)}
    return {k: v for k, v in flat.items() if not k.startswith("optim")} or None


def _averaged(loaded: Mapping) -> Mapping | None:
    if "current_model_state" in loaded or _swapped(loaded):
        return loaded.get("state_dict")
    keys = [k for k in AVERAGED_KEYS if isinstance(loaded.get(k), Mapping)]
    if keys:
        return loaded[keys[0]]
    return next((loaded[k] for k in WEIGHT_KEYS if _is_state(loaded.get(k))), None)


def _swapped(loaded: Mapping) -> bool:
    """mmengine's EMAHook puts the averaged weights where the trained ones are looked for."""
    meta, averaged = loaded.get("meta"), loaded.get("ema_state_dict")
    return (
        isinstance(meta, Mapping)
        and "mmengine_version" in meta
        and isinstance(averaged, Mapping)
        and any(str(name).startswith("module.") for name in averaged)
    )


def _of_averages(state: dict, where: str, weights: str) -> dict:
    """The network inside the state of an averaging wrapper; other states as they are."""
    heads = {str(name).split(".")[0] for name in state}
    if {"ema_model", "initted"} <= heads or {"online_model", "ema_model"} <= heads:
        head = "ema_model." if weights == "averaged" else "online_model."
        chosen = {k.removeprefix(head): v for k, v in state.items() if k.startswith(head)}
        if chosen:
            return chosen
    elif "n_averaged" in state and "module" in heads:
        if weights == "averaged":
            return {k.removeprefix("module."): v for k, v in state.items() if k != "n_averaged"}
    else:
        return state
    raise CheckpointError(
        f"{where} holds averaged weights alone (EMA or SWA); those that were trained are not in "
        f"it. Pass weights='averaged' to model_checkpoints, or save model.state_dict() of the "
        f"model itself."
    )


def _is_state(value) -> bool:
    """Whether this is a state dict: names of tensors to tensors."""
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(k, str) for k in value)
        and all(torch.is_tensor(v) or k.endswith("_extra_state") for k, v in value.items())
    )


def strip(state: dict) -> dict:
    """Take off prefixes that wrappers put on every name."""
    while shared := [p for p in PREFIXES if state and all(k.startswith(p) for k in state)]:
        state = {k.removeprefix(shared[0]): v for k, v in state.items()}
    return state


# ---------------------------------------------------------------- counters


def counters_of(path: Path) -> dict[str, int]:
    """The counters `epoch` and `step` inside a file; empty where it holds none, or is not read.

    Weights are not read: they are mapped, or skipped.
    """
    if path.suffix.lower() == ".safetensors":
        try:
            with safe_open(path, "pt") as file:
                return _counters(file.metadata() or {})
        except Exception:  # as below
            return {}
    return counters_in(look(path))


def look(path: Path):
    """What a file of torch holds, its weights mapped and not read; None where that fails.

    Whoever then asks for the weights is told what is wrong with the file.
    """
    try:
        if not zipfile.is_zipfile(path):  # torch's old format is read whole or not at all
            return None
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception:
        return None


def counters_in(loaded) -> dict[str, int]:
    """The counters `epoch` and `step` of what a checkpoint file held."""
    if not isinstance(loaded, Mapping) or _is_state(loaded):
        return {}
    found = _counters(loaded)
    for key in COUNTER_KEYS:
        if isinstance(loaded.get(key), Mapping):
            found = _counters(loaded[key]) | found
    if "step" not in found:
        for key in OPTIMIZER_KEYS:
            state = loaded.get(key)
            state = state[0] if isinstance(state, (list, tuple)) and state else state
            found |= optimizer_step(state)
    return found


def optimizer_step(state) -> dict[str, int]:
    """`{"step": n}` from the state dict of an optimizer that counts its steps, else empty."""
    per_parameter = state.get("state") if isinstance(state, Mapping) else None
    if not isinstance(per_parameter, Mapping):
        return {}
    counted = [
        whole
        for one in per_parameter.values()
        if isinstance(one, Mapping) and (whole := _whole(one.get("step"))) is not None
    ]
    return {"step": max(counted)} if counted else {}


def _counters(values: Mapping) -> dict[str, int]:
    out = {}
    for counts, keys in (("epoch", EPOCH_KEYS), ("step", STEP_KEYS)):
        there = [whole for k in keys if (whole := _whole(values.get(k))) is not None]
        if there:
            out[counts] = there[0]
    return out


def _whole(value) -> int | None:
    """A counter as a whole number, -1 before the first; None where it is none."""
    if torch.is_tensor(value):
        value = value.item() if value.numel() == 1 else None
    if isinstance(value, str):
        value = int(value) if value.removeprefix("-").isdecimal() else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return int(value) if value >= -1 and value == int(value) else None


# ---------------------------------------------------------------- files


def safe_load(path: Path):
    """`torch.load` of tensors and plain data only.

    Raises
    ------
    UnsafeCheckpointError
        The file holds objects of other classes; they are named.
    CheckpointError
        The file is damaged or no checkpoint at all.
    """
    if path.suffix.lower() == ".safetensors":
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
            f"model.state_dict(), 'name.safetensors'), in the program that made it. A file of "
            f"somebody else's: ask for its weights in that form"
            f"{_OF_MMENGINE if any('mmengine' in name for name in classes) else ''}."
        ) from error
    except Exception as error:
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint: {_first_line(error)}. Its "
            f"{path.stat().st_size:,} bytes may be half of one: write it again, or move it away."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def few(names, k: int = 8) -> str:
    """The first names of several, and the last."""
    names = [str(n) for n in names]
    return (", ".join(names[:k]) or "nothing") + (f" ... {names[-1]}" if len(names) > k else "")
