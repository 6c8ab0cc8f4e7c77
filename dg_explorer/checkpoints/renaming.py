"""The names of a checkpoint's weights put into those of a model, wrappers taken off or put on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import torch

from ..errors import ArchitectureMismatchError, CheckpointError
from .reading import tell

# parts of a name that wrappers put in, wherever they stand
WRAPPERS = {
    *("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"),
    *("_forward_module", "_fpw_module", "_dpp_wrapped_module", "_wrapped_module"),
}
# what stands beside the network in a checkpoint and is no weight of it
BESIDE = {"n_averaged", "criterion", "loss", "loss_fn", "loss_fun", "loss_function", "lossfun"}
# parts that peft leaves out when it saves
ADAPTER_PARTS = {"default", "modules_to_save"}
ADAPTERS = ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector")
DEPTH = 3  # parts of a name that a network may stand below


def renamed(state: Mapping, model, prefix: str | None = None) -> tuple[dict, str]:
    """A checkpoint's weights under the model's names, and in words what was renamed.

    The model's own names are taken as they are where they fit. Else wrappers (`module.`,
    `_orig_mod.`, those of FSDP and of activation checkpointing) are taken off both, wherever they
    stand, and a common beginning is exchanged. Tied weights that were saved once are found.

    Parameters
    ----------
    state : names of tensors to tensors
    model : module
    prefix : the beginning of the names that are this model's, where several would do

    Returns
    -------
    dict, str
        Every name of the model that the checkpoint has something for; "" where nothing was renamed.

    Raises
    ------
    CheckpointError
        Two different parts of the checkpoint fit the model.
    ArchitectureMismatchError
        These are adapters, and the model has none.
    """
    own = {k: v for k, v in model.state_dict().items() if torch.is_tensor(v)}
    given = {k: v for k, v in state.items() if torch.is_tensor(v)}
    others = {k: v for k, v in state.items() if k not in given and k in model.state_dict()}
    if prefix is not None:
        given = {k.removeprefix(prefix): v for k, v in given.items() if k.startswith(prefix)}
        if not given:
            raise CheckpointError(
                f"No name of the checkpoint begins with {prefix!r}; they begin with "
                f"{', '.join(_beginnings(state))}."
            )
    tied = _tied(own)
    if _covers(given, own, tied) and given.keys() <= own.keys():
        return {**_with_twins(given, own, tied), **others}, ""
    bare_own, bare_given = _bare(own), _bare(given)
    if bare_own is None or bare_given is None:
        return {**given, **others}, ""
    found: dict[tuple, dict] = {}
    needed = len({tuple(twins) for twins in tied.values()})
    for taken in _starts(bare_given, needed):
        for put in _starts(bare_own, len(bare_own)):
            names = _exchanged(bare_given, bare_own, taken, put)
            if names is None:
                continue
            new = {ours: given[theirs] for ours, theirs in names.items()}
            if _covers(new, own, tied) and all(own[k].shape == v.shape for k, v in new.items()):
                # two ways that give every weight the same tensor are one
                result = tuple(sorted(_with_twins(names, own, tied).items()))
                found.setdefault(result, {"names": names, "both": bool(taken and put)})
    # a network by the model's own names comes before copies that stand beside it, as averages do
    plain = {bare_own[parts]: name for parts, name in bare_given.items() if parts in bare_own}
    if (
        found
        and _covers(plain, own, tied)
        and tuple(sorted(_with_twins(plain, own, tied).items())) not in found
        and all(own[ours].shape == given[theirs].shape for ours, theirs in plain.items())
    ):
        told = _told(plain, [k for k in given if k not in plain.values()])
        tell(f"The checkpoint holds more than this {type(model).__name__}: {told}.")
        return {**_with_twins({o: given[t] for o, t in plain.items()}, own, tied), **others}, told
    whole = [f for f in found.values() if _nothing_left(f["names"], given)]
    chosen = whole or list(found.values())
    if len(chosen) > 1:
        asked = " or ".join(f"prefix={_original(f, given)!r}" for f in chosen)
        raise CheckpointError(
            f"{len(chosen)} parts of the checkpoint fit this {type(model).__name__}: pass {asked} "
            f"to load_into."
        )
    if not chosen and any(part in name.split(".") for name in given for part in ADAPTERS):
        return {**_adapters(given, own, model), **others}, ""
    if not chosen:
        return {**_closest(given, own, bare_given, bare_own), **others}, ""
    names = chosen[0]["names"]
    left = [k for k in given if k not in names.values()]
    told = _told(names, left)
    if chosen[0]["both"] or not _nothing_left(names, given):
        tell(f"The names are not the model's, and one renaming alone fits: {told}.")
    return {**_with_twins({o: given[t] for o, t in names.items()}, own, tied), **others}, told


# ---------------------------------------------------------------- names without wrappers


def _bare(state: Mapping) -> dict[tuple[str, ...], str] | None:
    """Name without wrappers, in parts -> name; None where two would become one."""
    out = {tuple(p for p in name.split(".") if p not in WRAPPERS): name for name in state}
    return out if len(out) == len(state) else None


def _starts(bare: Mapping, least: int) -> list[tuple[str, ...]]:
    """The beginnings that at least this many names share, short ones first."""
    count = Counter(name[:n] for name in bare for n in range(min(DEPTH, len(name) - 1) + 1))
    return sorted((start for start, n in count.items() if n >= max(1, least)), key=len)


def _exchanged(given: Mapping, own: Mapping, taken: tuple, put: tuple) -> dict | None:
    """The model's name -> the checkpoint's, with one beginning for another; None if some miss."""
    names = {}
    for parts, name in given.items():
        if parts[: len(taken)] == taken:
            ours = own.get(put + parts[len(taken) :])
            if ours is not None:
                names[ours] = name
            elif not _is_beside(parts):
                return None  # a part of the network that the model lacks
    return names or None


def _is_beside(parts: tuple[str, ...]) -> bool:
    return any(part in BESIDE for part in parts)


def _nothing_left(names: Mapping, given: Mapping) -> bool:
    """Whether only what stands beside a network is left over."""
    used = set(names.values())
    return all(_is_beside(tuple(k.split("."))) for k in given if k not in used)


def _original(found: dict, given: Mapping) -> str:
    """The beginning, as the checkpoint has it, of the names that were used."""
    names = [n.split(".") for n in found["names"].values()]
    same = 0
    while all(len(n) > same + 1 and n[: same + 1] == names[0][: same + 1] for n in names):
        same += 1
    used = {tuple(n[:same]) for n in names}
    return ".".join(next(iter(used))) + "." if same else ""


def _told(names: Mapping, left: list[str]) -> str:
    ours, theirs = next((o, t) for o, t in names.items() if o != t or left)
    said = []
    if ours != theirs:
        said.append(f"{theirs} of the checkpoint is {ours} of the model, and so on")
    if left:
        more = f" and {len(left) - 3} more" if len(left) > 3 else ""
        said.append(f"left out: {', '.join(left[:3])}{more}")
    return "; ".join(said)


def _closest(given: Mapping, own: Mapping, bare_given: Mapping, bare_own: Mapping) -> dict:
    """The renaming with which most names agree, for an error that shows what does not."""
    best: dict = dict(given)
    most = len(best.keys() & own.keys())
    for taken in _starts(bare_given, len(bare_own) // 2):
        for put in _starts(bare_own, len(bare_own)):
            new = {}
            for parts, name in bare_given.items():
                if parts[: len(taken)] == taken:
                    full = put + parts[len(taken) :]
                    new[bare_own.get(full, ".".join(full))] = given[name]
            if len(new.keys() & own.keys()) > most:
                best, most = new, len(new.keys() & own.keys())
    return best


def _beginnings(state: Mapping) -> list[str]:
    return sorted({name.split(".")[0] + "." for name in state})[:8]


# ---------------------------------------------------------------- tied weights, adapters


def _tied(own: Mapping) -> dict[str, list[str]]:
    """Name -> all names of the same memory."""
    groups: dict[tuple, list[str]] = {}
    for name, tensor in own.items():
        at = tensor.data_ptr() if tensor.numel() else 0  # 0 on the meta device too
        where = (at, tuple(tensor.shape)) if at else (name,)
        groups.setdefault(where, []).append(name)
    return {name: names for names in groups.values() for name in names}


def _covers(given: Mapping, own: Mapping, tied: Mapping) -> bool:
    return all(any(twin in given for twin in tied[name]) for name in own)


def _with_twins(given: Mapping, own: Mapping, tied: Mapping) -> dict:
    """Every name of the model; a tied weight that the checkpoint holds once is there for all."""
    out = dict(given)
    for name in own:
        if name not in out:
            out[name] = given[next(twin for twin in tied[name] if twin in given)]
    return out


def _adapters(given: Mapping, own: Mapping, model) -> dict:
    """Adapters under the names of a peft model; everything else stays as the model has it."""
    bare = {
        tuple(p for p in name.split(".") if p not in ADAPTER_PARTS | WRAPPERS): name
        for name in own
        if "original_module" not in name.split(".")
    }
    names = {
        k: bare.get(tuple(p for p in k.split(".") if p not in ADAPTER_PARTS | WRAPPERS))
        for k in given
    }
    missing = [k for k, ours in names.items() if ours is None]
    if missing:
        raise ArchitectureMismatchError(
            f"These are adapters ({missing[0]} ...), and this {type(model).__name__} has no place "
            f"for {len(missing)} of them. Wrap the base model as it was trained and pass that: "
            f"peft.PeftModel.from_pretrained(base_model, 'the folder with adapter_config.json')."
        )
    return {**own, **{ours: given[k] for k, ours in names.items()}}
