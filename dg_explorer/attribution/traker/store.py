"""What `TRAKer` keeps on disk: NumPy arrays and JSON, laid out as the TRAK library does.

::

    save_dir/
      metadata.json              what the features are: projection, seed, layers, output
      id_0.json                  a model id: digest of its weights, how far it is
      0/grads.mmap               projected gradients of the training examples
      0/out_to_loss.mmap         1 - p of the training examples
      0/features.mmap            grads (grads' grads + lambda)^-1
      0/_is_featurized.mmap      which examples are done
      0/<exp>_grads.mmap         projected gradients of the targets of an experiment
      0/_<exp>_is_scored.mmap
      experiments/<exp>.json
      scores/<exp>.mmap          shape (train, target)
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from ...errors import DGExplorerError, SettingError
from ..attributor.features import FeatureMismatchError


class UnfinishedError(DGExplorerError, RuntimeError):
    """Scores were asked for before everything they need was featurized or scored."""


class TRAKerStore:
    """The folder of one `TRAKer`. Arrays are memory-mapped; every JSON is replaced whole."""

    def __init__(self, save_dir, metadata: dict, *, read_existing: bool, half: bool):
        self.folder = Path(save_dir).expanduser().resolve()
        self.n_train, self.width = metadata["train set size"], metadata["JL dimension"]
        self.dtype = np.float16 if half else np.float32
        self.models: dict[int, dict] = {}
        (self.folder / "scores").mkdir(parents=True, exist_ok=True)
        (self.folder / "experiments").mkdir(exist_ok=True)
        there = self._read("metadata.json")
        if there is None:
            self._write("metadata.json", metadata)
        else:
            self._refuse_others(there, metadata)
        if read_existing:
            for path in self.folder.glob("id_*.json"):
                self.models[int(path.stem[3:])] = json.loads(path.read_text())
        self.models = dict(sorted(self.models.items()))

    def _refuse_others(self, there: dict, metadata: dict) -> None:
        differs = [k for k in metadata if there.get(k) != metadata[k]]
        if differs:
            told = "; ".join(f"{k}: {there.get(k)!r} there, {metadata[k]!r} here" for k in differs)
            raise FeatureMismatchError(
                f"{self.folder} holds features that do not fit this TRAKer. {told}. "
                f"Use the same settings, or another save_dir."
            )

    # ------------------------------------------------------------------ model ids

    def open_model(self, model_id: int, digest: str) -> None:
        """Begin or resume a model id; one id stands for one set of weights."""
        known = self.models.get(model_id) or self._read(f"id_{model_id}.json")
        if known is None:
            known = {"digest": digest, "is_featurized": 0, "is_finalized": 0}
            (self.folder / str(model_id)).mkdir(exist_ok=True)
            shapes = {"grads": self.width, "out_to_loss": 1, "features": self.width}
            for name, width in shapes.items():
                self._create(model_id, name, (self.n_train, width))
            self._create(model_id, "_is_featurized", (self.n_train, 1), np.int32)
            self.models[model_id] = known
            self.note(model_id)
        if known["digest"] != digest:
            raise FeatureMismatchError(
                f"Model id {model_id} in {self.folder} stands for other weights "
                f"({known['digest']}) than this checkpoint ({digest}). Give each checkpoint a "
                f"model id of its own."
            )
        self.models[model_id] = known

    def note(self, model_id: int, **changes) -> None:
        """Change what is known about a model id, on disk too."""
        self.models[model_id] |= changes
        self._write(f"id_{model_id}.json", self.models[model_id])

    def array(self, model_id: int, name: str) -> np.memmap:
        """A memory-mapped array of a model id, to read and write."""
        return open_memmap(self.folder / str(model_id) / f"{name}.mmap", mode="r+")

    def missing(self, model_id: int, flags: str) -> np.ndarray:
        """Positions of the examples that are not done yet, int64."""
        return np.flatnonzero(self.array(model_id, flags)[:, 0] == 0)

    # ------------------------------------------------------------------ experiments

    @property
    def experiments(self) -> dict[str, dict]:
        found = sorted((self.folder / "experiments").glob("*.json"))
        return {path.stem: json.loads(path.read_text()) for path in found}

    def open_experiment(self, name: str, model_id: int, num_targets: int) -> None:
        """Begin or resume the scoring of an experiment's targets by a model id."""
        if not name or Path(name).name != name:
            raise SettingError(f"{name!r} is no name for an experiment: it names a file.")
        known = self.experiments.get(name)
        if known is not None and known["num_targets"] != num_targets:
            raise FeatureMismatchError(
                f"The experiment {name!r} has {known['num_targets']} targets, not {num_targets}. "
                f"Choose another exp_name."
            )
        if known is None:
            path = str(self.folder / "scores" / f"{name}.mmap")
            known = {"num_targets": num_targets, "scores_path": path, "scores_finalized": 0}
            self._write(f"experiments/{name}.json", known)
        if not (self.folder / str(model_id) / f"_{name}_is_scored.mmap").exists():
            self._create(model_id, f"{name}_grads", (num_targets, self.width))
            self._create(model_id, f"_{name}_is_scored", (num_targets, 1), np.int32)

    def has_targets(self, name: str, model_id: int) -> bool:
        return (self.folder / str(model_id) / f"_{name}_is_scored.mmap").exists()

    def new_scores(self, name: str) -> np.memmap:
        """An empty score array, float32, shape (train, target), written aside."""
        shape = (self.n_train, self.experiments[name]["num_targets"])
        path = self.folder / "scores" / f"{name}.mmap.part"
        return open_memmap(path, mode="w+", shape=shape, dtype=np.float32)

    def finish_scores(self, name: str) -> np.ndarray:
        """Put the score array in place and return it."""
        path = self.folder / "scores" / f"{name}.mmap"
        os.replace(f"{path}.part", path)
        self._write(f"experiments/{name}.json", self.experiments[name] | {"scores_finalized": 1})
        return open_memmap(path, mode="r+")

    # ------------------------------------------------------------------ inside

    def _create(self, model_id, name, shape, dtype=None) -> None:
        dtype = dtype or (np.float64 if name == "out_to_loss" else self.dtype)
        dtype = np.float32 if name == "features" else dtype  # of any scale: half would overflow
        path = self.folder / str(model_id) / f"{name}.mmap"
        open_memmap(path, mode="w+", shape=shape, dtype=dtype).flush()

    def _read(self, name: str):
        path = self.folder / name
        return json.loads(path.read_text()) if path.exists() else None

    def _write(self, name: str, content: dict) -> None:
        path = self.folder / name
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        part.write_text(json.dumps(content, indent=1))
        os.replace(part, path)
