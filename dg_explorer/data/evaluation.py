"""What a model and its layers say to a batch in evaluation mode, example by example."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ..errors import SettingError
from .batch import Batch
from .forward import as_written, asked_aside
from .padding import Told, check_left_padding, has_left_padding, mask_of, shorter

_CHANNELS_FIRST = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
)


@dataclass(frozen=True)
class OutputLayout:
    """How the output of a layer is laid out.

    Attributes
    ----------
    axis : int
        Counts examples, or examples and positions together.
    together : "", "by example" or "by position"
        Whether that axis counts both, and which of them goes slower.
    unit : int
        The axis of units or channels once examples come first: 1 or -1.
    """

    axis: int
    together: str
    unit: int


class LayerOutputs:
    """The outputs of named layers, one row an example, whichever axis counts the examples.

    Seen once, by serving one example twice and three times.

    Parameters
    ----------
    modules : mapping of name -> module
    inputs : bool
        What goes into the layers instead of what comes out.
    keep_space : bool
        Images stay whole, (example, channel * height * width), instead of means over space.
    keep_graph : bool
        Rows stay in the graph of autograd.
    """

    def __init__(
        self,
        modules: dict,
        *,
        inputs: bool = False,
        keep_space: bool = False,
        keep_graph: bool = False,
    ):
        self.modules, self.inputs, self.keep_space = dict(modules), inputs, keep_space
        self.keep_graph = keep_graph
        self._layouts: dict[str, OutputLayout] = {}
        #: layers with an output that the model writes into afterwards, as by ReLU(inplace=True)
        self._written: set[str] = set()
        self._versions: dict[str, int] = {}
        self._padding_checked = False

    def __call__(self, model, batch: Batch, predict=None):
        """What the model answers, and each layer's output as (example, unit).

        Means are over positions, without padding, and over space. Padding is what the model's
        attention layers are told, and where they are told nothing see `mask_of`. A layer that runs
        twice counts with its last output.

        Parameters
        ----------
        predict : function (model, batch), optional
            How the model is asked; by default as the batch says.

        Raises
        ------
        SettingError
            A layer is not reached, or its examples cannot be told apart.
        DataError
            Padding on the left changes what the model answers.
        """
        ask = predict or (lambda model, batch: batch.predict(model))
        if not self._padding_checked and has_left_padding(batch, model):
            self._padding_checked = True
            check_left_padding(model, batch, ask)
        if not self.modules:
            return ask(model, batch), {}
        with as_written(model):
            with Told(model) as told, self._listening(told) as heard:
                answer = ask(model, batch)
            if self._written_since(heard):  # only now is it known; from here on they are copied
                with self._listening() as heard:
                    answer = ask(model, batch)
            first_time = not self._layouts
            if first_time:
                # only now, so that a task to be inferred has seen a whole batch
                self._layouts = self._look(model, batch, ask)
        named = mask_of(batch, model)
        rows = {
            name: self._pooled(
                name, heard, len(batch), lambda shape, name=name: told.at(name, shape, named)
            )
            for name in self.modules
        }
        if first_time and len(batch) > 1:
            for place in (0, len(batch) - 1):
                alone = self(model, batch.take([place]), predict)[1]
                for name in self.modules:
                    self._check_place(name, rows[name], alone[name], place)
        return answer, rows

    # ---------------------------------------------------------------- inside

    @contextmanager
    def _listening(self, told: Told | None = None) -> Iterator[dict[str, torch.Tensor]]:
        heard: dict[str, torch.Tensor] = {}
        handles = []
        for name, module in self.modules.items():

            def keep(_, args, kwargs, out, name=name):
                if asked_aside():
                    return
                out = _tensor((*args, *kwargs.values())[0] if self.inputs else out, name)
                if name in self._written or out.is_inference():
                    out = out.clone()
                else:
                    self._versions[name] = out._version
                heard[name] = out if self.keep_graph else out.detach()
                if told is not None:
                    told.reached(name)

            handles.append(module.register_forward_hook(keep, with_kwargs=True))
        try:
            yield heard
        finally:
            for handle in handles:
                handle.remove()

    def _written_since(self, heard: dict[str, torch.Tensor]) -> set[str]:
        """The layers with an output that was changed in place after it was kept."""
        new = {k: x for k, x in heard.items() if k not in self._written and not x.is_inference()}
        written = {name for name, out in new.items() if out._version != self._versions[name]}
        self._written |= written
        return written

    def _look(self, model, batch: Batch, ask) -> dict[str, OutputLayout]:
        last = len(batch) - 1
        tried = {"first": [0], "last": [last], "both": [0, last], "two": [0] * 2, "three": [0] * 3}
        found, units = {}, {}
        for what, places in tried.items():
            with self._listening() as heard, _last_units(model, self.modules, self.inputs) as sizes:
                ask(model, batch.take(places))
            found[what], units = heard, sizes
        for name in self.modules:
            reached = sum(name in heard for heard in found.values())
            if not reached:
                raise SettingError(
                    f"The model does not call the layer {name!r} in evaluation mode, so it has no "
                    f"output there. Name another layer."
                )
            if reached < len(found):
                raise _not_for_all(name, "none for some examples")
        layouts = {
            name: _layout(name, {what: heard[name] for what, heard in found.items()}, units)
            for name in self.modules
        }
        two = {name: _examples_first(found["two"][name], each, 2) for name, each in layouts.items()}
        doubtful = {
            name: rows
            for name, rows in two.items()
            if rows.ndim >= 3 and rows.shape[1] == rows.shape[-1]
        }
        looked = self._units_by_size(model, batch.take([0, 0]), ask, doubtful, layouts)
        for name, unit in looked.items():
            layouts[name] = replace(layouts[name], unit=unit)
            doubtful.pop(name)
        for name, rows in doubtful.items():
            if units.get(name) is None or units[name].turned:
                raise SettingError(
                    f"{name!r} gives {tuple(rows.shape[1:])} for an example: which axis counts its "
                    f"units cannot be told, as the sizes are equal and axes are moved after the "
                    f"last layer with weights. Name the layer before they are moved, or put "
                    f"nn.Identity() there and name that."
                )
        return layouts

    def _units_by_size(
        self, model, two: Batch, ask, doubtful: dict, layouts: dict
    ) -> dict[str, int]:
        """The axis of units where two axes have one size: that which shorter inputs leave alone."""
        found: dict[str, int] = {}
        for fewer in shorter(two) if doubtful else ():
            with self._listening() as heard, suppress(Exception):
                ask(model, fewer)  # a later layer may not take it: what was heard before counts
            for name, rows in doubtful.items():
                if name in found or name not in heard:
                    continue
                now = _examples_first(heard[name], layouts[name], 2)
                if now.ndim != rows.ndim or len(now) != len(rows):
                    continue
                changed = [axis for axis in (1, -1) if now.shape[axis] != rows.shape[axis]]
                if len(changed) == 1:
                    found[name] = -changed[0]
            if len(found) == len(doubtful):
                break
        return found

    def _check_place(self, name: str, rows, alone, place: int) -> None:
        """Refuse a layer that gets the examples in another order than the batch gave them."""
        near = 1e-2 * rows.abs().max() if rows.shape[1:] == alone.shape[1:] else -1
        apart = (rows - alone).flatten(1).abs().amax(1) if near > 0 else rows.new_ones(len(rows))
        # no row is that of the example alone: the batch changes it, for others to judge
        moved = bool((apart <= near).any()) or bool(self._layouts[name].together)
        if bool(rows.isfinite().all()) and near != 0 and apart[place] > near and moved:
            raise SettingError(
                f"The layer {name!r} gives its rows in another order than the batch gave the "
                f"examples, as layers do that sort or share them out. Name another layer."
            )

    def _pooled(self, name: str, heard: dict, n: int, mask_of_shape) -> torch.Tensor:
        layout, output = self._layouts[name], heard.get(name)
        if output is None:
            raise _not_for_all(name, f"0 rows for a batch of {n}")
        size = output.shape[layout.axis]
        if size % n if layout.together else size != n:
            raise _not_for_all(name, f"{size} rows for a batch of {n}")
        rows = _examples_first(output, layout, n)
        if rows.ndim <= 2:
            return rows.reshape(n, -1)
        if rows.ndim > 3 and self.keep_space:
            return rows.flatten(1)
        rows = rows.movedim(layout.unit, 1).flatten(2)  # (example, unit, position)
        mask = mask_of_shape((n, rows.shape[2]))
        if mask is None:
            return rows.mean(2)
        weight = mask.to(rows.device, rows.dtype)[:, None]
        # `where`: attention that may look nowhere answers NaN at padding
        return torch.where(weight != 0, rows * weight, 0).sum(2) / weight.sum(2).clamp(min=1)


def _not_for_all(name: str, gives: str) -> SettingError:
    why = f"it gives {gives}, as an expert does that a router sends some to"
    return SettingError(
        f"Not every example goes through the layer {name!r}: {why}. Name one that all go through."
    )


def _layout(name: str, seen: dict[str, torch.Tensor], units: dict) -> OutputLayout:
    """Which axis counts the examples, from outputs for one, two and three of them."""
    two, three = seen["two"], seen["three"]
    grown = [axis for axis, sizes in enumerate(zip(two.shape, three.shape)) if sizes[0] != sizes[1]]
    if len(grown) == 1 and two.ndim == three.ndim:
        axis = grown[0]
        if (two.shape[axis], three.shape[axis]) == (2, 3):
            return OutputLayout(axis, "", _unit_axis(two.movedim(axis, 0), units.get(name)))
        if three.shape[axis] * 2 == two.shape[axis] * 3:
            together = _together(seen, axis)
            if together:
                return OutputLayout(axis, together, -1)
    raise SettingError(
        f"The examples of a batch cannot be told apart in {name!r}: it gives "
        f"{tuple(two.shape)} for two examples and {tuple(three.shape)} for three. Name another "
        f"layer."
    )


def _together(seen: dict[str, torch.Tensor], axis: int) -> str:
    """Which of examples and positions goes slower along an axis that counts both."""
    first, last, both = (seen[what].movedim(axis, 0) for what in ("first", "last", "both"))
    if both.shape[0] != 2 * first.shape[0] or first.shape != last.shape:
        return ""
    ways = {"by example": torch.cat([first, last]), "by position": torch.stack([first, last], 1)}
    for how, expected in ways.items():
        if torch.allclose(both, expected.reshape(both.shape), rtol=1e-3, atol=1e-5):
            return how
    return ""


def _examples_first(output: torch.Tensor, layout: OutputLayout, n: int) -> torch.Tensor:
    rows = output.movedim(layout.axis, 0)
    if layout.together == "by example":
        return rows.unflatten(0, (n, -1))
    if layout.together == "by position":
        return rows.unflatten(0, (-1, n)).transpose(0, 1)
    return rows


@dataclass
class Units:
    """What the last module with weights gave before a layer's output: a sign of its unit axis.

    Attributes
    ----------
    width : int
        How many units.
    first : bool
        They come before the positions, as a convolution has them.
    turned : bool
        Axes were moved since.
    """

    width: int
    first: bool
    turned: bool = False


def _unit_axis(rows: torch.Tensor, last: Units | None) -> int:
    """The axis of units: the width of the last layer with weights decides, then what it is."""
    first = rows.ndim > 3 if last is None else last.first
    if rows.ndim < 3:
        return -1
    if last is not None:
        at = [axis for axis in (1, -1) if rows.shape[axis] == last.width]
        if len(at) == 1:
            return at[0]
    return 1 if first else -1


class _Turns(TorchFunctionMode):
    """Notes whether axes are moved: where sizes are equal, only that tells them apart."""

    _MOVES = ("transpose", "permute", "movedim", "moveaxis", "swapaxes", "swapdims", "t", "einsum")
    _MOVES += ("reshape", "view", "flatten", "unflatten")
    turned = False

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        if name in self._MOVES or (name == "__get__" and "T" in str(func)):
            self.turned = True
        return func(*args, **(kwargs or {}))


@contextmanager
def _last_units(model, layers: Iterable[str], inputs: bool) -> Iterator[dict[str, Units]]:
    """By layer: the units of the last module with weights before its output, or its input.

    What goes into a module with weights is laid out as that module takes it.
    """
    last: list[Units] = []
    found: dict[str, Units] = {}
    handles = []
    names = {module: name for name, module in model.named_modules()}
    wanted, turns = set(layers), _Turns()

    def keep(module):
        if names[module] in wanted and last:
            found[names[module]] = replace(last[0], turned=turns.turned)

    def enter(module, args, kwargs):
        into: Any = args[0] if args else next(iter(kwargs.values()), None)
        first = isinstance(module, _CHANNELS_FIRST)
        if names[module] in wanted and (first or isinstance(module, nn.Linear)):
            width = into.shape[1 if first and into.ndim > 1 else -1]
            found[names[module]] = Units(width, first)
        else:
            keep(module)

    def leave(module, args, out):
        out = out[0] if isinstance(out, tuple) and out else out
        if any(True for _ in module.parameters(recurse=False)) and torch.is_tensor(out):
            first = isinstance(module, _CHANNELS_FIRST)
            last[:] = [Units(out.shape[1 if first and out.ndim > 1 else -1], first)]
            turns.turned = False
        if not inputs:
            keep(module)

    try:
        for module in names:
            if inputs:
                handles.append(module.register_forward_pre_hook(enter, with_kwargs=True))
            handles.append(module.register_forward_hook(leave))
        with turns:
            yield found
    finally:
        for handle in handles:
            handle.remove()


def _tensor(out, name: str) -> torch.Tensor:
    """The output of a module that returns more: its first tensor, or the last hidden state."""
    out = getattr(out, "last_hidden_state", out)
    while isinstance(out, (tuple, list)) and out:
        out = out[0]
    if not torch.is_tensor(out) or out.ndim == 0:
        raise SettingError(f"{name!r} gives no tensor of examples and units; name another layer.")
    return out
