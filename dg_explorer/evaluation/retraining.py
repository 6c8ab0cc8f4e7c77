"""Train again without some examples: many models at once, and resumable."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from ..arguments import checked
from ..errors import DGExplorerError, SettingError
from ..training.many import outputs_of, train_many
from ..training.step.generic import OptimizerStep
from ..training.training import Training, shuffled_batches
from .settings import check_retraining


class ResumeMismatchError(DGExplorerError, ValueError):
    """Finished models were found that belong to another training or other subsets."""


@checked
def random_subsets(
    n_subsets: int, train: np.ndarray, *, keep: float = 0.5, seed: int = 0
) -> xr.DataArray:
    """Random subsets of one size, as a bool array over (subset, train); True is kept."""
    train = np.asarray(train)
    if train.ndim != 1 or not len(train):
        raise SettingError("train holds the ids of the training examples, as np.arange(n_train).")
    n_keep = round(keep * len(train))
    rng = np.random.default_rng(seed)
    mask = np.zeros((n_subsets, len(train)), bool)
    for row in mask:
        row[rng.choice(len(train), n_keep, replace=False)] = True
    return xr.DataArray(
        mask,
        dims=("subset", "train"),
        coords={"subset": np.arange(n_subsets), "train": train},
        attrs={"keep": keep, "seed": seed},
    )


@checked
def subset_retraining(
    training: Training | Callable[[np.ndarray, int], np.ndarray],
    masks: xr.DataArray,
    *,
    seeds: tuple[int, ...] | None = None,
    order: str = "recorded",
    models_at_once: int = 64,
    path: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Retrain on every subset and take the output of every test example.

    Parameters
    ----------
    training : Training or callable ``(kept, seed) -> outputs``
        A callable trains one model on the kept examples (bool array, shape (train,)) in any
        way it likes and returns outputs of shape (test,) or (epoch, test).
    masks : bool array, dims (subset, train)
        True where the example is kept; `random_subsets` makes them.
    seeds : ints, optional
        Each subset is trained once for each; outputs are their mean. Default: the seed of the
        training itself, so that every model starts where the full run did.
    order : "recorded" or "fresh"
        "recorded": every model sees the batches of the full run, without its missing examples
        (this is what a derivative with respect to an example's weight predicts). "fresh":
        every model shuffles its own subset, as someone training on the subset would.
    models_at_once : int
        Models under one `vmap`; memory grows with it.
    path : folder, optional
        Where finished models are kept. Calling again with the same folder resumes.

    Returns
    -------
    Dataset
        ``mask`` (subset, train) and ``output`` (subset, epoch, test); a callable that returns
        (test,) gives ``output`` (subset, test).

    Raises
    ------
    ResumeMismatchError
        If `path` holds models of other subsets, seeds or settings.

    References
    ----------
    Ilyas et al. (2022), "Datamodels", ICML.
    """
    check_retraining("subset_retraining", training, masks)
    if order not in ("recorded", "fresh"):
        raise SettingError(f"order is 'recorded' or 'fresh', not {order!r}.")
    if seeds is None:
        seeds = (training.seed,) if isinstance(training, Training) else (0,)
    if isinstance(seeds, str) or not len(seeds):
        raise SettingError(f"seeds={seeds!r}: at least one seed, such as seeds=(0,).")
    masks = masks.transpose("subset", "train")
    kept = masks.values.astype(bool)
    if not kept.any(axis=1).all():
        raise SettingError("A subset keeps no example at all.")
    jobs = [(subset, seed) for seed in seeds for subset in range(len(kept))]
    # A batch has one size for all models, so those of equal subsets are trained together.
    jobs.sort(key=lambda job: (kept[job[0]].sum(), job[1], job[0]))
    store = _Store(path, _digest(training, kept, seeds, order))
    total, done = len(jobs), 0
    by_job: dict[tuple[int, int], np.ndarray] = {}
    for chunk in _chunks(
        jobs, kept, models_at_once if isinstance(training, Training) else 1, order
    ):
        outputs = store.read(chunk)
        if outputs is None:
            outputs = _train_chunk(training, kept, chunk, order)
            store.write(chunk, outputs)
        by_job.update(zip(chunk, outputs, strict=True))
        done += len(chunk)
        if progress:
            progress(done, total)
    mean = np.stack(
        [np.mean([by_job[subset, seed] for seed in seeds], axis=0) for subset in range(len(kept))]
    )
    return _labelled(training, masks, mean, seeds, order)


