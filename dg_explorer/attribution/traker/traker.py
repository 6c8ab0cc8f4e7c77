"""TRAK in the streaming interface of the TRAK library: code written for it runs here."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ...arguments import checked
from ...checkpoints.formats import model_checkpoints
from ...checkpoints.loading import copied, load_into
from ...data.batch import Batch, batch_length
from ...errors import DataError, NonFiniteError, SettingError
from ...memory import memory_advice
from ..attributor.gradient_reader import weights_digest
from ..gradients.watching import select_parameters, whatever_the_caller_does
from ..projections.sketches import DEFINITION
from ..solve.ridge import RIDGE_AUTO, ridge_features
from .gradient_computers import as_factors, as_gradients, gradient_computer_for
from .model_outputs import as_model_output
from .projectors import BasicProjector
from .scoring import TRAKerScoring, unknown_ids
from .store import TRAKerStore, UnfinishedError


class TRAKer(TRAKerScoring):
    """TRAK scores of any number of training examples, batch by batch, on disk.

    Scores come as the TRAK library gives them: a NumPy array of shape **(train, target)**, the
    transpose of this package's other scores, positive where training on the example raised the
    output of the target. Interrupted work resumes: examples already done are skipped.
    The order of arguments is the TRAK library's.

    Parameters
    ----------
    model : torch module
        Only read; checkpoints are loaded into a copy.
    task : str, model output, or Task
        "image_classification", "text_classification", "clip", "iterative_image_classification",
        any task of this package by name, or an `AbstractModelOutput` of your own.
    train_set_size : int
    save_dir : folder
    load_from_save_dir : bool
        Whether to look for model ids that other processes left there.
    device : optional
        By default CUDA where there is one.
    gradient_computer : class, optional
    projector : object with `project(grads, model_id)` and `proj_dim`, optional
        Such as `NoOpProjector()`; by default one made from the settings below.
    proj_dim, projector_seed, proj_type
        Of the projection; `proj_type` is "factored", which costs about one more pass, "sparse",
        or the library's dense "rademacher" and "normal".
    use_half_precision : bool
        Keep projected gradients in float16: half the disk, three digits.
    grad_wrt : list of str, optional
        Parameter names; by default every trainable parameter.
    lambda_reg : float, optional
        Added to the diagonal of grads' grads, in the TRAK library's units; chosen from the data
        by default. 0 means the limit of ever smaller ones, which is close to chance where
        `proj_dim` comes near the number of examples.
    saver, score_computer, proj_max_batch_size, logging_level
        Taken for the sake of existing code; the first two must be None.

    References
    ----------
    Park, Georgiev, Ilyas, Leclerc, Madry (2023), "TRAK: Attributing Model Behavior at Scale",
    ICML, eq. 17 and algorithm 1.
    """

    @checked
    def __init__(
        self,
        model: torch.nn.Module,
        task="image_classification",
        train_set_size: int | None = None,
        save_dir="./trak_results",
        load_from_save_dir: bool = True,
        device=None,
        gradient_computer=None,
        projector=None,
        saver=None,
        score_computer=None,
        proj_dim: int = 2048,
        logging_level=logging.INFO,
        use_half_precision: bool = False,
        proj_max_batch_size: int = 32,
        projector_seed: int = 0,
        grad_wrt=None,
        lambda_reg: float | None = None,
        *,
        proj_type: str = "factored",
    ) -> None:
        if isinstance(train_set_size, bool) or not isinstance(train_set_size, int):
            raise SettingError(f"train_set_size is the number of examples, not {train_set_size!r}.")
        if saver is not None or score_computer is not None:
            raise SettingError(
                "saver= and score_computer= cannot be replaced here; leave them out."
            )
        if lambda_reg is not None and not lambda_reg >= 0:
            raise SettingError(f"lambda_reg={lambda_reg!r}: it is 0 or more, or None to choose it.")
        self.logger = logging.getLogger("dg_explorer.traker")
        self.logger.setLevel(logging_level)
        self.device = _device(device)
        self.model = copied(model).to(self.device)
        self.task = as_model_output(task)
        self.train_set_size = train_set_size
        self.lambda_reg = lambda_reg
        self.grad_wrt = None if grad_wrt is None else list(grad_wrt)
        own = dict(self.model.named_parameters())
        self.parameters = select_parameters(self.model, self.grad_wrt)
        self.num_params_for_grad = sum(own[name].numel() for name in self.parameters)
        cheapest, differentiated = gradient_computer_for(self.task)
        computer = gradient_computer or cheapest
        self.gradient_computer = computer(
            model=self.model,
            task=differentiated if computer is cheapest else self.task,
            grad_dim=self.num_params_for_grad,
            dtype=torch.float32,
            device=self.device,
            grad_wrt=self.grad_wrt,
        )
        self.projector = projector or BasicProjector(
            self.num_params_for_grad, proj_dim, projector_seed, proj_type
        )
        self.proj_dim = self.projector.proj_dim or self.num_params_for_grad
        # the TRAK library's units: entries +-1, divided by the root of the number of parameters
        self.scale = self.num_params_for_grad**-0.5
        self.store = TRAKerStore(
            save_dir, self._metadata(), read_existing=load_from_save_dir, half=use_half_precision
        )
        self.save_dir = self.store.folder
        self.model_id = -1  # until a checkpoint is loaded
        self.experiment: str | None = None

    def _metadata(self) -> dict:
        shapes = {name: tuple(p.shape) for name, p in self.model.named_parameters()}
        return {
            "JL dimension": self.proj_dim,
            "JL matrix type": str(getattr(self.projector, "proj_type", "custom")),
            "train set size": self.train_set_size,
            "seed": getattr(self.projector, "seed", None),
            "projector": type(self.projector).__name__,
            "layers": [f"{name} {list(shapes[name])}" for name in self.parameters],
            "output": getattr(self.task, "name", type(self.task).__name__),
        } | self._definition()

    def _definition(self) -> dict:
        """Which numbers a factored sketch gives: those of older versions were others."""
        factored = getattr(self.projector, "proj_type", None) == "factored"
        return {"sketch definition": DEFINITION} if factored else {}

    # ---------------------------------------------------------------- featurizing

    def load_checkpoint(
        self, checkpoint, model_id: int, _allow_featurizing_already_registered: bool = False
    ) -> None:
        """Load weights (a state dict, a model or a path) and begin or resume their features.

        Raises
        ------
        FeatureMismatchError
            The model id stands for other weights already.
        """
        self._load(checkpoint)
        self.store.open_model(int(model_id), weights_digest(self.model))
        self.model_id, self.experiment = int(model_id), None
        self._next = 0

    def featurize(self, batch, inds=None, num_samples: int | None = None) -> None:
        """Project the gradients of a batch of training examples.

        `inds` says where in the training set they are; without it batches follow one another.
        """
        if self.model_id < 0 or self.experiment is not None:
            raise UnfinishedError("Call load_checkpoint(checkpoint, model_id) before featurize.")
        positions = self._positions(batch, inds, num_samples, self.train_set_size, "train_set_size")
        if self.store.models[self.model_id]["is_finalized"]:
            return
        self._take(batch, positions, "_is_featurized", "grads")

    @memory_advice("Lower proj_dim")
    def finalize_features(self, model_ids=None, del_grads: bool = False) -> None:
        """Compute grads (grads' grads + lambda)^-1 of each model id, by default of all.

        Raises
        ------
        UnfinishedError
            A model id is unknown, or lacks examples; says which.
        """
        for model_id in self._known(model_ids):
            missing = self.store.missing(model_id, "_is_featurized")
            if len(missing):
                raise UnfinishedError(
                    f"Model id {model_id} lacks {len(missing)} of {self.train_set_size} training "
                    f"examples, the first at position {missing[0]}. Call load_checkpoint and "
                    f"featurize them."
                )
            wanted = RIDGE_AUTO if self.lambda_reg is None else float(self.lambda_reg)
            known = self.store.models[model_id]
            if known["is_finalized"] and known.get("lambda_asked") == wanted:
                continue
            if not (self.store.folder / str(model_id) / "grads.mmap").exists():
                raise UnfinishedError(
                    f"The gradients of model id {model_id} were deleted (del_grads=True) after "
                    f"its features were made with lambda_reg={known.get('lambda_asked')}. "
                    f"Featurize again into another save_dir to change it."
                )
            grads = self.store.array(model_id, "grads")
            features = self.store.array(model_id, "features")
            doubts = getattr(self.task, "doubts", False)
            weight = self.store.array(model_id, "out_to_loss")[:, 0] if doubts else None
            added = ridge_features(grads, features, self.lambda_reg, self.device, weight=weight)
            features.flush()
            self.store.note(
                model_id, is_featurized=1, is_finalized=1, lambda_asked=wanted, lambda_reg=added
            )
            if del_grads:
                (self.store.folder / str(model_id) / "grads.mmap").unlink()

    # ---------------------------------------------------------------- inside

    def _load(self, checkpoint) -> None:
        if isinstance(checkpoint, torch.nn.Module):
            checkpoint = checkpoint.state_dict()
        if not isinstance(checkpoint, Mapping):
            found = model_checkpoints(checkpoint)
            if len(found) != 1:
                raise DataError(f"{checkpoint} holds {len(found)} checkpoints; name one.")
            checkpoint = next(iter(found.values()))
        load_into(self.model, checkpoint)
        self.model.eval()
        self.gradient_computer.load_model_params(self.model)

    def _positions(self, batch, inds, num_samples, size, setting) -> np.ndarray:
        n = batch_length(batch)
        if inds is not None and num_samples is not None:
            raise SettingError("Give inds or num_samples, not both.")
        if inds is None:
            if num_samples is not None and num_samples != n:
                raise DataError(f"num_samples={num_samples}, but the batch holds {n} examples.")
            positions = np.arange(self._next, self._next + n)
            self._next += n
        else:
            positions = np.asarray(inds).reshape(-1).astype(np.int64)
            if len(positions) != n:
                raise DataError(f"{len(positions)} inds for a batch of {n} examples.")
        if len(positions) and (positions.min() < 0 or positions.max() >= size):
            raise DataError(
                f"Position {max(positions.max(), -positions.min())} is outside {setting}={size}."
            )
        return positions

    @whatever_the_caller_does()
    @memory_advice("Featurize smaller batches, lower proj_dim, or name fewer layers with grad_wrt=")
    def _take(self, batch, positions: np.ndarray, flags: str, target: str) -> None:
        """Project the gradients of the examples of a batch that are not done yet, and write them.

        What this has returned from is on disk: another process may go on from there.
        """
        new = np.unique(positions, return_index=True)[1]
        done = self.store.array(self.model_id, flags)[positions[new], 0] == 1
        new = np.sort(new[~done])
        if len(new) == 0:
            return
        parameter = next(self.model.parameters())
        held = Batch((), {}, None, np.arange(len(positions)), batch)
        batch = held.take(new).to(parameter.device, parameter.dtype).raw
        computer: Any = self.gradient_computer
        if hasattr(computer, "compute_factors"):
            factors, weight = computer.compute_factors(batch)
        else:
            factors = as_factors(computer.compute_per_sample_grad(batch=batch))
            weight = computer.compute_loss_grad(batch)
        weight = torch.as_tensor(weight).detach().double().reshape(-1).cpu()
        self._write(positions[new], self._project(factors), weight, flags, target)

    def _project(self, factors) -> torch.Tensor:
        if isinstance(self.projector, BasicProjector):
            # the same as project(), from factors that need never be written out
            found = self.projector.projection(self.model_id)(factors) * self.proj_dim**0.5
        else:
            gradients = as_gradients(factors, self.model) or factors[0].flat()
            found = self.projector.project(gradients, model_id=self.model_id)
        return (found.detach().float() * self.scale).cpu()

    def _write(self, positions, found, weight, flags: str, target: str) -> None:
        """Write projected gradients; the flags last, so that a kill loses only work."""
        broken = positions[~torch.isfinite(found).all(1).numpy()]
        if len(broken):
            raise NonFiniteError(
                f"Gradients of model id {self.model_id} are not finite for {len(broken)} of "
                f"{len(positions)} examples of this batch, the first at position {broken[0]}."
            )
        grads = self.store.array(self.model_id, target)
        grads[positions] = found.numpy()
        grads.flush()
        if target == "grads":
            weights = self.store.array(self.model_id, "out_to_loss")
            weights[positions, 0] = weight.numpy()
            weights.flush()
        done = self.store.array(self.model_id, flags)
        done[positions] = 1
        done.flush()
        if target == "grads" and not len(self.store.missing(self.model_id, flags)):
            self.store.note(self.model_id, is_featurized=1)

    def _known(self, model_ids) -> list[int]:
        known = self.store.models
        ids = list(known) if model_ids is None else [int(m) for m in model_ids]
        strangers = [m for m in ids if m not in known]
        if strangers or not ids:
            raise UnfinishedError(unknown_ids(strangers, known))
        return ids


def _device(device) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SettingError("There is no CUDA device here. Leave device= out to use the CPU.")
    return device
