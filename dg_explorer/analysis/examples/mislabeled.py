"""Find training examples whose label is probably wrong."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pandas as pd
import xarray as xr

from ...errors import MissingGroupError, SettingError
from ...maths.margin_area import area_under_margin
from ...maths.mislabels import combine_signals, mean_over_time, neighbour_disagreement, rank_share
from ...record.run import as_run
from ..features.layers import recorded_layers
from ..sources.curves import seen_at

# how much each signal's rank counts
WEIGHTS = {
    "mean_loss": 1.0,
    "neighbour_disagreement": 1.5,
    "area_under_margin": 0.25,
    "self_influence": 0.25,
}
# share of the examples, by mean loss, that are not asked about their neighbours' labels
_DISTRUSTED = 0.1


def find_mislabeled(run, *, share: float | None = None, weights: dict | None = None):
    """Rank training examples by how likely their label is wrong, from all a run knows of them.

    Signals, each used where the run has it: mean loss over time, negative area under the
    margin, disagreement with the labels of trusted neighbours in a recorded layer, mean
    self-influence. Their ranks are averaged with the weights of `WEIGHTS`.

    Parameters
    ----------
    run : Run
        With `dynamics/train`.
    share : float, optional
        Share of the examples to act on. By default those that were wrong at half or more of the
        epochs at which most examples, but not yet all, were right, and whose trusted
        neighbours (where they have recorded features) speak for another label. Where train
        accuracy never reaches one half none is named, with a warning: the ranking holds, but
        right labels that are not learned yet look alike.
    weights : dict, optional
        Weight of each signal; those not named weigh nothing.

    Returns
    -------
    DataFrame, index `train`, most suspect first
        suspicion (0 to 1; NaN, and last, for an example that was never seen), rank, label,
        suggested_label (what the model said most often instead, while it was right on most),
        support (the share of those epochs), action ("relabel" where it kept saying the same,
        "remove", or "keep"), and each signal. Also written to `analyses/mislabeled`.

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
    if unknown := sorted(set(weights) - set(WEIGHTS)):
        raise SettingError(f"There is no signal {unknown[0]!r}; there are {', '.join(WEIGHTS)}.")
    dynamics = run["dynamics/train"].load().transpose("epoch", "train")
    ids = dynamics["train"].values
    labels = _labels(run, ids)
    signals = {k: v for k, v in _signals(run, dynamics, labels).items() if weights.get(k)}
    suspicion = combine_signals(signals, weights)
    frame = pd.DataFrame({"suspicion": suspicion, **signals}, index=pd.Index(ids, name="train"))
    if labels is not None:
        frame.insert(1, "label", labels)
    telling = _telling(dynamics)
    if share is None and not telling.any():
        warnings.warn(_why_none(dynamics), stacklevel=2)
    frame = frame.assign(**_said_instead(dynamics.isel(epoch=telling), labels))
    chosen = _acted_on(frame, dynamics.isel(epoch=telling), share)
    relabel = chosen & (frame["support"] >= 0.5) & (frame["suggested_label"] >= 0)
    frame["action"] = np.where(relabel, "relabel", np.where(chosen, "remove", "keep"))
    frame = frame.sort_values("suspicion", ascending=False, kind="stable", na_position="last")
    frame.insert(1, "rank", np.arange(1, len(frame) + 1))
    result = xr.Dataset.from_dataframe(frame.sort_index())
    result["action"] = result["action"].astype(object)
    result.attrs = {
        "settings": json.dumps({"share": share, "weights": {k: weights[k] for k in signals}})
    }
    run.add("analyses/mislabeled", result, overwrite=True)
    return frame


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
        trusted = rank_share(found["mean_loss"]) < 1 - _DISTRUSTED
        near = _neighbours(run[f"features/{layer}"], ids, labels, trusted)
        if near is not None:
            found["neighbour_disagreement"] = near
    for group in run.groups():
        if group.startswith("self_influence/"):
            scores = run[group]["score"].reindex(train=ids).transpose("epoch", "train")
            found["self_influence"] = mean_over_time(scores.values)
            break
    return found


def _neighbours(features: xr.Dataset, ids, labels, trusted) -> np.ndarray | None:
    """Disagreement with neighbours, averaged over epochs; NaN for examples without features."""
    here = (features["split"] == "train").values
    known = features["id"].values[here]
    at = pd.Index(ids).get_indexer(known)
    if (at < 0).any() or len(known) < 3:
        return None
    # a few epochs say as much as all
    n = features.sizes["epoch"]
    chosen = sorted(set(np.linspace(0, n - 1, min(n, 8)).round().astype(int).tolist()))
    rows = features["activation"].isel(epoch=chosen).values[:, here]
    usable = [row for row in rows if np.isfinite(row).all()]
    if not usable:
        return None
    out = np.full(len(ids), np.nan)
    votes = [neighbour_disagreement(row, labels[at], trusted=trusted[at]) for row in usable]
    out[at] = np.mean(votes, axis=0)
    return out


def _said_instead(dynamics: xr.Dataset, labels) -> dict[str, np.ndarray]:
    """The wrong prediction an example got most often, and its share of the epochs."""
    said = dynamics["prediction"].values.copy()
    n_seen = (said >= 0).sum(axis=0)
    if labels is not None:
        said[said == labels[None]] = -1
    suggested = np.full(said.shape[1], -1)
    support = np.zeros(said.shape[1])
    for label in np.unique(said[said >= 0]):
        share = (said == label).sum(axis=0) / np.maximum(n_seen, 1)
        better = share > support
        suggested[better], support[better] = label, share[better]
    return {"suggested_label": suggested, "support": support}


def _acted_on(frame: pd.DataFrame, dynamics: xr.Dataset, share: float | None) -> pd.Series:
    if share is not None:
        if not 0 <= share <= 1:
            raise SettingError(f"share is between 0 and 1, not {share!r}.")
        ranks = frame["suspicion"].rank(ascending=False, method="first")
        return ranks <= round(share * frame["suspicion"].notna().sum())
    seen = seen_at(dynamics).values
    if not len(seen):
        return pd.Series(False, index=frame.index)
    wrong = (seen & ~dynamics["correct"].values).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    chosen = pd.Series(wrong >= 0.5, index=frame.index)
    if "neighbour_disagreement" in frame:
        # an example without features has no neighbours that could speak for it
        disagree = frame["neighbour_disagreement"]
        chosen &= disagree.isna() | (disagree >= 0.5)
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
