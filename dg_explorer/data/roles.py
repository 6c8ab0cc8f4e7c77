"""Which entries of a batch are inputs and which is the label: said by the user, or beyond doubt.

What a model's `forward` takes is part of the evidence.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ..errors import DataError, SettingError
from .leaves import is_array, leaves, shapes
from .rows import ID_KEYS

#: parameters of a model that are labels, not inputs
LABEL_NAMES = ("labels", "label", "targets", "target", "y")
_WRAPPERS = ("module", "_orig_mod")
#: keys of a mapping that are the label whoever made it
KNOWN_LABELS = ("labels", "label")
_SAY = (
    "Say it with label=, the place or key of the label (or a function of the batch), and forward= "
    "for the inputs: label=1 where rows are (input, label, group)."
)


@dataclass(frozen=True)
class Signature:
    """What a model's `forward` takes.

    Attributes
    ----------
    names : tuple of str
        Its parameters in order, without `*args` and `**kwargs`.
    required : int
        How many inputs it must get by position or name.
    most : int or None
        How many it can get by position; None for any number.
    any_name : bool
        Whether it takes names that it does not list.
    """

    names: tuple[str, ...]
    required: int
    most: int | None
    any_name: bool

    def takes(self, n: int) -> bool:
        """Whether n positional inputs are possible."""
        return self.required <= n and (self.most is None or n <= self.most)


def signature_of(model: Callable | None) -> Signature | None:
    """How a model is called; None where that cannot be seen."""
    if model is None:
        return None
    while type(model).__module__.startswith("torch") and any(
        hasattr(model, name) for name in _WRAPPERS
    ):
        # data parallel, sharded or compiled: the model is inside
        model = next(getattr(model, name) for name in _WRAPPERS if hasattr(model, name))
    function: Any = getattr(model, "forward", model)
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None
    kinds = {p.kind for p in parameters}
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if not named:
        return None  # (*args, **kwargs) says nothing
    positional = [p for p in named if p.kind is not p.KEYWORD_ONLY]
    required = [p for p in named if p.default is p.empty and p.name not in LABEL_NAMES]
    return Signature(
        tuple(p.name for p in named),
        len(required),
        None if inspect.Parameter.VAR_POSITIONAL in kinds else len(positional),
        inspect.Parameter.VAR_KEYWORD in kinds,
    )


@dataclass(frozen=True)
class Roles:
    """How a batch is taken apart.

    Attributes
    ----------
    positional : tuple of places, keys or paths, or None
        Entries that the model gets by position; None for the batch itself, which is one input.
    named : tuple of keys or paths
        Entries that it gets by name.
    label : place, key, path or function of the batch, or None
    forward : function (model, batch), optional
        Returns the prediction.
    """

    positional: tuple | None = ()
    named: tuple = ()
    label: object = None
    forward: Callable | None = None

    def split(self, raw) -> tuple[tuple, dict, object]:
        """Inputs by position, inputs by name, and labels of a batch."""
        if self.positional is None:
            inputs: tuple = (raw,)
        else:
            inputs = tuple(_entry(raw, place, "forward") for place in self.positional)
        keywords = {
            str(key[-1] if isinstance(key, tuple) else key): _entry(raw, key, "forward")
            for key in self.named
        }
        return inputs, keywords, self.labels(raw)

    def labels(self, raw):
        """The labels of a batch; None where it has none."""
        if self.label is None:
            return None
        labels = self.label(raw) if callable(self.label) else _entry(raw, self.label, "label")
        if isinstance(labels, (list, tuple)) and not any(is_array(v) for _, v in leaves(labels)):
            return np.asarray(labels)  # texts
        return torch.as_tensor(labels) if isinstance(labels, np.ndarray) else labels


def roles_of(
    raw,
    signature: Signature | None,
    *,
    label=None,
    forward=None,
    agrees: Callable | None = None,
    free: bool = False,
) -> Roles:
    """How batches like this one are taken apart.

    Parameters
    ----------
    raw : some examples as collated, with their ids taken off
    signature : Signature or None
        Of the model.
    label, forward : as the user says; None where it is to be seen
    agrees : function (labels) -> bool, optional
        Whether entries equal the labels that the record has for these examples.
    free : bool
        Somebody else reads the batch: what is not plain stays open.

    Raises
    ------
    DataError
        It cannot be known, or what was said is not there.
    """
    batch, raw = raw, fields_of(raw)
    rest = _without_said_label(raw, label)
    chosen = None if forward is None or callable(forward) else _chosen(raw, forward, signature)
    if label is not None:
        roles = chosen or _inputs_of(raw, rest, label, signature, free)
    elif isinstance(raw, Mapping):
        roles = _of_mapping(raw, signature, agrees, chosen, free)
    elif isinstance(raw, (tuple, list)) and len(raw) > 1 and _has_entries(raw):
        roles = _of_sequence(raw, signature, agrees, chosen, free)
    else:
        roles = chosen or _whole(raw)
    roles = replace(roles, label=roles.label if label is None else label)
    if callable(forward):
        roles = replace(roles, forward=forward)  # as it is: its labels are said with label=
    elif chosen is None:
        roles = _spread(raw, roles, signature)
    roles.split(batch)  # what was said must be there
    return roles


def _of_sequence(raw, signature, agrees, chosen, free: bool) -> Roles:
    n = len(raw)
    if chosen is not None:
        rest = [place for place in range(n) if place not in chosen.positional]
        place = _only_label(raw, rest, agrees, free)
        return chosen if place is None else replace(chosen, label=place)
    if n == 2:
        inside = isinstance(raw[0], (tuple, list, Mapping)) and _has_entries(raw[0])
        if signature is not None and signature.required >= 2 and not inside:
            return Roles((0, 1))  # a pair of inputs, such as image and text
        return Roles((0,), label=1)
    place = _label_place(raw, signature, agrees)
    if place is None:
        if free:
            return Roles(None)  # the user's forward knows
        raise DataError(
            f"Rows hold {n} things, {shapes(raw)}, and it cannot be known which is the label. "
            f"{_SAY}"
        )
    return _inputs_before(raw, place, signature, free)


def _label_place(raw, signature, agrees) -> int | None:
    """Where the label is among three entries or more; None where there is a doubt."""
    n = len(raw)
    single = [place for place in range(1, n) if _one_each(raw[place])]
    if agrees is not None:
        matching = [place for place in single if agrees(raw[place])]
        if len(matching) == 1:
            return matching[0]
    takes_rest = signature is None or signature.takes(n - 1)
    if signature is not None and signature.required == signature.most == n - 1:
        return n - 1
    if single == [n - 1] and takes_rest:
        return n - 1  # what comes before it has a shape that no label has
    return n - 1 if not single and takes_rest and signature is not None else None


def _inputs_before(raw, place: int, signature, free: bool) -> Roles:
    """Inputs are what comes before the label, as many as the model takes."""
    if signature is None or free or signature.takes(place):
        return Roles(tuple(range(place)), label=place)
    others = [i for i in range(len(raw)) if i != place]
    if signature.required == signature.most and len(others) >= signature.required:
        if place >= signature.required:
            return Roles(tuple(range(signature.required)), label=place)
        if len(others) == signature.required:
            return Roles(tuple(others), label=place)
    raise DataError(
        f"The label is entry {place} of {shapes(raw)}, and the model takes "
        f"{', '.join(signature.names)}: which entries are its inputs? Say it with forward=, a "
        f"place or a list of places."
    )


def _of_mapping(raw, signature, agrees, chosen, free: bool) -> Roles:
    label = next((key for key in KNOWN_LABELS if key in raw), None)
    if label is None:
        known = () if signature is None else signature.names
        others = [key for key in raw if key not in known]
        if chosen is not None:
            others = [k for k in others if k not in (*(chosen.positional or ()), *chosen.named)]
        label = _only_label(raw, others, agrees, free)
    if chosen is not None:
        return replace(chosen, label=label)
    rest = [key for key in raw if key != label]
    return _inputs_of(raw, rest, label, signature, free)


def _inputs_of(raw, rest: list, label, signature, free: bool) -> Roles:
    """What is left when the label is known."""
    if not isinstance(raw, Mapping):
        if not isinstance(raw, (tuple, list)) or not _has_entries(raw):
            return Roles(None, label=label)
        if signature is None or free or signature.takes(len(rest)):
            return Roles(tuple(rest), label=label)
        if isinstance(label, int):
            return _inputs_before(raw, label % len(raw), signature, free)
        if signature.required == signature.most and len(rest) >= signature.required == 1:
            return Roles((rest[0],), label=label)
    else:
        tensors = [key for key in rest if any(is_array(leaf) for _, leaf in leaves(raw[key]))]
        if signature is None or free:
            return Roles((), tuple(tensors), label)
        by_name = tuple(key for key in rest if key in signature.names)
        if by_name:
            return Roles((), by_name, label)
        if signature.any_name and signature.required == 0:
            return Roles((), tuple(tensors), label)
        if len(tensors) == 1 and signature.takes(1):
            return Roles((tensors[0],), label=label)
    raise DataError(
        f"The batch holds {shapes(raw)}, and the model takes {', '.join(signature.names)}: which "
        f"entries are its inputs? Say it with forward=, a key or a list of keys, or a function "
        f"(model, batch); and with label= where the label is."
    )


def _spread(raw, roles: Roles, signature) -> Roles:
    """One entry that holds all inputs, (inputs, label), as the inputs that the model takes."""
    if signature is None or roles.positional is None or len(roles.positional) != 1 or roles.named:
        return roles
    place = roles.positional[0]
    entry = raw[place]
    if isinstance(entry, Mapping) and entry and set(entry) <= set(signature.names):
        return replace(roles, positional=(), named=tuple((place, key) for key in entry))
    nested = isinstance(entry, (tuple, list)) and _has_entries(entry)
    if nested and not signature.takes(1) and signature.takes(len(entry)):
        return replace(roles, positional=tuple((place, i) for i in range(len(entry))))
    return roles


def _only_label(raw, places: list, agrees, free: bool) -> object:
    """The one entry that can be the label: it equals the record's, or is alone in its shape."""
    places = [place for place in places if str(place).lower() not in ID_KEYS]
    single = [place for place in places if _one_each(raw[place])]
    if agrees is not None:
        matching = [place for place in single if agrees(raw[place])]
        if len(matching) == 1:
            return matching[0]
    named = [p for p in single if str(p).lower() in LABEL_NAMES]
    if len(named) == 1:
        return named[0]
    if not single or free:
        return None
    if len(single) == 1 and len(raw) == 2:
        return single[0]
    raise DataError(f"The batch holds {shapes(raw)}: which entry is the label? {_SAY}")


