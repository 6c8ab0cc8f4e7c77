"""The vocabulary of the record: groups, variables, dims and units, named here and nowhere else.

A group is described by a `GroupSpec`; names with a `*` stand for a family
(`scores/*` is `scores/trak`, `scores/influence`, ...). Writers call `check_group`
before anything touches the store, so a wrong dim or a missing variable never reaches it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import numpy as np
import xarray as xr

from ..errors import SchemaError

# dims with a coordinate that says which example or when: integer labels, unique, never positions
LABEL_DIMS = ("retraining", "epoch", "step", "train", "test")
# dims a group may grow along; its coordinate must ascend. Where several are there, the first
TIME_DIMS = ("retraining", "epoch", "step")
_EXACT = 2**53
_LARGEST = 2**63 - 1
# what a score means, in every group of scores and in every view
SIGN = "positive = training on this example raised the test output"


@dataclass(frozen=True)
class Variable:
    """One variable of a group: its dims in order, its unit, and whether it must be there."""

    dims: tuple[str, ...]
    unit: str = ""
    required: bool = False
    kind: str = "f"  # numpy kinds allowed: f float, i integer, b bool, U text


@dataclass(frozen=True)
class GroupSpec:
    """What a group holds. `extra` lists the dims that further, unnamed variables may have."""

    about: str
    variables: dict[str, Variable] = field(default_factory=dict)
    extra: tuple[tuple[str, ...], ...] = ()
    grows: bool = False
    by_row: bool = False  # written row by row, and replaced so; others are one result


def _dynamics(split: str) -> GroupSpec:
    dims = ("epoch", split)
    return GroupSpec(
        f"each {split} example at each recorded epoch; loss NaN where it was not seen",
        {
            "loss": Variable(dims, "nats", required=True),
            "confidence": Variable(dims, "probability of the true label"),
            "margin": Variable(dims, "log odds of the true label"),
            "prediction": Variable(dims, "label, -1 where not seen", kind="i"),
            "correct": Variable(dims, "true or false", kind="b"),
        },
        extra=(dims,),
        grows=True,
        by_row=True,
    )


def _examples(split: str) -> GroupSpec:
    return GroupSpec(
        f"the {split} examples: label, group, text or thumbnail, any property worth asking about",
        {
            "label": Variable((split,), "class", kind="if"),
            "text": Variable((split,), kind="UTO"),
            "group": Variable((split,), kind="iUTOb"),
            "thumbnail": Variable((split, "height", "width", "channel"), "0-255", kind="u"),
        },
        extra=((split,),),
    )


GROUPS: dict[str, GroupSpec] = {
    "train_examples": _examples("train"),
    "test_examples": _examples("test"),
    "metrics": GroupSpec(
        "the run as a whole",
        {
            "train_loss": Variable(("epoch",), "nats"),
            "test_loss": Variable(("epoch",), "nats"),
            "train_accuracy": Variable(("epoch",), "0-1"),
            "test_accuracy": Variable(("epoch",), "0-1"),
            "learning_rate": Variable(("epoch",), "per step"),
        },
        extra=(("epoch",),),
        grows=True,
        by_row=True,
    ),
    "dynamics/train": _dynamics("train"),
    "dynamics/test": _dynamics("test"),
    "features/*": GroupSpec(
        "activations of a layer",
        {"activation": Variable(("epoch", "example", "unit"), "activation", required=True)},
        extra=(("epoch",), ("epoch", "example"), ("example",)),
        grows=True,
        by_row=True,
    ),
    "projections/*": GroupSpec(
        "a layer's features in two or three dimensions, aligned over epochs",
        {"position": Variable(("epoch", "example", "axis"), "aligned units", required=True)},
        extra=(("epoch",), ("epoch", "axis"), ("example",)),
        grows=True,
    ),
    "gradients": GroupSpec(
        "gradient norms and what they do to each layer",
        {
            "norm": Variable(("epoch", "layer"), "L2"),
            "update_ratio": Variable(("epoch", "layer"), "|change| / |weights|"),
            "cosine_to_previous": Variable(("epoch", "layer"), "cosine"),
            "dead_units": Variable(("epoch", "layer"), "share of units"),
        },
        extra=(("epoch",), ("epoch", "layer"), ("layer",), ("step",), ("step", "layer")),
        grows=True,
        by_row=True,
    ),
    "checkpoints": GroupSpec(
        "saved weights: where, their digest, and what they hold",
        {
            "path": Variable(("epoch",), required=True, kind="UTO"),
            "digest": Variable(("epoch",), "sha256", kind="UTO"),
            "holds": Variable(("epoch",), "weights, optimizer, rng", kind="UTO"),
        },
        extra=(("epoch",),),
        grows=True,
        by_row=True,
    ),
    "scores/*": GroupSpec(
        SIGN,
        {
            "score": Variable(("epoch", "test", "train"), "change of output", required=True),
            "weight": Variable(("epoch", "train"), "mean of 1 - p of the true label"),
            "damping": Variable(("epoch",), "added to the kernel's diagonal"),
            "fidelity": Variable(("epoch",), "correlation with exact scores, estimated"),
        },
        extra=(("epoch",), ("epoch", "train"), ("epoch", "test")),
        grows=True,
        by_row=True,
    ),
    "by_layer/queries/*": GroupSpec(
        f"the scores of `queries/*`, layer by layer; over the layers they sum to those; {SIGN}",
        {
            "score": Variable(
                ("epoch", "layer", "query", "train"), "change of output", required=True
            )
        },
        extra=(("epoch",), ("layer",)),
        grows=True,
        by_row=True,
    ),
    "by_layer/scores/*": GroupSpec(
        f"the scores of `scores/*`, layer by layer; over the layers they sum to those; {SIGN}",
        {"score": Variable(("epoch", "layer", "test", "train"), "change of output", required=True)},
        extra=(("epoch",), ("layer",)),
        grows=True,
        by_row=True,
    ),
    "top_scores/*": GroupSpec(
        "the highest and lowest scores of each test example",
        {
            "score": Variable(("epoch", "test", "rank"), "change of output", required=True),
            "train_id": Variable(("epoch", "test", "rank"), "example id", required=True, kind="i"),
        },
        extra=(("epoch",), ("epoch", "test")),
        grows=True,
        by_row=True,
    ),
    "self_influence/*": GroupSpec(
        "how much each training example moves its own output",
        {"score": Variable(("epoch", "train"), "change of output", required=True)},
        extra=(("epoch",),),
        grows=True,
        by_row=True,
    ),
    "exposures/*": GroupSpec(
        "influence by time of exposure: what training on an example during a window did",
        {"score": Variable(("test", "window", "train"), "change of output", required=True)},
        extra=(("window",), ("test",)),
    ),
    "replay": GroupSpec(
        "what an exact replay needs: the order of examples and the optimizer's settings",
        extra=(("step",), ("step", "slot")),
        grows=True,
        by_row=True,
    ),
    "analyses/*": GroupSpec("results of an analysis"),
    "transitions": GroupSpec("when the run memorized, turned and generalized"),
    "checks/removal/*": GroupSpec(
        "training again without some examples, and without as many drawn at random",
        {
            "change": Variable(("epoch", "test"), "change of output", required=True),
            "band_low": Variable(("epoch", "test"), "change of output"),
            "band_high": Variable(("epoch", "test"), "change of output"),
            "beyond_band": Variable(("epoch", "test"), "true or false", kind="b"),
            "random_change": Variable(("draw", "epoch", "test"), "change of output"),
            "t50": Variable((), "epoch, NaN: never"),
            "t50_full": Variable((), "epoch, NaN: never"),
            "t50_random": Variable(("draw",), "epoch, NaN: never"),
        },
    ),
    "checks/leave_one_out/*": GroupSpec(
        "output with all examples minus output of training again without one",
        {"effect": Variable(("epoch", "test", "train"), "change of output", required=True)},
    ),
    "checks/window_ablation/*": GroupSpec(
        "output with all examples minus output of leaving one out in one window of training",
        {"effect": Variable(("window", "epoch", "test"), "change of output", required=True)},
    ),
    "checks/retrainings/*": GroupSpec(
        "training again without some examples, or from other starts; every one is done once",
        {
            "weight": Variable(("retraining", "train"), "0: removed", required=True),
            "output": Variable(("retraining", "epoch", "test"), "output", required=True),
            "accuracy": Variable(("retraining", "epoch"), "0-1, NaN where there is none"),
            "start": Variable(
                ("retraining",), "seed, -1: the recorded one", required=True, kind="i"
            ),
            "start_digest": Variable(("retraining",), "sha256 of the first weights", kind="UTO"),
            "why": Variable(("retraining",), "random, asked or whole", required=True, kind="UTO"),
        },
        grows=True,
        by_row=True,
    ),
    "checks/*": GroupSpec("a check of the scores; all that were made are kept"),
    "validity": GroupSpec("how far the scores may be believed", grows=True),
    "validity/*": GroupSpec("how far the scores may be believed", grows=True),
    "queries/*/*": GroupSpec(
        f"scores for questions that were asked later; {SIGN}",
        {
            "score": Variable(("epoch", "query", "train"), "change of output", required=True),
            "value": Variable(("epoch", "query"), "what is asked, as the model answers it"),
            "weight": Variable(("epoch", "train"), "mean of 1 - p of the true label"),
            "damping": Variable(("epoch",), "added to the kernel's diagonal"),
            "fidelity": Variable(("epoch",), "correlation with exact scores, estimated"),
        },
        extra=(("epoch",), ("epoch", "query")),
        grows=True,
        by_row=True,
    ),
    "queries/*": GroupSpec(
        "sets of questions that were asked after the training, each as a mean over examples",
        {
            "asked": Variable(("query",), "in words", required=True, kind="UTO"),
            "unit": Variable(("query",), "in words", kind="UTO"),
            "examples": Variable(("query",), "examples", kind="i"),
        },
        extra=(("query",),),
    ),
}


def spec_of(group: str) -> GroupSpec:
    """The specification that governs a group name; `SchemaError` if none does."""
    if not isinstance(group, str):
        raise SchemaError(f"A group has a name, such as 'analyses/mine', and is not {group!r}.")
    if group in GROUPS:
        return GROUPS[group]
    for pattern, spec in GROUPS.items():
        # layer names may hold dots and slashes, but a family needs a member
        if "*" in pattern and fnmatchcase(group, pattern) and not group.endswith("/"):
            return spec
    raise SchemaError(
        f"No group is called {group!r}. The record knows {', '.join(GROUPS)}; "
        f"results of your own go under 'analyses/<name>'."
    )


def check_group(group: str, data: xr.Dataset) -> xr.Dataset:
    """Return the data in the schema's order of dims, or raise `SchemaError` saying what is off."""
    data = check_variables(group, data)
    for dim in LABEL_DIMS:
        if dim in data.dims:
            check_labels(group, data, dim)
    return data


