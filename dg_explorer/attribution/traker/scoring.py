"""The scoring half of `TRAKer`: gradients of targets, then scores from features on disk."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import torch

from ...errors import NonFiniteError, SettingError
from ...memory import memory_advice
from ..attributor.gradient_reader import weights_digest
from .store import TRAKerStore, UnfinishedError

BLOCK = 8192  # rows of features multiplied at a time


class TRAKerScoring(ABC):
    """Scores of targets from the store of a `TRAKer`, which this is a part of."""

    store: TRAKerStore
    model: torch.nn.Module
    device: torch.device
    save_dir: Path
    logger: logging.Logger
    train_set_size: int

    @abstractmethod
    def _load(self, checkpoint) -> None: ...

    @abstractmethod
    def _positions(self, batch, inds, num_samples, size, setting) -> np.ndarray: ...

    @abstractmethod
    def _take(self, batch, positions: np.ndarray, flags: str, target: str) -> None: ...

    @abstractmethod
    def _known(self, model_ids) -> list[int]: ...

    def start_scoring_checkpoint(
        self, exp_name="scores", checkpoint=None, model_id=None, num_targets=None
    ) -> None:
        """Load weights again and begin or resume the targets of an experiment.

        The experiment's name may be left out: `start_scoring_checkpoint(checkpoint, model_id=0,
        num_targets=10)`.
        """
        if not isinstance(exp_name, str):
            rest = [x for x in (checkpoint, model_id, num_targets) if x is not None]
            exp_name, checkpoint = "scores", exp_name
            model_id, num_targets = (rest + [None, None])[:2]
        if checkpoint is None or model_id is None or num_targets is None:
            raise SettingError("start_scoring_checkpoint needs checkpoint, model_id, num_targets.")
        model_id = int(model_id)
        if model_id not in self.store.models:
            raise UnfinishedError(unknown_ids([model_id], self.store.models))
        if not self.store.models[model_id]["is_finalized"]:
            raise UnfinishedError(
                f"The features of model id {model_id} are not finalized. Call finalize_features()."
            )
        self._load(checkpoint)
        self.store.open_model(model_id, weights_digest(self.model))
        self.store.open_experiment(exp_name, model_id, int(num_targets))
        self.model_id, self.experiment = model_id, exp_name
        self._next = 0

    def score(self, batch, inds=None, num_samples: int | None = None) -> None:
        """Project the gradients of a batch of targets."""
        if self.experiment is None:
            raise UnfinishedError("Call start_scoring_checkpoint before score.")
        name = self.experiment
        size = self.store.experiments[name]["num_targets"]
        positions = self._positions(batch, inds, num_samples, size, "num_targets")
        self._take(batch, positions, f"_{name}_is_scored", f"{name}_grads")

    @memory_advice("Lower proj_dim, or score fewer targets an experiment")
    def finalize_scores(
        self, exp_name: str | None = None, model_ids=None, allow_skip: bool = False
    ) -> np.ndarray:
        """Scores of all targets, float32, shape (train, target), averaged over model ids.

        Raises
        ------
        UnfinishedError
            A model id that counts (by default every one that was featurized) lacks features or
            targets; says what is missing. With `allow_skip` such ids are left out.
        """
        exp_name = self._experiment(exp_name)
        complete, lacking = [], []
        for model_id in self._known(model_ids):
            problem = self._lack(exp_name, model_id)
            (lacking if problem else complete).append(problem or model_id)
        if lacking and not allow_skip:
            raise UnfinishedError(
                f"The experiment {exp_name!r} is not complete. {' '.join(lacking)} Finish them, "
                f"name the model ids to use with model_ids=, or pass allow_skip=True."
            )
        if not complete:
            raise UnfinishedError(f"No model id of {exp_name!r} is complete. {' '.join(lacking)}")
        for problem in lacking:
            self.logger.warning("Skipped: %s", problem)
        scores = self.store.new_scores(exp_name)
        weight = np.mean([self.store.array(m, "out_to_loss")[:, 0] for m in complete], axis=0)
        targets = [self._rows(m, f"{exp_name}_grads", slice(None)) for m in complete]
        for start in range(0, self.train_set_size, BLOCK):
            rows = slice(start, start + BLOCK)
            first, *more = (
                self._rows(m, "features", rows) @ target.T
                for m, target in zip(complete, targets, strict=True)
            )
            total = sum(more, first)
            total *= torch.from_numpy(weight[rows, None] / len(complete)).to(total.device)
            scores[rows] = total.cpu().numpy()
        if not np.isfinite(scores).all():
            raise NonFiniteError("The scores are not finite; choose a larger lambda_reg.")
        scores.flush()
        self.scores = self.store.finish_scores(exp_name)
        return self.scores

    def _rows(self, model_id, name, rows) -> torch.Tensor:
        array = np.array(self.store.array(model_id, name)[rows])
        return torch.from_numpy(array).to(self.device).float()

    def _experiment(self, name: str | None) -> str:
        there = self.store.experiments
        if name is None:
            name = self.experiment or (next(iter(there)) if len(there) == 1 else None)
        if name is None or name not in there:
            raise UnfinishedError(
                f"No experiment {name!r} in {self.save_dir}; there are {', '.join(there) or 'none'}"
                f". Begin one with start_scoring_checkpoint(exp_name, ...)."
            )
        return name

    def _lack(self, name: str, model_id: int) -> str | None:
        """What a model id still needs before it can count in an experiment."""
        if not self.store.models[model_id]["is_finalized"]:
            return f"Model id {model_id}: features are not finalized."
        size = self.store.experiments[name]["num_targets"]
        if not self.store.has_targets(name, model_id):
            return f"Model id {model_id}: none of {size} targets scored."
        missing = self.store.missing(model_id, f"_{name}_is_scored")
        if len(missing):
            return (
                f"Model id {model_id}: {len(missing)} of {size} targets not scored, the first "
                f"at position {missing[0]}."
            )
        return None


def unknown_ids(strangers, known) -> str:
    """What to say of model ids that were never featurized."""
    there = ", ".join(map(str, known)) or "none"
    asked = f"Model ids {', '.join(map(str, strangers))} were" if strangers else "No model id was"
    return f"{asked} never featurized; there are {there}. Call load_checkpoint and featurize."
