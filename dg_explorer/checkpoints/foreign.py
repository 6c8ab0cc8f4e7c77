"""Formats of other libraries: distributed checkpoints, keras's h5, stable-baselines3's zips."""

from __future__ import annotations

import io
import json
import pickletools
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import CheckpointError, UnsafeCheckpointError

# ---------------------------------------------------------------- torch.distributed.checkpoint


def is_distributed(folder: Path) -> bool:
    """Whether `torch.distributed.checkpoint` wrote this folder."""
    return (folder / ".metadata").is_file()


def read_distributed(folder: Path, *, tensors: bool = True) -> dict:
    """What a `.distcp` folder holds, nested as it was saved, without a process group.

    Its index is a pickle; it is read as data: no class is imported, no function is called. The
    pieces of tensors that the ranks wrote are put together.

    Parameters
    ----------
    tensors : False leaves all but single numbers out, for a look at the counters

    Raises
    ------
    CheckpointError
        A file that the index names is not there, or a piece does not fit.
    UnsafeCheckpointError
        Something in it is neither a tensor nor plain data.
    """
    index = pickled_data((folder / ".metadata").read_bytes(), str(folder / ".metadata"))
    try:
        described = index.state["state_dict_metadata"]
        places = {
            (key.state["fqn"], _offsets(key.state.get("offset"))): where.state
            for key, where in index.state["storage_data"].items()
        }
        flat = {
            name: _assembled(folder, name, about, places)
            for name, about in described.items()
            if tensors or not _size((about.state or {}).get("size", ()))
        }
        paths = index.state.get("planner_data") or {}
    except (AttributeError, KeyError, TypeError, IndexError) as error:
        raise CheckpointError(
            f"{folder}/.metadata is not an index that this version knows ({error!r}). Convert it: "
            f"torch.distributed.checkpoint.format_utils.dcp_to_torch_save({str(folder)!r}, 'x.pt')."
        ) from error
    nested: dict = {}
    for name, value in flat.items():
        at, *path = nested, *(paths.get(name) or (name,))
        for part in path[:-1]:
            at = at.setdefault(part, {})
        at[path[-1]] = value
    return nested


def _assembled(folder: Path, name: str, about: Inert, places: dict):
    if "chunks" not in (about.state or {}):  # plain data, as torch.save writes it
        (where,) = (w for (fqn, _), w in places.items() if fqn == name)
        return _piece(folder, where, name)
    out = None
    for chunk in about.state["chunks"]:
        offsets, sizes = _size(chunk.state["offsets"]), _size(chunk.state["sizes"])
        where = places.get((name, offsets)) or places.get((name, None))
        if where is None:
            raise CheckpointError(f"{folder} has no piece of {name} at {offsets}.")
        piece = _piece(folder, where, name)
        if tuple(piece.shape) != sizes:
            raise CheckpointError(
                f"{folder}: a piece of {name} is {tuple(piece.shape)}, not {sizes}."
            )
        if out is None:
            out = torch.zeros(_size(about.state["size"]), dtype=piece.dtype)
        out[tuple(slice(o, o + s) for o, s in zip(offsets, sizes))] = piece
    return out


def _piece(folder: Path, where: Mapping, name: str):
    path = folder / str(where["relative_path"])
    if path.parent != folder or not path.is_file():
        raise CheckpointError(f"{folder} names {path.name} for {name}, which is not there.")
    with path.open("rb") as file:
        file.seek(where["offset"])
        data = file.read(where["length"])
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        raise UnsafeCheckpointError(
            f"{path} holds {name} in a form that is not read without unpickling, or damaged: "
            f"{str(error).splitlines()[0]}"
        ) from error


def _size(value) -> tuple[int, ...]:
    """torch.Size as the index has it: a class and its arguments."""
    return tuple(value.arguments[0]) if isinstance(value, Inert) else tuple(value)


def _offsets(value) -> tuple[int, ...] | None:
    return None if value is None else _size(value)


@dataclass
class Inert:
    """Where a pickle asks for an object: the name of its class, and what it would be made of."""

    name: str
    arguments: tuple = ()
    state: Any = None  # a dict, where a pickle of a data class is whole

    def __hash__(self) -> int:
        return hash((self.name, repr(self.arguments), repr(self.state)))


