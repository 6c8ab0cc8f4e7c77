"""A run's record made from checkpoints that are there: `Run.from_checkpoints`."""

from __future__ import annotations

from pathlib import Path

import torch
from tqdm.auto import tqdm

from ..checkpoints.formats import ModelCheckpoints, model_checkpoints
from ..checkpoints.loading import copied, load_into
from ..checkpoints.random_state import untouched_rng
from ..checkpoints.store import load_weights
from ..data.served import Served
from ..errors import CheckpointError, DataError, SettingError
from ..record.run import Run
from .recorder import Recorder


def run_from_checkpoints(
    source,
    model,
    train,
    test=None,
    *,
    path=None,
    name: str | None = None,
    epochs=None,
    pattern: str | None = None,
    weights: str = "trained",
    key: str | None = None,
    prefix: str | None = None,
    train_examples=None,
    test_examples=None,
    progress: bool = True,
    **settings,
) -> Run:
    """What `Run.from_checkpoints` does; its parameters are described there."""
    if settings.keys() & {"replay", "gradient_every", "checkpoint_every"}:
        raise SettingError(
            "replay, gradient_every and checkpoint_every are about a training while it runs; "
            "checkpoints do not hold what they ask for."
        )
    found = model_checkpoints(source, epochs=epochs, pattern=pattern, weights=weights, key=key)
    if progress:
        print(f"{len(found)} checkpoints: {found!r}")
    scratch = copied(model)
    first = next(iter(found))
    told = load_into(scratch, found[first], prefix=prefix)  # before anything is written
    how = {k: settings[k] for k in ("forward", "label", "augment", "batch_size") if k in settings}
    tables = {
        f"{split}_examples": _examples(split, data, scratch, how) if table is None else table
        for split, data, table in (("train", train, train_examples), ("test", test, test_examples))
        if data is not None
    }
    run = _run(source, found, path, name, weights, told, tables)
    done = [int(epoch) for epoch in run.epochs("metrics")] if "metrics" in run else []
    todo = [epoch for epoch in found if epoch not in done]
    if done:
        _check_same(run, scratch, found, done, todo, prefix)
    with (
        untouched_rng(),
        Recorder(run, scratch, train=train, test=test, gradient_every=0, **settings) as recorder,
    ):
        recorder.resume()
        for epoch in tqdm(todo, unit=run.time_unit, desc="checkpoints", disable=not progress):
            load_into(scratch, found[epoch], prefix=prefix)
            recorder.epoch(epoch)
    return run


def _run(source, found: ModelCheckpoints, path, name, weights, told, tables) -> Run:
    """The run at the path, to go on with, or a new one."""
    if path is not None and (Path(path) / "record").is_dir():
        return Run.open(path)
    about = {
        "source": str(source) if isinstance(source, (str, Path)) else type(source).__name__,
        "weights": weights,
        "numbers": found.unit,
        "counts_from": found.counts_from,
        "steps": {str(number): step for number, step in found.steps.items()},
        "files": {str(number): file for number, file in found.names.items()},
        "renamed": told,
        "notes": found.notes,
    }
    default = Path(source).name if isinstance(source, (str, Path)) else "from checkpoints"
    return Run.create(
        path,
        name=name or default,
        config={"from_checkpoints": about},
        time_unit="step" if found.unit == "step" else "epoch",
        **tables,
    )


def _check_same(run, scratch, found, done: list[int], todo: list[int], prefix) -> None:
    """`CheckpointError` unless what is recorded is of these checkpoints and more come after it."""
    last = done[-1]
    where = f"the run at {run.path}" if run.path is not None else "the run"
    if last not in found:
        raise CheckpointError(
            f"{where} was recorded up to {run.time_unit} {last}, which is not among these "
            f"checkpoints. Pass another path for a run of their own."
        )
    load_into(scratch, found[last], prefix=prefix)
    stored, own = load_weights(run, last), scratch.state_dict()
    if any(torch.is_tensor(v) and not _equal(v, own.get(k)) for k, v in stored.items()):
        raise CheckpointError(
            f"{where} holds other weights at {run.time_unit} {last} than these checkpoints: it was "
            f"made from others. Pass another path for a run of their own."
        )
    if todo and todo[0] < last:
        raise CheckpointError(
            f"{where} was recorded up to {run.time_unit} {last}, and {todo[0]} came to these "
            f"checkpoints since. Pass another path: a record is written in order."
        )


def _equal(one, other) -> bool:
    return other is not None and torch.equal(one.cpu(), other.detach().cpu())


def _examples(split: str, data, model, how: dict) -> dict:
    """Ids and, where each is one number, labels of the examples, as the model is served them."""
    served = Served.of(data, split=split, model=model, **how)
    table = {split: served.ids}
    try:
        labels = served.labels()
    except DataError:  # of sequences of different lengths
        return table
    if labels is not None and labels.ndim == 1 and labels.dtype.kind in "iufb":
        table["label"] = labels
    return table
