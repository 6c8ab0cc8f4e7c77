"""The board's views, each alone, most with the timeline that scrubs it."""

from __future__ import annotations

from ...errors import MissingGroupError
from ..answers.bias import bias_table
from ..answers.dynamics_map import charted
from ..answers.transition import gain_table
from ..reading.lights import light_of, stamped
from ..reading.tables import properties
from .explorer import Explorer


class MemorizationTimeline(Explorer):
    """The timeline alone: accuracies, memorization, phases; it is the scrubber."""

    _shown = ("timeline",)


class InfluenceExplorer(Explorer):
    """Timeline, test gallery and influencers."""

    _shown = ("head", "timeline", "gallery", "influencers")


class FeatureEvolution(Explorer):
    """Train and test examples in a layer's feature space, scrubbed continuously.

    `ex.selection.layer` and `ex.selection.colour` choose what it shows; a lasso sets
    `ex.selection.selected` and `.selected_tests`.
    """

    _shown = ("timeline", "evolution")

    def to_plotly(self, *, theme: str = "light"):
        """The layer on screen at every recorded epoch, with a slider."""
        from ...figures.feature_evolution import feature_evolution_figure

        reader = self._sources.reader
        layers = reader.family("projections/")
        if not layers:
            raise MissingGroupError(
                "This run has no layer in two dimensions. Add one with add_projections(run, layer)."
            )
        layer = self.selection.layer if self.selection.layer in layers else layers[0]
        return feature_evolution_figure(
            reader.group(f"projections/{layer}"), time_unit=self.run.time_unit, theme=theme
        )


class DynamicsMap(Explorer):
    """Dataset cartography: variability and confidence of every training example."""

    _shown = ("map",)

    def to_plotly(self, *, theme: str = "light"):
        """The map as a plain figure, coloured and shaped by region."""
        from ...figures.cartography import cartography_figure

        return cartography_figure(charted(self._sources), theme=theme)


class TransitionView(Explorer):
    """What gained and lost influence between the two moments of `ex.selection.range`."""

    _shown = ("timeline", "transition")

    def to_plotly(self, *, theme: str = "light"):
        """The examples that gained and lost most, as a plain figure."""
        from ...figures.critical_examples import critical_examples_figure

        now = self.selection.value
        table = gain_table(self._sources, now.method, now.range)
        texts = properties(self._sources.reader, "train")
        names = texts["text"].to_dict() if "text" in texts else None
        figure = critical_examples_figure(
            table, names=names, time_unit=self.run.time_unit, theme=theme
        )
        light = light_of(self._sources.reader, table.attrs["method"], table.attrs["post_epoch"])
        return stamped(figure, light)


class GradientFlow(Explorer):
    """Layers by recorded moments: norm, update ratio, cosine, with broken cells marked."""

    _shown = ("timeline", "gradients")

    def to_plotly(self, *, theme: str = "light"):
        """The heatmap of norms as a plain figure."""
        from ...analysis.gradients.flow_flags import gradient_flags
        from ...figures.gradient_flow import gradient_flow_figure

        gradients = self._sources.reader.group("gradients").load()
        return gradient_flow_figure(
            gradients, flags=gradient_flags(gradients), time_unit=self.run.time_unit, theme=theme
        )


class BiasView(Explorer):
    """Accuracy and scores by group over training: which groups teach the shortcut."""

    _shown = ("timeline", "bias")

    def to_plotly(self, *, theme: str = "light"):
        """Accuracy by group, and what helps or harms the worst group, as a plain figure."""
        from ...figures.bias import bias_figure

        now, reader = self.selection.value, self._sources.reader
        table = bias_table(self._sources, now.method)
        figure = bias_figure(table, time_unit=self.run.time_unit, theme=theme)
        if "group_score" not in table:
            return figure
        return stamped(figure, light_of(reader, now.method or reader.methods[0], now.epoch))
