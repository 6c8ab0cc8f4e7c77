"""A small synthetic run that tests and documentation share; nothing in it was trained."""

from __future__ import annotations

import numpy as np
import xarray as xr

from .run import Run
from .schema import SIGN


def tiny_run(
    seed: int = 0,
    path=None,
    *,
    n_train: int = 40,
    n_test: int = 20,
    n_classes: int = 4,
    epochs: int = 12,
    every: int = 5,
    score_every: int = 2,
    width: int = 6,
    scores: bool = True,
    thumbnails: bool = False,
) -> Run:
    """A run with the shape of delayed generalization: memorized early, generalized late.

    Its examples have labels, texts, groups and a property `a`; ids begin at 100 (train) and
    1000 (test), so that code that confuses ids with positions fails. Recorded at `epochs` epochs
    `every` apart, with scores at each `score_every`-th of them; one layer `hidden` of `width`
    units. Everything is drawn from `seed`.
    """
    rng = np.random.default_rng(seed)
    splits = {"train": 100 + np.arange(n_train), "test": 1000 + np.arange(n_test)}
    labels = {split: np.arange(len(ids)) % n_classes for split, ids in splits.items()}
    tables = {}
    for split, ids in splits.items():
        columns = {
            "label": (split, labels[split]),
            "text": (split, np.array([f"{split} example {i}" for i in ids], dtype=object)),
            "group": (split, rng.integers(0, 2, len(ids))),
            "a": (split, rng.integers(0, 31, len(ids))),
        }
        if thumbnails:
            dims = (split, "height", "width", "channel")
            columns["thumbnail"] = (dims, rng.integers(0, 255, (len(ids), 8, 8, 1), np.uint8))
        tables[split] = xr.Dataset(columns, {split: ids})
    run = Run.create(
        path,
        name="Tiny synthetic run",
        train_examples=tables["train"],
        test_examples=tables["test"],
        config={"synthetic": True, "classes": n_classes},
        seed=seed,
    )
    time = np.arange(epochs, dtype=np.int64) * every
    rise = {
        "train": _sigmoid((time - time[-1] * 0.15) / (every * 0.8)),
        "test": _sigmoid((time - time[-1] * 0.6) / (every * 0.8)),
    }
    metrics = {"learning_rate": ("epoch", np.full(epochs, 0.01))}
    for split, ids in splits.items():
        # each example crosses zero margin at a moment of its own around the split's transition
        ease = rng.normal(0, 1.5, len(ids))
        margin = 8 * (rise[split][:, None] - 0.5) + ease + rng.normal(0, 0.3, (epochs, len(ids)))
        confidence = _sigmoid(margin)
        wrong = (labels[split] + 1 + rng.integers(0, n_classes - 1, len(ids))) % n_classes
        data = {
            "loss": -np.log(confidence).astype(np.float32),
            "confidence": confidence.astype(np.float32),
            "margin": margin.astype(np.float32),
            "prediction": np.where(margin > 0, labels[split], wrong).astype(np.int32),
            "correct": margin > 0,
        }
        dims = ("epoch", split)
        run.add(
            f"dynamics/{split}",
            xr.Dataset({k: (dims, v) for k, v in data.items()}, {"epoch": time, split: ids}),
        )
        metrics[f"{split}_loss"] = ("epoch", data["loss"].mean(1))
        metrics[f"{split}_accuracy"] = ("epoch", data["correct"].mean(1))
    run.add("metrics", xr.Dataset(metrics, {"epoch": time}))
    _add_features(run, rng, time, splits, labels, n_classes, width, rise["test"])
    layers = ["hidden", "head"]
    norm = np.exp(-time / time[-1])[:, None] * rng.uniform(0.5, 1.5, (epochs, len(layers)))
    run.add(
        "gradients",
        xr.Dataset(
            {
                "norm": (("epoch", "layer"), norm),
                "update_ratio": (("epoch", "layer"), norm / 100),
                "cosine_to_previous": (("epoch", "layer"), rng.uniform(-1, 1, norm.shape)),
                "dead_units": (("epoch", "layer"), np.zeros(norm.shape)),
            },
            {"epoch": time, "layer": layers},
        ),
    )
    if scores:
        _add_scores(run, rng, time[::score_every], splits, labels)
    return run


def _add_features(run, rng, time, splits, labels, n_classes, width, rise) -> None:
    label = np.concatenate([labels["train"], labels["test"]])
    centre = rng.normal(0, 3, (n_classes, width))[label]
    spread = rng.normal(0, 1, (len(label), width))
    activation = rise[:, None, None] * centre + (1.2 - rise)[:, None, None] * spread
    example = {
        "split": ("example", np.repeat(list(splits), [len(i) for i in splits.values()])),
        "id": ("example", np.concatenate(list(splits.values()))),
    }
    coords = {"epoch": time, **example}
    dims = ("epoch", "example")
    run.add(
        "features/hidden",
        xr.Dataset({"activation": ((*dims, "unit"), activation.astype(np.float32))}, coords),
    )
    run.add(
        "projections/hidden",
        xr.Dataset({"position": ((*dims, "axis"), activation[..., :2].astype(np.float32))}, coords),
    )


def _add_scores(run, rng, time, splits, labels) -> None:
    same = labels["test"][:, None] == labels["train"][None]
    shape = (len(time), *same.shape)
    drift = np.linspace(-0.5, 1, len(time))[:, None, None]
    score = drift * np.where(same, 0.05, -0.01) + rng.normal(0, 0.02, shape)
    run.add(
        "scores/trak",
        xr.Dataset(
            {
                "score": (("epoch", "test", "train"), score.astype(np.float32)),
                "weight": (("epoch", "train"), np.ones(shape[::2], np.float32)),
                "damping": ("epoch", np.ones(len(time))),
            },
            {"epoch": time, "test": splits["test"], "train": splits["train"]},
            {"method": "synthetic", "sign": SIGN, "output": "margin", "settings": "{}"},
        ),
    )


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))
