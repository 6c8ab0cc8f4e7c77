"""`GradientFlowAnalyzer`: do gradients reach every layer, and what do they do there?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr

from ...arguments import checked
from ...errors import DataError, MissingGroupError
from ...maths.gradient_noise import gradient_noise_scale
from ...recording.evaluation_pass import find_layers
from ...recording.gradient_sampling import dead_units, dense_gradient, parameters_by_layer
from ..sources.epoch_order import check_epoch
from ..sources.on_record import OnRecord
from .flow_flags import gradient_flags

VARIABLES = (
    "norm",
    "update_ratio",
    "cosine_to_previous",
    "sign_agreement",
    "dead_units",
    "noise_scale",
)


class GradientFlowAnalyzer(OnRecord):
    """Samples the gradients of each layer while a model trains.

    Call `track_batch_gradients` between `loss.backward()` and `optimizer.step()`, every tenth batch
    or so, and `compute_epoch_statistics` at the end of each epoch.

    Parameters
    ----------
    model : module
    track_layers : list of module names, optional
        By default every layer with trainable parameters.
    run : Run, optional

    Raises
    ------
    SettingError
        A layer does not exist; the closest names are listed.
    """

    @checked
    def __init__(self, model=None, track_layers: Sequence[str] | None = None, *, run=None):
        super().__init__(run, "gradient flow")
        self.model = model
        self.track_layers = None if track_layers is None else list(track_layers)
        self._layers = {} if model is None else _tracked(model, self.track_layers)
        self._epoch: int | None = None
        self._before: dict[str, tuple] = {}
        self._begin()

    def settings(self) -> dict:
        return {"track_layers": self.track_layers}

    def track_batch_gradients(self, loss, epoch: int, batch_idx: int) -> dict[str, float]:
        """Measure the gradients that `loss.backward()` has just left.

        Parameters
        ----------
        loss : tensor or float
            The batch's loss; noted, and marked where it is not finite.

        Returns
        -------
        dict: layer -> L2 norm of its gradient, NaN for a layer that got none

        Raises
        ------
        DataError
            No layer has a gradient.
        SettingError
            Epochs do not ascend.
        """
        if epoch != self._epoch:
            if self._losses:
                self._close()
            self._epoch = check_epoch(self.run, "gradients", epoch)
        found = {}
        for name, (module, parameters) in self._layers.items():
            there = [dense_gradient(p) for p in parameters]
            gradients = [gradient.detach().flatten() for gradient in there if gradient is not None]
            found[name] = self._measure(name, module, parameters, gradients, batch_idx)
        if all(np.isnan(norm) for norm in found.values()) and not any(
            p.grad is not None for _, parameters in self._layers.values() for p in parameters
        ):
            raise DataError(
                "No layer has a gradient. Call track_batch_gradients after loss.backward() and "
                "before optimizer.step() or zero_grad()."
            )
        self._losses.append(float(loss.detach()) if torch.is_tensor(loss) else float(loss))
        return found

    def compute_epoch_statistics(self, epoch: int) -> dict[str, dict[str, float]]:
        """Close an epoch and record it.

        Returns
        -------
        dict: layer -> dict of norm, update_ratio, cosine_to_previous, sign_agreement,
            dead_units, noise_scale (means over the batches tracked; noise scale in batches)

        Raises
        ------
        DataError
            No batch was tracked in this epoch.
        """
        if epoch != self._epoch or not self._losses:
            raise DataError(
                f"No batch was tracked in epoch {epoch}. Call track_batch_gradients(loss, epoch, "
                f"batch_idx) in the training loop, every tenth batch for example."
            )
        row = self._close()
        return {
            str(layer): {
                name: float(row[name].sel(layer=layer).values[0])
                for name in VARIABLES
                if name in row
            }
            for layer in row["layer"].values
        }

    def analyze_gradient_flow(self, *, vanishing: float = 1e-3, exploding: float = 10.0) -> dict:
        """Which layers starve, explode or die, and when.

        Parameters
        ----------
        vanishing : float
            A layer's norm below this share of the largest layer's norm at the same epoch.
        exploding : float
            A norm above this multiple of the largest the layer ever had before.

        Returns
        -------
        dict
            vanishing_layers, exploding_layers, not_finite_layers (layer -> list of epochs),
            dead_layers (layer -> largest share of dead units, where above one half),
            mean_cosine, noise_scale, mean_norm (Series over layers), flags (DataArray), nan_losses
            (epochs with a loss that was not finite).
        """
        if self._losses:
            self._close()
        if "gradients" not in self.run:
            hint = "Track some, or record with Recorder(run, model, optimizer)."
            raise MissingGroupError.of("'gradients'", self.run.groups(), hint)
        data = self.run["gradients"].load()
        flags = gradient_flags(data, vanishing=vanishing, exploding=exploding)

        def where(flag):
            hit = flags == flag
            return {
                str(layer): data["epoch"].values[hit.sel(layer=layer).values].tolist()
                for layer in data["layer"].values
                if hit.sel(layer=layer).any()
            }

        dead = data["dead_units"].max("epoch") if "dead_units" in data else None
        result = {
            "vanishing_layers": where("vanishing"),
            "exploding_layers": where("exploding"),
            "not_finite_layers": where("not finite"),
            "dead_layers": {}
            if dead is None
            else {str(k): float(v) for k, v in dead.to_series().items() if v > 0.5},
            "mean_norm": data["norm"].mean("epoch").to_series(),
            "flags": flags,
        }
        for name, key in (("cosine_to_previous", "mean_cosine"), ("noise_scale", "noise_scale")):
            if name in data:
                result[key] = data[name].mean("epoch").to_series()
        if "loss" in data:
            result["nan_losses"] = data["epoch"].values[~np.isfinite(data["loss"])].tolist()
        return result

    def plot_gradient_flow(self, save_dir=None, *, variable: str = "norm"):
        """Layers by epochs as a heatmap; vanishing, exploding and NaN cells bear a sign.

        Writes `gradient_flow.html` (and PNG, SVG, PDF with the `export` extra) to `save_dir`.
        """
        from ...figures.gradient_flow import gradient_flow_figure
        from ...figures.saving import save_figure

        flags = self.analyze_gradient_flow()["flags"]
        figure = gradient_flow_figure(
            self.run["gradients"].load(),
            variable=variable,
            flags=flags,
            time_unit=self.run.time_unit,
        )
        return save_figure(figure, save_dir, "gradient_flow")

    # ------------------------------------------------------------------ inside

    def _begin(self) -> None:
        self._losses: list[float] = []
        self._found: dict[str, list[dict]] = {name: [] for name in self._layers}
        self._sums: dict[str, torch.Tensor] = {}

    def _measure(self, name, module, parameters, gradients, batch_idx) -> float:
        nothing = dict.fromkeys(VARIABLES[:-1], float("nan"))
        if not gradients:
            self._found[name].append(nothing)
            return float("nan")
        gradient = torch.cat(gradients)
        weights = torch.cat([p.detach().flatten() for p in parameters])
        norm = float(gradient.norm())
        row = {**nothing, "norm": norm, "dead_units": dead_units(module)}
        step = (self._epoch, batch_idx)
        if name in self._before:
            before, before_norm, old, when = self._before[name]
            if len(before) == len(gradient) and norm > 0 and before_norm > 0:
                row["cosine_to_previous"] = float(before @ gradient) / (norm * before_norm)
                # zeros have no sign; they are left out of the share
                product = torch.sign(before) * torch.sign(gradient)
                counted = product != 0
                row["sign_agreement"] = float((product[counted] > 0).float().mean())
            size = float(old.norm())
            # batches between two tracked ones are counted within an epoch only
            if size > 0 and when[0] == step[0] and step[1] > when[1]:
                row["update_ratio"] = float((weights - old).norm()) / size / (step[1] - when[1])
        self._before[name] = (gradient, norm, weights.clone(), step)
        self._sums[name] = self._sums.get(name, 0) + gradient
        self._found[name].append(row)
        return norm

    def _close(self) -> xr.Dataset:
        n = len(self._losses)
        rows = {name: [] for name in VARIABLES}
        for layer, found in self._found.items():
            for name in VARIABLES[:-1]:
                rows[name].append(_mean([row[name] for row in found]))
            small = _mean([row["norm"] ** 2 for row in found])
            big = float(self._sums[layer].norm() / n) ** 2 if layer in self._sums else np.nan
            rows["noise_scale"].append(float(gradient_noise_scale(small, big, n_batches=n)))
        data: dict[str, tuple] = {
            name: (("epoch", "layer"), np.array([v], np.float32)) for name, v in rows.items()
        }
        data["loss"] = ("epoch", np.array([np.mean(self._losses)], np.float32))
        data["sampled_steps"] = ("epoch", [n])
        layers = np.array(list(self._layers), dtype=object)
        row = xr.Dataset(data, {"epoch": [self._epoch], "layer": layers})
        self.run.append("gradients", row)
        self._epoch = None
        self._begin()
        return row

    def _settle(self) -> None:
        if self._losses:
            self._close()


def _tracked(model, track_layers) -> dict[str, tuple]:
    """Layer -> (module, its trainable parameters); a named container stands for all inside it."""
    if track_layers is None:
        return parameters_by_layer(model)
    named = find_layers(model, track_layers)
    layers = {
        name: (module, [p for p in module.parameters() if p.requires_grad])
        for name, module in named.items()
    }
    for name, (_, parameters) in layers.items():
        if not parameters:
            raise DataError(
                f"Layer {name!r} has no trainable parameters, so it has no gradient to track; "
                f"layers that have are {', '.join(map(repr, parameters_by_layer(model)))}."
            )
    return layers


def _mean(values: list[float]) -> float:
    """Mean of what is known; a NaN gradient stays NaN where nothing else is known."""
    known = [v for v in values if not np.isnan(v)]
    return float(np.mean(known)) if known else float("nan")
