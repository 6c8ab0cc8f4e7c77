"""TRAK over the epochs of delayed generalization, checkpoint by checkpoint, kept in a run."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr

from ...arguments import checked
from ...data.served import Served
from ...errors import MissingGroupError, SettingError
from ...run import Run
from ...schema import SIGN
from ...tasks.parts import labels_of
from ..attributor.gradient_reader import weights_digest
from ..methods.trak import TRAKAttributor
from .score_changes import attribution_evolution, phase_transition_examples

SPLITS = ("train", "test")


class DelayedGeneralizationTRAK(TRAKAttributor):
    """A `TRAKAttributor` that remembers: scores of every epoch it is shown, in a `Run`.

    Load a checkpoint into the model, call `compute_epoch_features` for "train" and for "test",
    and the epoch's scores are in `run["scores/trak"]`. Examples are called by their ids: those
    of `with_ids`, else positions in the dataset.

    Parameters
    ----------
    model, **settings
        As for `TRAKAttributor`; `proj_dim` None means exact scores.
    run : Run, optional
        Where scores go; in memory unless given.
    name : str
        Of the group `scores/<name>`.
    """

    @checked
    def __init__(self, model, *, run: Run | None = None, name: str = "trak", **settings):
        if settings.get("checkpoints") is not None:
            raise SettingError(
                "DelayedGeneralizationTRAK takes one checkpoint an epoch: load it into the model "
                "and call compute_epoch_features. Leave checkpoints= out."
            )
        super().__init__(model, **settings)
        self.run = Run.create(name="Delayed generalization") if run is None else run
        self.name = name
        self._half: dict[tuple[int, str], tuple] = {}  # an epoch of which one split is there

    @property
    def group(self) -> str:
        return f"scores/{self.name}"

    def compute_epoch_features(self, dataloader, epoch: int, split: str = "train"):
        """Features of a split with the model as it is now; with both splits, the scores.

        Returns
        -------
        The features, as `compute_train_features` gives them.

        Raises
        ------
        SettingError
            The split has another name, or the epoch has scores of other weights.
        """
        if split not in SPLITS:
            raise SettingError(f"split is 'train' or 'test', not {split!r}.")
        epoch = int(epoch)
        digest = weights_digest(self.model)
        served = self.served(dataloader)
        features = self.compute_features(served)
        self._note_examples(served, split)
        self._half[epoch, split] = (features, served.ids, digest)
        if all((epoch, s) in self._half for s in SPLITS):
            self._score(epoch)
        return features

    def analyze_attribution_evolution(
        self, test_idx: int, epochs=None, top_k: int = 20, *, weighted: bool = False
    ) -> xr.Dataset:
        """A test example's scores over epochs; see `score_changes.attribution_evolution`."""
        self._check(epochs)
        return attribution_evolution(
            self.run, test_idx, epochs=epochs, top_k=top_k, name=self.name, weighted=weighted
        )

    def find_phase_transition_examples(
        self,
        pre_transition_epoch: int,
        post_transition_epoch: int,
        top_k: int = 50,
        *,
        test=None,
        weighted: bool = False,
    ) -> dict:
        """Examples that gained or lost influence; see `score_changes.phase_transition_examples`."""
        self._check([pre_transition_epoch, post_transition_epoch])
        return phase_transition_examples(
            self.run,
            pre_transition_epoch,
            post_transition_epoch,
            top_k=top_k,
            test=test,
            name=self.name,
            weighted=weighted,
        )

    def save(self, path) -> None:
        """Write the record to a folder."""
        self.run.copy_to(path)

    @classmethod
    def load(cls, path, model, **settings) -> DelayedGeneralizationTRAK:
        """Go on with a saved record."""
        return cls(model, run=Run.open(path), **settings)

    # ---------------------------------------------------------------- inside

    def _score(self, epoch: int) -> None:
        (train, train_ids, digest), (test, test_ids, other) = (
            self._half.pop((epoch, split)) for split in SPLITS
        )
        if digest != other:
            raise SettingError(
                f"The model changed between the train and the test features of {epoch}. Compute "
                f"both while it holds the same checkpoint."
            )
        scores = self.compute_attributions(train, test)
        row = xr.Dataset(
            {
                "score": (
                    ("epoch", "test", "train"),
                    scores.numpy()[None].astype(np.float32),
                    {"unit": self.unit},
                ),
                "weight": (("epoch", "train"), self.example_weight(train).numpy()[None]),
                "damping": ("epoch", self.damping_used),
                "weights_digest": ("epoch", [int(digest, 16)]),
            },
            {"epoch": [epoch], "test": test_ids, "train": train_ids},
            {
                "method": self.method,
                "settings": json.dumps(self.settings(), sort_keys=True),
                "sign": SIGN,
                "output": self.task.name,
            },
        )
        if self.group not in self.run:
            self.run.append(self.group, row)
            return
        there = self.run[self.group]
        self._check_same(there, row, epoch)
        if epoch in there["epoch"].values:
            return
        if epoch > there["epoch"].values[-1]:
            self.run.append(self.group, row)
            return
        joined = xr.concat([there.load(), row], "epoch", join="exact", combine_attrs="override")
        self.run.add(self.group, joined.sortby("epoch"), overwrite=True)

    def _check_same(self, there: xr.Dataset, row: xr.Dataset, epoch: int) -> None:
        if there.attrs.get("settings") != row.attrs["settings"]:
            raise SettingError(
                f"{self.group!r} of this run was made with other settings "
                f"({there.attrs.get('settings')}). Pass name= to keep both."
            )
        for dim in SPLITS:
            if not np.array_equal(there[dim].values, row[dim].values):
                raise SettingError(
                    f"The {dim} examples at {epoch} are not those of the epochs before: "
                    f"{row.sizes[dim]} of them against {there.sizes[dim]}, or other ids."
                )
        if epoch in there["epoch"].values and "weights_digest" in there:
            before = int(there["weights_digest"].sel(epoch=epoch))
            if before != int(row["weights_digest"][0]):
                raise SettingError(
                    f"{self.run.time_unit} {epoch} of {self.group!r} holds scores of other "
                    f"weights. Did the model's checkpoint change? Pass another epoch or name=."
                )

    def _check(self, epochs) -> None:
        """Say which features an epoch lacks, rather than that it has no scores."""
        done = self.run.epochs(self.group).tolist() if self.group in self.run else []
        for epoch in [] if epochs is None else epochs:
            if epoch in done:
                continue
            have = [split for split in SPLITS if (int(epoch), split) in self._half]
            need = " and ".join(split for split in SPLITS if split not in have)
            raise MissingGroupError(
                f"No scores at {epoch}: its {need} features are missing (scores are at "
                f"{', '.join(map(str, done)) or 'no epoch yet'}). Load that checkpoint and call "
                f"compute_epoch_features(loader, {epoch}, split)."
            )

    def _note_examples(self, served: Served, split: str) -> None:
        """Labels of the examples, for whoever reads the run."""
        group = f"{split}_examples"
        if group in self.run:
            return
        labels, ids = [], []
        for batch in served:
            target = labels_of(batch)
            if target is None or target.ndim != 1:
                return
            labels.append(np.asarray(target.cpu()))
            ids.append(batch.ids)
        ids, labels = np.concatenate(ids), np.concatenate(labels)
        order = np.argsort(ids, kind="stable")
        table = xr.Dataset({"label": (split, labels[order])}, {split: ids[order]})
        self.run.add(group, table)
