"""`FeatureEvolutionTracker`: what a layer makes of the examples, epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from ...arguments import checked
from ...errors import MissingGroupError, SettingError
from ...maths.transition import find_transition
from ...recording.evaluation_pass import feature_row, find_layers
from ..sources.epoch_order import check_epoch
from ..sources.examples_seen import note_examples
from ..sources.on_record import OnRecord
from ..sources.served import evaluate
from .feature_measures import add_feature_measures
from .layers import feature_group, recorded_layers
from .projections import add_projections


class FeatureEvolutionTracker(OnRecord):
    """Records the outputs of chosen layers and measures how they change.

    Usable as a context manager. Hooks exist only while `track_epoch` runs, so that neither
    a crashed cell nor a second tracker can leave any behind.

    Parameters
    ----------
    model : module
        Weights may be loaded into `tracker.model` between epochs.
    layer_names : list of module names
    device : optional
    run : Run, optional

    Raises
    ------
    SettingError
        A layer does not exist; the closest names are listed.
    """

    @checked
    def __init__(self, model=None, layer_names: Sequence[str] = (), device=None, *, run=None):
        if isinstance(layer_names, str):
            raise SettingError(f"layer_names is a list: [{layer_names!r}].")
        super().__init__(run, "feature evolution")
        if model is not None:
            find_layers(model, layer_names)
        self.model = model
        self.layer_names = list(layer_names) or recorded_layers(self.run)
        self.device = device

    def settings(self) -> dict:
        return {"layer_names": self.layer_names}

    def __enter__(self) -> FeatureEvolutionTracker:
        return self

    def __exit__(self, *error) -> None:
        self.remove_hooks()

    def remove_hooks(self) -> None:
        """Nothing is left to remove: `track_epoch` takes its own hooks off, even when it fails."""

    def track_epoch(self, loader, epoch: int, sample_limit: int | None = None) -> None:
        """Record what the layers put out for the examples of a loader.

        The loader may shuffle: its dataset is walked in order, so that the same examples are
        compared at every epoch.

        Parameters
        ----------
        sample_limit : int, optional
            Only this many examples, the first of the dataset.

        Raises
        ------
        SettingError
            Epochs do not ascend, or the tracker was loaded without a model.
        DataError
            Other examples than at earlier epochs.
        """
        if self.model is None:
            raise SettingError(
                "This tracker has no model to run. Load it with "
                "FeatureEvolutionTracker.load(path, model=model)."
            )
        for layer in self.layer_names:
            epoch = check_epoch(self.run, f"features/{layer}", epoch)
        table, labels, outputs = evaluate(
            self.model,
            loader,
            "train",
            layers=self.layer_names,
            limit=sample_limit,
            device=self.device,
        )
        note_examples(self.run, "train", table.ids, labels)
        for layer, activation in outputs.items():
            row = feature_row(epoch, {"train": activation}, {"train": table.ids})
            self.run.append(f"features/{layer}", row)

    def analyze_evolution(self) -> dict[str, dict]:
        """The measures of every layer over epochs.

        Returns
        -------
        dict: layer -> dict
            epochs, and an array each of silhouette_score, fisher_ratio, effective_rank,
            participation_ratio, cka_to_previous, cka_to_last, cka_to_first, nc1, nc2_norms,
            nc2_angles, nc3, nc4 (the last two need `add_feature_measures(classifier=)`),
            feature_norm, class_distance; and transitions (of the silhouette).
        """
        if not recorded_layers(self.run):
            raise MissingGroupError(
                "Nothing is tracked yet. Call track_epoch(loader, epoch) at some epochs first."
            )
        result = {}
        for layer in self.layer_names:
            measures = add_feature_measures(self.run, layer)
            result[layer] = {
                "epochs": measures["epoch"].values,
                **{name: values.values for name, values in measures.data_vars.items()},
                "transitions": self._transitions(measures, "silhouette_score"),
            }
        return result

    def detect_phase_transitions(self, layer: str, metric: str = "silhouette_score") -> list[int]:
        """Recorded epochs at which a measure of a layer goes from one plateau to another.

        Empty where fewer than two of three detectors find one: steady change is no transition.

        Raises
        ------
        MissingGroupError
            The layer is not tracked; the closest are listed.
        SettingError
            There is no such metric.
        """
        feature_group(self.run, layer)
        return self._transitions(add_feature_measures(self.run, layer), metric)

    def visualize_evolution(
        self, layer: str, save_dir=None, method: str = "pca", *, theme: str = "light"
    ):
        """The layer's examples in two dimensions over epochs, with a slider, as a Figure.

        Writes `features_<layer>.html` (and images of the last epoch with the `export` extra).

        Parameters
        ----------
        method : "pca" (one PCA of all epochs), "procrustes" (a PCA an epoch, aligned),
            "umap" or "tsne"
        """
        from ...figures.feature_evolution import feature_evolution_figure
        from ...figures.saving import save_figure

        method = {"pca": "joint"}.get(method, method)
        projection = add_projections(self.run, layer, method=method)
        figure = feature_evolution_figure(
            projection, self._labels(projection), time_unit=self.run.time_unit, theme=theme
        )
        return save_figure(figure, save_dir, f"features_{layer}")

    def plot_metrics_evolution(self, layer: str, save_dir=None):
        """The layer's measures over epochs as a Figure; writes `feature_measures_<layer>.html`."""
        from ...figures.feature_measures import feature_measures_figure
        from ...figures.saving import save_figure

        feature_group(self.run, layer)
        measures = add_feature_measures(self.run, layer)
        figure = feature_measures_figure(
            measures,
            layer=layer,
            transitions=self._transitions(measures, "silhouette_score"),
            time_unit=self.run.time_unit,
        )
        return save_figure(figure, save_dir, f"feature_measures_{layer}")

    def _transitions(self, measures: xr.Dataset, metric: str) -> list[int]:
        if metric not in measures:
            raise SettingError(
                f"There is no metric {metric!r}; there are "
                f"{', '.join(map(str, measures.data_vars))}."
            )
        epochs = measures["epoch"].values
        values = measures[metric].values
        known = values[np.isfinite(values)]
        least = 0.05 * float(np.ptp(known)) if len(known) else 0.0
        found = find_transition(epochs.astype(float), values, least_rise=max(least, 1e-9))
        return [int(epochs[np.abs(epochs - found.t50).argmin()])] if found.found else []

    def _labels(self, projection: xr.Dataset) -> xr.DataArray | None:
        split, ids = projection["split"].values.astype(str), projection["id"].values
        labels = np.full(len(ids), -1)
        for part in np.unique(split):
            group = f"{part}_examples"
            if group not in self.run or "label" not in self.run[group]:
                return None
            here = split == part
            labels[here] = self.run[group]["label"].sel({part: ids[here]}).values
        return xr.DataArray(labels, dims="example")
