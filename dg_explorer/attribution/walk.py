"""Walk a run's checkpoints and add the scores of each to the record, one epoch a row."""

from __future__ import annotations

import inspect
import json
from itertools import islice
from typing import Any

import numpy as np
import torch
import xarray as xr
from tqdm.auto import tqdm

from ..arguments import checked
from ..checkpoints.loading import copied, load_into
from ..checkpoints.store import load_weights, saved_epochs
from ..data.served import Served
from ..errors import CheckpointError, SchemaError, SettingError
from ..record.run import as_run
from ..schema import SIGN
from ..training.loss.trained_loss import check_assumed_loss, trained_loss
from .attributor.made_from import as_served, check_made_from, examples_digest, made_from, weights_of
from .attributor.outputs_on_record import AS_RECORDED, compared
from .attributor.rows import as_dataset, check_sums, keep_own, layers_of
from .attributor.settling import check_taken, check_trained, settled, take_recorded_task
from .memory_estimate import check_memory, fits_easily
from .methods import method_class
from .queries.keeping import check_questions, keep_questions
from .queries.query import QuerySet
from .units import (
    AHEAD,
    BLOCK,
    Unit,
    blocks,
    divisible,
    features_unit,
    in_order,
    score_checkpoint,
    scores_unit,
)

__all__ = ["attribute", "score_checkpoint"]


