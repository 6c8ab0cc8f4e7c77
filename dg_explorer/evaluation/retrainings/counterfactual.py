"""What really happens without these examples: retraining, against as many removed at random."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

from ...arguments import REQUIRED, Ids, checked
from ...data.ids import known_ids
from ...errors import DataError, NonFiniteError, SettingError
from ...maths.crossing import first_crossing
from ...record.run import as_run
from ...training.training import Training
from ..settings import check_given
from .again import outputs_without
from .removal_draws import Draws, keeps_in, removal_in_words, retrain_with_weights

_CURVE = 8  # recorded epochs from which on test accuracy at them tells t50


@checked
def counterfactual_check(
    run=None,
    test: Ids | None = None,
    *,
    remove: Ids = REQUIRED,
    training: Training = REQUIRED,
    at: Ids | None = None,
    n_random: int = 20,
    among: Ids | None = None,
    n_curve: int = 40,
    seeds: Ids | None = None,
    models_at_once: int = 16,
    seed: int = 0,
    verbose: bool = True,
) -> xr.Dataset:
    """Retrain without some examples, and without as many drawn at random, many at once.

    Two kinds of draws, where examples have classes: any examples, and as many of the same labels
    as those removed, which asks whether the scores know more than the label.

    Parameters
    ----------
    run : Run, optional
        The result is kept in it as ``checks/removal/<n>``, beside earlier ones. Retrainings from
        this start that it keeps already are not done again, and new ones are kept, where `at` is
        among the recorded epochs.
    test : ids, optional
        Whose outputs are looked at; default all.
    remove : ids of training examples
    at : epochs, optional
        Where outputs are taken; default the training's recorded epochs.
    n_random : int
        Random removals, for the band: the 2.5 % and 97.5 % points of what they do.
    among : ids of training examples, optional
        Whom the random ones are drawn from; default all. Helpers mostly carry the test example's
        label: give those that carry it too, to ask whether the scores know more than the label.
    n_curve : int
        Epochs, evenly spread, at which test accuracy is taken for t50; with kept retrainings it
        is taken at the recorded epochs.
    seeds : ints, optional
        Other starts and orders to try the same removal from, with draws of their own: what the
        data do from any start is another claim than what they did from this one. Refused where
        the training is that of a record, which holds one start.
    verbose : bool
        Print what came out, in words.

    Returns
    -------
    Dataset
        ``change`` (epoch, test): output without the examples minus output with all of them;
        ``band_low``, ``band_high`` (epoch, test) and ``random_change`` (draw, epoch, test) of
        the random removals; ``same_labels_change`` (draw, epoch, test) of those of the same labels;
        ``beyond_band`` (epoch, test); ``t50``, ``t50_full``, ``t50_random`` (draw): when test
        accuracy reaches one half for good (NaN: never). With `seeds` also ``start_change`` (start,
        epoch, test), ``start_random_change`` and ``start_same_labels_change`` (start, start_draw,
        epoch, test). ``attrs["words"]``: what all this says, a list of sentences.

    Raises
    ------
    DataError
        Where ``among`` holds fewer examples than ``remove``, or nothing would be left.
    NonFiniteError
        The training diverges. Random removals that do are left out of the band, and counted in
        the attribute ``n_diverged``.
    """
    run = None if run is None else as_run(run)
    check_given("counterfactual_check", training, remove=remove)
    remove = known_ids(remove, training.train_ids, "training")
    test = training.test_ids if test is None else known_ids(test, training.test_ids, "test")
    at = training.counts(training.recorded_epochs() if at is None else at)
    grid = np.unique(np.linspace(0, training.n_epochs, n_curve + 1).round().astype(int))
    rng = np.random.default_rng(seed)
    pool = training.train_ids if among is None else known_ids(among, training.train_ids, "training")
    if len(np.unique(remove)) == training.n_train:
        raise DataError("All training examples are to be removed; nothing is left to train on.")
    if len(pool) < len(remove):
        raise DataError(
            f"{len(remove)} examples are to be removed, and as many drawn at random among "
            f"{len(pool)}. Remove fewer, or draw among more."
        )
    pool = np.flatnonzero(np.isin(training.train_ids, pool))
    weights = np.ones((2 + n_random, training.n_train))
    weights[1, np.isin(training.train_ids, remove)] = 0
    for row in weights[2:]:
        row[rng.choice(pool, len(remove), replace=False)] = 0
    for other in seeds or ():
        training.start(other)  # refused before anything is trained
    keeps = keeps_in(run, training, at, least=min(n_curve, _CURVE))
    draws = Draws(training, remove, among, run if keeps else None)
    epochs = np.array(sorted(training.record_at)) if keeps else np.union1d(at, grid)
    outputs, accuracy = draws.retrain(
        weights, epochs, models_at_once, random=[False] * 2 + [among is None] * n_random
    )
    rows = np.flatnonzero(np.isin(training.test_ids, test))
    order = [int(np.flatnonzero(training.test_ids[rows] == id)[0]) for id in test]
    there = outputs[:, np.searchsorted(epochs, at)][:, :, rows[order]]
    change = there[1:] - there[0]
    lost = ~np.isfinite(change).all(axis=(1, 2))
    if lost[0] or lost.all():
        raise NonFiniteError(
            "The training without these examples, or with all of them, ends in outputs that are "
            "not finite, so there is no change to speak of. It diverged; check its learning rate."
        )
    low, high = np.quantile(change[1:][~lost[1:]], [0.025, 0.975], axis=0)
    t50 = [first_crossing(training.recorded_as(epochs), curve, 0.5) for curve in accuracy]
    by_test = ("epoch", "test")
    result = xr.Dataset(
        {
            "change": (by_test, change[0]),
            "band_low": (by_test, low),
            "band_high": (by_test, high),
            "beyond_band": (by_test, (change[0] < low) | (change[0] > high)),
            "random_change": (("draw", *by_test), change[1:]),
            "t50": t50[1],
            "t50_full": t50[0],
            "t50_random": ("draw", t50[2:]),
        },
        coords={"epoch": training.recorded_as(at), "test": test, "draw": np.arange(n_random)},
        attrs={
            "removed": np.asarray(remove).tolist(),
            "drawn_among": len(pool),
            "seed": seed,
            "n_diverged": int(lost[1:].sum()),
        },
    )
    # trained apart from the above, whose rounding would change with the number of models
    where = rows[order], at, models_at_once
    result = result.assign(draws.of_same_labels(epochs, there[0], n_random, rng, where))
    if seeds:
        result = result.assign(
            draws.from_starts(training, np.asarray(seeds).tolist(), n_random, where)
        )
    result.attrs["words"] = removal_in_words(result, training)
    if verbose:
        print("\n".join(result.attrs["words"]))
    if run is not None:
        run.keep("checks/removal", result)
    return result


@checked
def leave_one_out(
    run=None,
    *,
    training: Training = REQUIRED,
    train: Ids = REQUIRED,
    test: Ids | None = None,
    at: Ids | None = None,
    models_at_once: int = 16,
) -> xr.DataArray:
    """What each training example really did: output with all minus output without it.

    Has the sign of a score: positive where training on the example raised the output.

    Parameters
    ----------
    run : Run, optional
        The result is kept in it as ``checks/leave_one_out/<n>``, beside earlier ones, and each
        retraining as in `counterfactual_check`.
    train : ids of training examples
    test : ids, optional
    at : epochs, optional

    Returns
    -------
    DataArray, dims (epoch, test, train)
    """
    run = None if run is None else as_run(run)
    check_given("leave_one_out", training, train=train)
    train = known_ids(train, training.train_ids, "training")
    weights = np.ones((len(train) + 1, training.n_train))
    for row, id in zip(weights[1:], train, strict=True):
        row[training.train_ids == id] = 0
    effects = _effects(training, weights, train, test, at, models_at_once, run)
    if run is not None:
        run.keep("checks/leave_one_out", effects.to_dataset(name="effect"))
    return effects


@checked
def window_ablation(
    run=None,
    *,
    training: Training = REQUIRED,
    train: int = REQUIRED,
    windows: Ids = REQUIRED,
    test: Ids | None = None,
    at: Ids | None = None,
) -> xr.DataArray:
    """What an example did in each window of training: it is dropped in that window only.

    Parameters
    ----------
    run : Run, optional
        The result is kept in it as ``checks/window_ablation/<n>``, beside earlier ones.
    train : id
    windows : edges, in epochs from the start of training

    Returns
    -------
    DataArray, dims (window, epoch, test)
        Output with all minus output without the example in the window.
    """
    run = None if run is None else as_run(run)
    check_given("window_ablation", training, train=train, windows=windows)
    if np.size(train) != 1:
        raise SettingError(f"window_ablation drops one example at a time, not {np.size(train)}.")
    (id,) = known_ids(train, training.train_ids, "training")
    edges = np.asarray(windows, dtype=int)
    n_windows = len(edges) - 1
    if n_windows < 1 or (np.diff(edges) <= 0).any():
        raise SettingError(f"windows={windows!r}: at least two edges, in ascending order.")
    dropped = torch.as_tensor(training.train_ids == id)
    ones = torch.ones(n_windows + 1, training.n_train, dtype=training.start().theta.dtype)

    def weights(epoch: int) -> torch.Tensor:
        window = int(np.searchsorted(edges, epoch, side="right")) - 1
        if not 0 <= window < n_windows:
            return ones
        here = ones.clone()
        here[window + 1, dropped] = 0
        return here

    effects = _effects(training, weights, np.arange(n_windows), test, at, n_windows + 1)
    effects = effects.rename(train="window").transpose("window", "epoch", "test")
    if run is not None:
        bounds = {
            "window_start": ("window", edges[:-1]),
            "window_end": ("window", edges[1:]),
        }
        stored = effects.to_dataset(name="effect").assign_coords(bounds)
        stored.attrs["train"] = int(id)
        run.keep("checks/window_ablation", stored)
    return effects


def _effects(training, weights, names, test, at, models_at_once, run=None) -> xr.DataArray:
    test = training.test_ids if test is None else known_ids(test, training.test_ids, "test")
    at = training.counts(training.recorded_epochs() if at is None else at)
    if keeps_in(run, training, at):
        never = [False] * len(weights)
        outputs, _ = outputs_without(run, training, weights, never, models_at_once)
        outputs = outputs[:, np.searchsorted(sorted(training.record_at), np.unique(at))]
    else:
        outputs, _ = retrain_with_weights(
            training, weights, np.unique(at), models_at_once, n=len(names) + 1
        )
    effects = xr.DataArray(
        (outputs[:1] - outputs[1:]).transpose(1, 2, 0),
        dims=("epoch", "test", "train"),
        coords={
            "epoch": training.recorded_as(np.unique(at)),
            "test": training.test_ids,
            "train": names,
        },
    )
    return effects.sel(test=test)