def _chosen(raw, forward, signature) -> Roles:
    """The inputs that `forward=` names: keys that the model knows go by name."""
    places = list(forward) if isinstance(forward, (list, tuple)) else [forward]
    if not places or not all(isinstance(p, (str, int)) for p in places):
        raise SettingError(
            f"forward={forward!r}: give a function (model, batch), the key or place of the input, "
            f"or a list of them."
        )
    for place in places:
        _entry(raw, place, "forward")
    if isinstance(raw, Mapping) and signature and all(p in signature.names for p in places):
        return Roles((), tuple(places))
    return Roles(tuple(places))


def _without_said_label(raw, label) -> list:
    """Keys or places of a batch but the one that `label=` names."""
    if isinstance(raw, Mapping):
        return [key for key in raw if key != label and not (label is not None and _is_label(key))]
    if not isinstance(raw, (tuple, list)):
        return []
    at = label % len(raw) if isinstance(label, int) and len(raw) else None
    return [place for place in range(len(raw)) if place != at]


def _is_label(key) -> bool:
    return key in KNOWN_LABELS


def _whole(raw) -> Roles:
    one = isinstance(raw, (tuple, list)) and len(raw) == 1
    return Roles((0,)) if one else Roles(None)


def fields_of(raw) -> Any:
    """A dataclass as a mapping of its fields; anything else as it is."""
    if dataclasses.is_dataclass(raw) and not isinstance(raw, (type, torch.Tensor)):
        return {field.name: getattr(raw, field.name) for field in dataclasses.fields(raw)}
    return raw


def _has_entries(raw) -> bool:
    """A list of texts is one input, not as many as there are texts."""
    return any(True for path, _ in leaves(raw) if path)


def _one_each(leaf) -> bool:
    """Whether a leaf holds one number an example."""
    return is_array(leaf) and (leaf.ndim == 1 or (leaf.ndim == 2 and leaf.shape[1] == 1))


def _entry(raw, place, setting: str):
    path = place if isinstance(place, tuple) else (place,)
    found = raw
    for key in path:
        try:
            found = fields_of(found)[key]
        except (KeyError, IndexError, TypeError) as error:
            raise DataError(
                f"{setting}={place!r}: the batch has no such entry; it holds {shapes(raw)}."
            ) from error
    return found