@checked
def attribute(
    run,
    model: torch.nn.Module,
    train,
    test=None,
    *,
    method: str = "trak",
    query: QuerySet | None = None,
    epochs=None,
    name: str | None = None,
    executor=None,
    batch_size: int = 256,
    block_size: int = BLOCK,
    overwrite: bool = False,
    per_layer: bool = False,
    outputs: str = "check",
    progress: bool = True,
    seed: int | None = None,
    forward=None,
    label=None,
    augment: str | None = None,
    **settings,
):
    """Score every training example for every test example at each checkpoint of a run.

    Adds `scores/<name>` row by row. A killed call loses at most the row being computed; called
    again with the same settings it goes on where it stopped, with the same scores.

    Parameters
    ----------
    run : Run
        With checkpoints, as a recorder leaves them.
    model : torch module
        Of the architecture the checkpoints were saved from. It is not changed.
    train, test : data
        Whatever `Served` takes: data sets, loaders (read through their own `collate_fn`), pairs of
        tensors, lists. Their ids and labels must be those of the run; see `with_ids`.
    method : str
        "trak", "influence", "tracin", ...
    query : QuerySet, optional
        Ask this in place of single test examples: means over many, contrasts, directions. Adds
        `queries/<its name>` and `queries/<its name>/<name>`, with the dim `query` for `test`.
        `test` may then be left out; it only serves to compare the model with the record.
    epochs : list of int, optional
        By default every epoch with a checkpoint.
    name : str, optional
        The scores go to `scores/<name>`; by default the method's name.
    executor : concurrent.futures.Executor, optional
        Processes, or a cluster: `dask.distributed.Client(...).get_executor()`. A unit of work is
        one checkpoint and one block of examples; a worker that dies costs its unit. Threads of
        one process take turns. Scores do not depend on the executor.
    block_size : int
        Examples in a unit of work, in whole batches.
    overwrite : bool
        Begin anew where scores of other settings are already there.
    per_layer : bool
        Also add `by_layer/scores/<name>`, the scores layer by layer from the same pass: `score`
        (epoch, layer, test, train), which sums over the layers to the score. For methods whose
        scores are such a sum, without `proj_dim=`.
    outputs : "check" or "unchecked"
        Compare what the model answers to test examples with what the record says it answered.
        "unchecked" is for a model that is meant to differ; the scores say so.
    progress : bool
        Show a progress bar.
    seed : int, optional
        Of the random projection, with `proj_dim=`.
    forward, label, augment : optional
        How the model is called and where the labels are, as for `Recorder`.
    **settings
        Passed to the attributor: `task`, `layers`, `damping`, ...

    Returns
    -------
    Dataset
        The group as it is in the record: `score` (epoch, test, train), `weight` (epoch, train),
        `damping` (epoch), and with a projection `fidelity` (epoch). With `query=`: `score`
        (epoch, query, train) and `value` (epoch, query), what the model answers to it. Where it
        costs little, each example's score for itself goes to `self_influence/<name>` beside.

    Raises
    ------
    SettingError
        A setting is misspelt, or the scores there were made with other settings or from other
        data, weights or functions; or the method cannot be asked about a mean.
    OutputsDifferError
        The model does not answer as the record says it did.
    CheckpointError
        An epoch has no checkpoint.
    OutOfMemoryError
        The work would need more memory than there is; says what to lower. Nothing was begun.
    WorkerLostError
        One unit took down several workers of a cluster.
    ArchitectureMismatchError, NonFiniteError
        A checkpoint does not fit the model, or holds NaN.
    ShuffledLoaderError, UnknownExampleError
        The examples cannot be told apart, or are not those of the run.
    TrainedLossError
        No `task` is given, and the record says that another loss was trained than the one that
        would be assumed.
    """
    run = as_run(run)
    attributor = method_class(method)
    settings |= _seeded(attributor, method, seed, settings)
    _check_settings(attributor, method, settings)
    if query is None and test is None:
        raise SettingError("attribute() needs test= examples to explain, or a query= to answer.")
    if query is not None and not isinstance(query, QuerySet):
        raise SettingError(
            f"query= takes a QuerySet, not {type(query).__name__}: QuerySet('sevens', "
            f"{{'all': Query.mean(sevens)}})."
        )
    if "task" not in settings and "task" in inspect.signature(attributor.__init__).parameters:
        check_assumed_loss(run, f"attribute(run, method={method!r}) without task=")
    if isinstance(block_size, bool) or not isinstance(block_size, int) or block_size < 1:
        raise SettingError(f"block_size={block_size!r}: at least one example in a unit of work.")
    family = "scores" if query is None else f"queries/{query.name}"
    group = f"{family}/{name or method}"
    if name is not None and (not isinstance(name, str) or set(name.split("/")) & {"", ".", ".."}):
        raise SettingError(f"name={name!r}: a name for the scores, such as 'mine'.")
    if executor is not None and not hasattr(executor, "submit"):
        raise SettingError(
            f"executor={executor!r} has no submit; give a concurrent.futures.Executor, or a "
            f"cluster's: dask.distributed.Client(...).get_executor()."
        )
    epochs = _check_epochs(run, epochs)
    scratch = copied(model)
    made = attributor(scratch, batch_size=batch_size, **settings)
    take_recorded_task(made, run)
    check_trained(made, run)
    if per_layer:
        made.check_by_layer()
    made.layers_too = per_layer or made.layers_needed(run)
    how = {"forward": forward, "label": label, "augment": augment, "batch_size": batch_size}
    how |= {"model": scratch, "by_task": made.task.reads_batch}
    asked = None if query is None else query.served(**how)
    train = Served.of(train, split="train", run=run, **how)
    test = None if test is None else Served.of(test, split="test", run=run, **how)
    for served in (train, test):
        if served is not None:
            served.check_labels()
    check_taken(made, train=train, test=test)
    first = train if test is None else test
    attrs = {
        "method": method,
        "settings": json.dumps(
            settled(made, first, run).settings() | {"epochs": "from checkpoints"}, sort_keys=True
        ),
        "sign": SIGN,
        "output": made.task.name,
        "output_unit": made.task.output_unit,
        "unit": made.unit,
    }
    served = {
        s: None if d is None else as_served(made, d, s)
        for s, d in (("train", train), ("test", test))
    }
    made_of = made_from(
        scratch, made.task, **(served if asked is None else served | {"test": None})
    )
    questions: Any = asked or test
    seen = served if test is not None else {"train": served["train"]}
    coords = {"test" if asked is None else "query": questions.ids, "train": train.ids}
    new, told = False, {}
    if asked is not None:
        told = asked.made_from(lambda data: examples_digest(data, made.task.needs_batch))
        made_of |= told
        new = check_questions(run, asked, told, made, overwrite)
    done = _done(run, group, attrs, coords, overwrite)
    apart = f"by_layer/{group}"
    kept = _done(run, apart, attrs, coords, overwrite) if per_layer or overwrite else set()
    if per_layer:
        check_sums(made, group, done, kept)
    for there in [group] * bool(done) + [apart] * bool(kept):
        then = run[there].attrs.get("outputs")
        check_made_from(
            run,
            there,
            made_of,
            lambda then=then: (
                then == compared(made, seen, run, sorted(done), outputs) == AS_RECORDED
            ),
        )
    todo = [epoch for epoch in epochs if epoch not in (done & kept if per_layer else done)]
    if todo:
        attrs |= {"outputs": compared(made, seen, run, todo, outputs)}
        attrs |= {"trained_loss": _said_of_loss(run)}
        load_into(made.model, load_weights(run, todo[0]))
        if hasattr(made, "prepare"):  # here, so that all workers go by the same plan
            attrs |= {"plan": made.prepare(train).fingerprint}
        if not fits_easily(made, train, questions):
            check_memory(made, train, questions)
    rows: Any = _compute(run, made, train, questions, todo, executor, block_size)
    if hasattr(made, "over_epochs"):  # a method that adds up over epochs
        rows = made.over_epochs(run, group, rows, per_layer)
    rows = tqdm(rows, total=len(todo), unit=run.time_unit, disable=not progress, desc=method)
    for epoch, row in rows:  # each is in the record once it is computed, in whatever order
        now = made_of | {"weights": weights_of(run, epoch)}
        with run.together():
            if (
                new and asked is not None
            ):  # only now, so that a question that cannot be asked leaves nothing
                keep_questions(run, asked, told)
            own = row.pop("self_influence", None)
            if epoch not in done:
                run.append(group, as_dataset(epoch, row, coords, attrs), made_from=now)
            if per_layer:
                run.append(apart, layers_of(epoch, row, coords, attrs), made_from=now)
            if own is not None and asked is None and epoch not in done:
                keep_own(run, name or method, epoch, own, train.ids, attrs, now)
        new = False
    run.flush()
    if progress and "fidelity" in run[group]:
        _say_fidelity(run[group])
    return run[group]