def _train_chunk(training, kept, chunk, order) -> np.ndarray:
    if not isinstance(training, Training):
        return np.stack([np.asarray(training(kept[subset], seed)) for subset, seed in chunk])
    starts = {seed: training.start(seed).theta for _, seed in chunk}
    outputs: list[torch.Tensor] = []
    train_many(
        training,
        torch.as_tensor(kept[[subset for subset, _ in chunk]]).to(training.inputs.dtype)
        if training.inputs.is_floating_point()
        else torch.as_tensor(kept[[subset for subset, _ in chunk]]).float(),
        torch.stack([starts[seed] for _, seed in chunk]),
        batches=_own_batches(training, kept, chunk) if order == "fresh" else None,
        n_nominal=int(kept[chunk[0][0]].sum()) if order == "fresh" else None,
        on_epoch=lambda _, theta: outputs.append(outputs_of(training, theta)),
    )
    return torch.stack(outputs, 1).float().numpy()


def _own_batches(training: Training, kept: np.ndarray, chunk):
    """Batches drawn from each model's subset; the last one is dropped if it is not full."""
    if training.batch_size is None:
        return None
    members = np.stack([np.flatnonzero(kept[subset]) for subset, _ in chunk])
    size = min(training.batch_size, members.shape[1])
    n_steps = members.shape[1] // size

    def batches(epoch: int) -> torch.Tensor:
        rows = []
        for (subset, seed), row in zip(chunk, members, strict=True):
            drawn = shuffled_batches(len(row), size, 1_000_003 * (subset + 1) + seed, epoch)
            rows.append(np.stack([row[batch] for batch in drawn[:n_steps]]))
        return torch.as_tensor(np.stack(rows))

    return batches


def _chunks(jobs, kept, at_once, order):
    """Jobs in groups of equal subset size where the models draw their own batches."""
    start = 0
    while start < len(jobs):
        stop = min(start + at_once, len(jobs))
        if order == "fresh":
            size = kept[jobs[start][0]].sum()
            while kept[jobs[stop - 1][0]].sum() != size:
                stop -= 1
        yield jobs[start:stop]
        start = stop


def _labelled(training, masks, mean, seeds, order) -> xr.Dataset:
    dims = ("subset", "test") if mean.ndim == 2 else ("subset", "epoch", "test")
    coords = {"subset": np.arange(len(mean)), "train": masks["train"]}
    coords["test"] = np.arange(mean.shape[-1])
    if isinstance(training, Training):
        coords["test"] = training.test_ids
        coords["train"] = ("train", training.train_ids)
    if mean.ndim == 3:
        coords["epoch"] = (
            training.recorded_epochs()
            if isinstance(training, Training)
            else np.arange(mean.shape[1])
        )
    return xr.Dataset(
        {"mask": (("subset", "train"), masks.values.astype(bool)), "output": (dims, mean)},
        coords=coords,
        attrs={"seeds": list(seeds), "order": order},
    )


class _Store:
    """Finished chunks as files in a folder; none if the folder is None."""

    def __init__(self, path, digest: str):
        self.path = None if path is None else Path(path)
        if self.path is None:
            return
        self.path.mkdir(parents=True, exist_ok=True)
        note = self.path / "digest.txt"
        if note.exists() and note.read_text() != digest:
            raise ResumeMismatchError(
                f"{self.path} holds models of another training, other subsets or other seeds. "
                "Give an empty folder, or delete this one."
            )
        note.write_text(digest)

    @staticmethod
    def _file(path: Path, chunk) -> Path:
        name = hashlib.sha256(repr(chunk).encode()).hexdigest()[:24]
        return path / f"{name}.npy"

    def read(self, chunk) -> np.ndarray | None:
        if self.path is None or not self._file(self.path, chunk).exists():
            return None
        return np.load(self._file(self.path, chunk), allow_pickle=False)

    def write(self, chunk, outputs: np.ndarray) -> None:
        if self.path is None:
            return
        # Written beside and renamed, so that a killed process leaves no half file to resume from.
        partial = self._file(self.path, chunk).with_suffix(".partial")
        with open(partial, "wb") as file:
            np.save(file, outputs)
        os.replace(partial, self._file(self.path, chunk))


def _digest(training, kept, seeds, order) -> str:
    parts = hashlib.sha256(np.packbits(kept).tobytes())
    parts.update(repr((kept.shape, tuple(seeds), order)).encode())
    if isinstance(training, Training):
        n_steps = max(1, training.n_epochs)
        optimizer = training.optimizer
        parts.update(training.start().theta.detach().numpy().tobytes())
        parts.update(training.inputs.numpy().tobytes())
        parts.update(training.labels.numpy().tobytes())
        parts.update(training.test_inputs.numpy().tobytes())
        if isinstance(optimizer, OptimizerStep):
            known = optimizer.description()
        else:
            known = {k: v for k, v in vars(optimizer).items() if k != "lr"}
        rates = [optimizer.lr_at(step, n_steps) for step in range(n_steps)]
        parts.update(repr((known, rates, training.n_epochs, training.batch_size)).encode())
        parts.update(repr(list(training.record_at)).encode())
    return parts.hexdigest()