def check_variables(group: str, data: xr.Dataset) -> xr.Dataset:
    """The part of `check_group` that looks at names, dims and dtypes but not at labels."""
    spec = spec_of(group)
    if not isinstance(data, xr.Dataset):
        raise SchemaError(f"{group!r} takes an xarray.Dataset, not {type(data).__name__}.")
    variables, turned = data.variables, {}
    for name, wanted in spec.variables.items():
        if wanted.required and name not in variables:
            raise SchemaError(
                f"{group!r} needs the variable {name!r} over {wanted.dims}; "
                f"the data has {', '.join(map(str, data.data_vars)) or 'none'}."
            )
    for name, array in variables.items():
        wanted = spec.variables.get(str(name))
        if name in data.coords and wanted is None:
            continue
        allowed = (wanted.dims,) if wanted else spec.extra
        match = next((dims for dims in allowed if set(dims) == set(array.dims)), None)
        if match is None and allowed:
            raise SchemaError(
                f"{name!r} in {group!r} has dims {array.dims}; expected "
                f"{' or '.join(map(str, allowed))}."
            )
        if wanted and array.dtype.kind not in wanted.kind:
            raise SchemaError(
                f"{name!r} in {group!r} has dtype {array.dtype}; expected {_kinds(wanted.kind)}."
                f"{_MENDS.get(str(name), '')}"
            )
        if name == "thumbnail":
            _check_thumbnail(array)
        if match and match != array.dims:
            turned[name] = array.transpose(*match)
    return data.assign(turned) if turned else data