def _said_of_loss(run) -> str:
    """What the record says about the loss that was trained, in words."""
    found = trained_loss(run)
    return "not compared while recording" if found is None else found.words


def _compute(run, attributor, train, test, epochs, executor, block_size):
    """Yield (epoch, row) in ascending order of epoch."""
    cut = {"train": [train], "test": [test]}
    if divisible(attributor):
        cut = {k: blocks(v[0], block_size) for k, v in cut.items()}
    n_train, n_test = len(cut["train"]), len(cut["test"])

    def job(what, function, *arguments):
        return Unit(executor, f"{run.time_unit} {what}", function, attributor, *arguments)

    def whole():
        for epoch in epochs:
            yield job(f"{epoch}", score_checkpoint, load_weights(run, epoch), train, test)

    def features():
        for epoch in epochs:
            weights = load_weights(run, epoch)
            for split, parts in cut.items():
                for i, part in enumerate(parts, 1):
                    name = f"{epoch}, {split} block {i} of {len(parts)}"
                    yield job(name, features_unit, weights, split, part)

    def scores(found):
        for epoch in epochs:
            halves = list(islice(found, n_train)), list(islice(found, n_test))
            yield job(f"{epoch}, scores", scores_unit, load_weights(run, epoch), *halves)

    ahead = 0 if executor is None else AHEAD
    if n_train == n_test == 1:
        rows = in_order(whole(), ahead)
    else:
        # the next epoch's features are waited for while the last one's scores are made
        rows = in_order(scores(in_order(features(), ahead)), min(1, ahead))
    yield from zip(epochs, rows, strict=True)


