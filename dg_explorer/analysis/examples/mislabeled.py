"""Find training examples with a label that is probably wrong."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pandas as pd
import xarray as xr

from ...arguments import checked
from ...errors import MissingGroupError, SettingError
from ...evaluation.out_of_fold import out_of_fold_margins
from ...maths.margin_area import area_under_margin
from ...maths.mislabels import (
    beyond_class,
    combine_signals,
    left_out_margin,
    mean_over_time,
    neighbour_disagreement,
    rank_share,
    spreads_beyond_class,
)
from ...record.run import as_run
from ..features.layers import recorded_layers
from ..sources.curves import check_answers, seen_at

# how much each signal's rank counts
WEIGHTS = {
    "mean_loss": 1.0,
    "left_out_margin": 1.5,
    "out_of_fold_margin": 1.5,
    "neighbour_disagreement": 0.5,
    "area_under_margin": 0.0,  # the history that the loss tells, no better
    # on digits with a tenth flipped it makes the ranking no better (`benchmarks.mislabels`)
    "self_influence": 0.0,
}
# share of a class, by mean loss, that is not asked about its neighbours' labels
_DISTRUSTED = 0.1
# how many spreads of its class the loss of a wrong label is above the class's median
_FAR = 2.0
#: of right labels, the largest share that was named (`python -m benchmarks.mislabels --right`)
RIGHT_NAMED = 0.12


@checked
def find_mislabeled(
    run,
    *,
    share: float | None = None,
    weights: dict | None = None,
    training=None,
    folds: int = 5,
):
    """Rank training examples by how likely their label is wrong, from all a run knows of them.

    Signals, each used where the run has it, and for the examples that have it: mean loss over
    time; how a linear model of a recorded layer answers that was fitted without the example;
    disagreement with the labels of trusted neighbours in that layer; negative area under the
    margin and mean self-influence, which count for nothing unless `weights` says so: they add
    nothing to the loss. With `training`, the answer of a model that was trained without
    the example. Losses and the like are judged within the class, since a class that is learned
    late is not wrong. The ranks are averaged with the weights of `WEIGHTS`.

    Parameters
    ----------
    run : Run
        With `dynamics/train`.
    share : float, optional
        Share of the examples to act on. By default an example is named where three things hold:
        it was wrong at half or more of the epochs at which most of its class, but not all, were
        right; its loss is far above that of its class; and the model fitted without it speaks
        for another label (where features are recorded, or `training` is given). Where train
        accuracy never reaches one half none is named, with a warning: the ranking holds, but right
        labels that are not learned yet look alike.
    weights : dict, optional
        Weight of each signal; those not named weigh nothing.
    training : Training, optional
        Trained `folds` times without a part of the examples, as `training_of_run` gives it.
    folds : int
        Parts, each left out once.

    Returns
    -------
    DataFrame, index `train`, most suspect first
        suspicion (0 to 1; NaN, and last, for an example that was never seen), rank, label,
        suggested_label (what the model said most often instead, while it was right on most),
        support (the share of those epochs), action ("relabel" where it kept saying the same,
        "remove", or "keep"), and each signal, higher for the more suspect. Also written to
        `analyses/mislabeled`. Its `attrs` say how many of the named may be right
        (`may_be_right`): an example between two classes looks like a wrong label.

    Notes
    -----
    Without `share`, of right labels 0 to 6 % were named where classes lie apart (at most 0.3 %
    with `layers=` recorded), 1 to 8 % on digits (1 to 4 %) and up to 11 % where classes overlap
    (as many), the fewer the more labels were wrong. Where few are wrong, most of those named are
    right: look at them in their order before any is removed.

    Warns
    -----
    UserWarning
        No example is named, and why.
    """
    run = as_run(run)
    if "dynamics/train" not in run:
        hint = "Wrong labels show in learning: record it with Recorder(run, model, train=...)."
        raise MissingGroupError.of("'dynamics/train'", run.groups(), hint)
    weights = WEIGHTS if weights is None else weights
    if not isinstance(weights, dict):
        raise SettingError(f"weights={weights!r}: a dict of signal and weight, {WEIGHTS}.")
    if unknown := sorted(set(weights) - set(WEIGHTS)):
        raise SettingError(f"There is no signal {unknown[0]!r}; there are {', '.join(WEIGHTS)}.")
    dynamics = run["dynamics/train"].load().transpose("epoch", "train")
    check_answers(dynamics, "train", instead="run['dynamics/train']['loss'].mean('epoch') ranks")
    ids = dynamics["train"].values
    labels = _labels(run, ids)
    known = _signals(run, dynamics, labels)
    if training is not None:
        known["out_of_fold_margin"] = -out_of_fold_margins(training, ids, folds=folds)
    signals = {name: values for name, values in known.items() if weights.get(name)}
    judged = {name: _judged(name, values, labels) for name, values in signals.items()}
    if not judged:
        raise SettingError(f"No signal of this run weighs anything; it has {', '.join(known)}.")
    suspicion = combine_signals(judged, weights)
    frame = pd.DataFrame({"suspicion": suspicion, **signals}, index=pd.Index(ids, name="train"))
    if labels is not None:
        frame.insert(1, "label", labels)
    telling = _telling(dynamics)
    if share is None and not telling.any():
        warnings.warn(_why_none(dynamics), stacklevel=3)
    frame = frame.assign(**_said_instead(dynamics.isel(epoch=telling), labels))
    chosen = (
        _chosen(frame, share)
        if share is not None
        else _found(known["mean_loss"], signals, dynamics, labels)
    )
    chosen = pd.Series(chosen & (share is not None or bool(telling.any())), index=frame.index)
    relabel = chosen & (frame["support"] >= 0.5) & (frame["suggested_label"] >= 0)
    frame["action"] = np.where(relabel, "relabel", np.where(chosen, "remove", "keep"))
    frame = frame.sort_values("suspicion", ascending=False, kind="stable", na_position="last")
    frame.insert(1, "rank", np.arange(1, len(frame) + 1))
    result = xr.Dataset.from_dataframe(frame.sort_index())
    result["action"] = result["action"].astype(object)
    named = int(chosen.sum())
    frame.attrs["may_be_right"] = named if share is not None else _may_be_right(named, len(frame))
    result.attrs = {
        "settings": json.dumps({"share": share, "weights": {k: weights[k] for k in signals}}),
        **frame.attrs,
    }
    run.add("analyses/mislabeled", result, overwrite=True)
    return frame


def _may_be_right(named: int, n: int) -> int:
    """How many of those named can have a right label, by the largest share that was measured."""
    # of n - wrong right labels, at most RIGHT_NAMED are named, and the wrong ones are among them
    return min(named, int(RIGHT_NAMED * n))


def _labels(run, ids: np.ndarray) -> np.ndarray | None:
    if "train_examples" not in run or "label" not in run["train_examples"]:
        return None
    return run["train_examples"]["label"].sel(train=ids).values


def _signals(run, dynamics: xr.Dataset, labels) -> dict[str, np.ndarray]:
    found = {"mean_loss": mean_over_time(dynamics["loss"].values)}
    if "margin" in dynamics:
        found["area_under_margin"] = -area_under_margin(dynamics["margin"].values)
    ids = dynamics["train"].values
    for layer in recorded_layers(run)[:1] if labels is not None else []:
        found |= _in_features(run[f"features/{layer}"], ids, labels, found["mean_loss"])
    for group in run.groups():
        if group.startswith("self_influence/"):
            scores = run[group]["score"].reindex(train=ids).transpose("epoch", "train")
            found["self_influence"] = mean_over_time(scores.values)
            break
    return found


def _judged(name: str, values: np.ndarray, labels) -> np.ndarray:
    """A signal as it is compared: within the class, where a late class would be high as a whole."""
    of_history = ("mean_loss", "area_under_margin", "self_influence")
    return beyond_class(values, labels) if name in of_history else values


def _in_features(features: xr.Dataset, ids, labels, loss) -> dict[str, np.ndarray]:
    """What a layer says of its examples, averaged over epochs; NaN for those it does not have."""
    here = (features["split"] == "train").values
    known = features["id"].values[here]
    at = pd.Index(ids).get_indexer(known)
    if (at < 0).any() or len(known) < 3:
        return {}
    # a few epochs say as much as all
    n = features.sizes["epoch"]
    chosen = sorted(set(np.linspace(0, n - 1, min(n, 8)).round().astype(int).tolist()))
    rows = features["activation"].isel(epoch=chosen).values[:, here]
    rows = [row.reshape(len(row), -1) for row in rows if np.isfinite(row).all()]
    if not rows:
        return {}
    mine = labels[at]
    trusted = np.ones(len(mine), bool)
    for label in np.unique(mine):
        inside = mine == label
        trusted[inside] = rank_share(loss[at][inside]) < 1 - _DISTRUSTED
    by_epoch = {
        "left_out_margin": [-left_out_margin(row, mine) for row in rows],
        "neighbour_disagreement": [
            neighbour_disagreement(row, mine, trusted=trusted) for row in rows
        ],
    }
    found = {}
    for name, values in by_epoch.items():
        found[name] = np.full(len(ids), np.nan)
        found[name][at] = np.mean(values, axis=0)
    return found


def _said_instead(dynamics: xr.Dataset, labels) -> dict[str, np.ndarray]:
    """The wrong prediction an example got most often, and its share of the epochs."""
    if "prediction" not in dynamics:  # answers are more than one class
        n = dynamics.sizes["train"]
        return {"suggested_label": np.full(n, -1), "support": np.zeros(n)}
    said, seen = dynamics["prediction"].values, seen_at(dynamics).values
    n_seen = seen.sum(axis=0)
    wrong = seen if labels is None else seen & (said != labels[None])
    suggested = np.full(said.shape[1], -1)
    support = np.zeros(said.shape[1])
    for label in np.unique(said[wrong]):
        share = (wrong & (said == label)).sum(axis=0) / np.maximum(n_seen, 1)
        better = share > support
        suggested[better], support[better] = label, share[better]
    return {"suggested_label": suggested, "support": support}


def _chosen(frame: pd.DataFrame, share: float) -> np.ndarray:
    """The most suspect share of the examples that were seen."""
    number = isinstance(share, (int, float, np.number))
    if not number or not 0 <= share <= 1:
        raise SettingError(f"share is between 0 and 1, not {share!r}.")
    ranks = pd.Series(frame["suspicion"]).rank(ascending=False, method="first")
    return np.asarray(ranks <= round(share * frame["suspicion"].notna().sum()))


def _found(loss: np.ndarray, signals: dict, dynamics: xr.Dataset, labels) -> np.ndarray:
    """Which were wrong while their class was right, far above it in loss, and not vouched for."""
    seen, correct = seen_at(dynamics).values, dynamics["correct"].values
    wrong = np.zeros(correct.shape[1])
    for label in [None] if labels is None else np.unique(labels):
        mine = np.ones(len(wrong), bool) if label is None else labels == label
        there, right = seen[:, mine], correct[:, mine]
        accuracy = (right & there).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
        at = (accuracy >= 0.5) & (accuracy < 0.97)
        missed = (there & ~right)[at].sum(axis=0) / np.maximum(there[at].sum(axis=0), 1)
        wrong[mine] = missed if at.any() else 0.0
    chosen = (wrong >= 0.5) & (spreads_beyond_class(loss, labels) > _FAR)
    for name in ("out_of_fold_margin", "left_out_margin"):
        if name in signals:
            # an example that it says nothing of has nothing to vouch for it
            chosen &= ~(signals[name] <= 0)
    return chosen


def _accuracy(dynamics: xr.Dataset) -> np.ndarray:
    seen = seen_at(dynamics).values
    right = (dynamics["correct"].values & seen).sum(axis=1)
    return right / np.maximum(seen.sum(axis=1), 1)


def _telling(dynamics: xr.Dataset) -> np.ndarray:
    """Epochs at which most examples were right and not yet all: later wrong labels are memorized
    too."""
    accuracy = _accuracy(dynamics)
    return (accuracy >= 0.5) & (accuracy < 0.97)


def _why_none(dynamics: xr.Dataset) -> str:
    accuracy = _accuracy(dynamics)
    if len(accuracy) and accuracy.max() < 0.5:
        why = f"Train accuracy never reaches 50 % (at most {accuracy.max():.0%})"
    else:
        why = "At no recorded epoch is train accuracy between 50 and 97 %"
    return (
        f"{why}, so no label is named as wrong: the order holds, but not where to cut it. Pass "
        f"share=, the share of labels that you take for wrong, or record more epochs."
    )