_KINDS = {"f": "floats", "i": "integers", "b": "true or false", "u": "uint8"} | dict.fromkeys(
    "UTO", "text"
)
_MENDS = {
    "label": " Labels are numbers: codes, names = pandas.factorize(labels, sort=True) gives the "
    "column label=codes, and config={'class_names': list(names)} keeps the words.",
    "thumbnail": " For pictures of another type: (255 * (x - x.min()) / (x.max() - x.min()))"
    ".astype('uint8').",
    "text": " For bytes: [t.decode() for t in text].",
}


def _kinds(kinds: str) -> str:
    return " or ".join(dict.fromkeys(_KINDS[kind] for kind in kinds))


def _check_thumbnail(array: xr.Variable) -> None:
    if array.dtype != np.uint8:
        raise SchemaError(
            f"'thumbnail' has dtype {array.dtype}; expected uint8.{_MENDS['thumbnail']}"
        )
    channels = dict(zip(array.dims, array.shape, strict=True)).get("channel", 1)
    if channels not in (1, 3, 4):
        raise SchemaError(
            f"'thumbnail' has {channels} channels; expected 1 (grey), 3 (RGB) or 4 (RGBA). Choose "
            f"three to show: x[..., [2, 1, 0]]."
        )


def is_exact_in_browsers(ids: np.ndarray) -> bool:
    """Whether a browser, with numbers in float64, can tell all of these ids apart."""
    return not len(ids) or max(abs(int(ids.min())), abs(int(ids.max()))) <= _EXACT