def _say_fidelity(scores: xr.Dataset) -> None:
    """Print how far scores of a projection can be the exact ones."""
    worst = scores["fidelity"].min()
    settings = json.loads(scores.attrs["settings"])
    print(
        f"{settings['projection']}: by its two halves, scores correlate about {float(worst):.2f} "
        f"with those of exact gradients. proj_dim= raises it; without proj_dim= scores are exact."
    )


def _check_settings(attributor, method, settings) -> None:
    known = [
        p for p in inspect.signature(attributor.__init__).parameters if p not in ("self", "model")
    ]
    unknown = [s for s in settings if s not in known or s == "checkpoints"]
    if unknown:
        raise SettingError(
            f"attribute(method={method!r}) has no setting {unknown[0]!r}; it takes "
            f"{', '.join(k for k in known if k not in ('checkpoints', 'batch_size'))}."
        )


def _seeded(attributor, method: str, seed, settings: dict) -> dict:
    """The setting that a seed stands for."""
    if seed is None:
        return {}
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise SettingError(f"seed={seed!r} must be a whole number.")
    if "projection_seed" in settings:
        raise SettingError("seed= and projection_seed= are the same; give one of them.")
    takes = "projection_seed" in inspect.signature(attributor.__init__).parameters
    if not takes or settings.get("proj_dim") is None:
        raise SettingError(
            f"seed={seed}: method={method!r} draws nothing at random"
            + (" without proj_dim=; leave seed= out." if takes else "; leave it out.")
        )
    return {"projection_seed": seed}


def _check_epochs(run, epochs) -> list[int]:
    saved = saved_epochs(run)
    if not saved:
        raise CheckpointError(
            "This run has no checkpoints to attribute. Record with checkpoints, or write them "
            "with save_checkpoint(run, epoch, model)."
        )
    if epochs is None:
        return saved
    wanted = sorted({whole(epoch) for epoch in np.atleast_1d(epochs).tolist()})
    missing = [epoch for epoch in wanted if epoch not in saved]
    if not wanted:
        raise SettingError("epochs=[] names no moment. Leave it out for every checkpoint.")
    if missing:
        raise CheckpointError(
            f"No checkpoint at {run.time_unit} {missing[0]}; this run has "
            f"{', '.join(map(str, saved))}."
        )
    return wanted


def whole(epoch) -> int:
    """An epoch as the whole number that it is, or `SettingError`."""
    number = isinstance(epoch, (int, float)) and not isinstance(epoch, bool)
    if not number or epoch != epoch // 1:
        raise SettingError(f"epochs={epoch!r}: the moments of a record are whole numbers.")
    return int(epoch)


def _done(run, group, attrs, coords, overwrite) -> set[int]:
    """Epochs already scored with the same settings; refuses scores of other settings."""
    if group not in run:
        return set()
    there = run[group]
    same = all(there.attrs.get(key) == attrs[key] for key in ("method", "settings", "output"))
    same &= all(np.array_equal(there[dim].values, ids) for dim, ids in coords.items())
    if same and not overwrite:
        return {int(epoch) for epoch in there["epoch"].values}
    if not overwrite:
        raise SettingError(
            f"This run has {group!r} made with other settings or examples "
            f"({there.attrs.get('settings')}). Pass overwrite=True to replace them, or name= to "
            f"keep both."
        )
    own = group.replace("scores/", "self_influence/", 1)
    try:
        if (
            own != group
            and own in run
            and run[own].attrs.get("settings") == there.attrs["settings"]
        ):
            run.delete(own)
        run.delete(group)
    except SchemaError as error:
        raise SettingError(f"Cannot replace {group!r}: {error}") from error
    return set()