def pickled_data(data: bytes, where: str):
    """The data in a pickle; objects are `Inert`: no class is looked up and nothing is called.

    Raises
    ------
    UnsafeCheckpointError
        The pickle does what plain data and data classes need not.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, object] = {}

    def since_mark() -> list:
        at = marks.pop()
        items = stack[at:]
        del stack[at:]
        return items

    argument: Any
    for code, argument, _ in pickletools.genops(data):
        name = code.name
        if name in ("PROTO", "FRAME"):
            continue
        if name == "STOP":
            break
        if name == "MARK":
            marks.append(len(stack))
        elif name in ("NONE", "NEWTRUE", "NEWFALSE"):
            stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
        elif name in ("EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "EMPTY_SET"):
            stack.append({"D": {}, "L": [], "T": (), "S": set()}[name[6]])
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            n = int(name[-1])
            stack[-n:] = [tuple(stack[-n:])]
        elif name in ("TUPLE", "LIST"):
            items = since_mark()
            stack.append(tuple(items) if name == "TUPLE" else items)
        elif name == "APPEND":
            item = stack.pop()
            _open(stack).append(item)
        elif name in ("APPENDS", "ADDITEMS"):
            items = since_mark()
            (_open(stack).extend if name == "APPENDS" else _open(stack).update)(items)
        elif name == "SETITEM":
            value, key = stack.pop(), stack.pop()
            _open(stack)[key] = value
        elif name == "SETITEMS":
            items = since_mark()
            _open(stack).update(zip(items[::2], items[1::2]))
        elif name in ("MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT"):
            memo[len(memo) if name == "MEMOIZE" else int(argument)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(memo[int(argument)])
        elif name == "GLOBAL":
            stack.append(Inert(argument.replace(" ", ".")))
        elif name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(Inert(f"{module}.{attribute}"))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, made = stack.pop(), stack.pop()
            stack.append(Inert(made.name, tuple(arguments)))
        elif name == "NEWOBJ_EX":
            keywords, arguments, made = stack.pop(), stack.pop(), stack.pop()
            stack.append(Inert(made.name, tuple(arguments), dict(keywords)))
        elif name == "BUILD":
            state = stack.pop()
            parts = state if isinstance(state, tuple) else (state,)
            whole = {k: v for part in parts if isinstance(part, dict) for k, v in part.items()}
            if isinstance(stack[-1], Inert):
                stack[-1].state = whole
        elif argument is not None:
            stack.append(argument)
        else:
            raise UnsafeCheckpointError(f"{where} is a pickle of more than data ({name}).")
    return stack[-1]


def _open(stack: list) -> Any:
    """The list, dict or set that is being filled."""
    return stack[-1]


# ---------------------------------------------------------------- keras


def read_h5(path: Path) -> dict:
    """The arrays of a `.weights.h5` file by their path in it, as tensors.

    Raises
    ------
    CheckpointError
        h5py is not installed, or the file is damaged.
    """
    try:
        import h5py  # an extra: only for keras's files
    except ImportError as error:
        raise CheckpointError(
            f"{path.name} is an h5 file, as keras writes. pip install 'dg_explorer[keras]' reads "
            f"it by its own names. By its torch names, of keras on torch: "
            f"model.load_weights({str(path)!r}); torch.save(model.state_dict(), 'epoch_1.pt')."
        ) from error
    found: dict = {}

    def take(name, item) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "fiub" and item.shape is not None:
            found[name] = torch.from_numpy(np.array(item[()]))

    try:
        with h5py.File(path, "r") as file:
            file.visititems(take)
    except OSError as error:
        raise CheckpointError(f"{path} is not a whole h5 file: {error}") from error
    # the optimizer's own arrays stand beside the layers'
    return {k: v for k, v in found.items() if not k.startswith("optimizer")}


# ---------------------------------------------------------------- stable-baselines3


def is_policy_zip(path: Path) -> bool:
    """Whether stable-baselines3 wrote this zip file."""
    if path.suffix.lower() != ".zip" or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return "policy.pth" in archive.namelist()


def read_policy(path: Path) -> dict:
    """The policy's state dict out of a stable-baselines3 zip; nothing else of it is opened."""
    try:
        with zipfile.ZipFile(path) as archive:
            data = io.BytesIO(archive.read("policy.pth"))
        return torch.load(data, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"policy.pth in {path} cannot be read: {str(error).splitlines()[0]}. Save it yourself: "
            f"torch.save(model.policy.state_dict(), 'step_1000.pt')."
        ) from error


def policy_counters(path: Path) -> dict[str, int]:
    """`{"step": n}`: how many steps of the environment a stable-baselines3 zip says it has seen."""
    with zipfile.ZipFile(path) as archive:
        try:
            steps = json.loads(archive.read("data")).get("num_timesteps")
        except (KeyError, ValueError):
            return {}
    return {"step": steps} if isinstance(steps, int) else {}