def is_named(group: str, name: str) -> bool:
    """Whether the schema names a variable, and so says what stands where it is missing."""
    try:
        return name in spec_of(group).variables
    except SchemaError:  # of a record that another version wrote
        return False


def unit_of(group: str, name: str) -> str:
    """The unit of a variable, "" where the schema names none."""
    wanted = spec_of(group).variables.get(name)
    return wanted.unit if wanted else ""


def check_labels(group: str, data: xr.Dataset, dim: str) -> None:
    """A dim that says which example or when needs unique integer labels; time must ascend."""
    if dim not in data.coords:
        raise SchemaError(
            f"{group!r} has the dim {dim!r} without labels; give it a coordinate "
            f"of ids, since positions do not survive shuffling."
        )
    labels = data[dim].values
    if labels.dtype.kind not in "iu":
        raise SchemaError(
            f"The labels of {dim!r} in {group!r} must be integers, not {labels.dtype}."
        )
    if labels.dtype.kind == "u" and len(labels) and int(labels.max()) > _LARGEST:
        raise SchemaError(
            f"The id {labels.max()} of {dim!r} in {group!r} does not fit 64 bits with a sign. "
            f"Number the examples, and keep the large id as a column of text."
        )
    values, counts = np.unique(labels, return_counts=True)
    if len(values) != len(labels):
        raise SchemaError(f"{dim!r} in {group!r} repeats the label {values[counts > 1][0]}.")
    if dim in TIME_DIMS and (np.diff(labels.astype(np.int64)) <= 0).any():
        raise SchemaError(f"{dim!r} in {group!r} must ascend; got {labels[:8].tolist()}.")
