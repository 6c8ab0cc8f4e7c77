"""The one selection of a board: an immutable value, and its form on the wire."""

from __future__ import annotations

import base64
from dataclasses import asdict, dataclass, fields, replace

import numpy as np

from ...errors import SettingError


@dataclass(frozen=True)
class Selection:
    """What is selected on a board. The browser's twin is `frontend/src/state/selection.ts`."""

    epoch: int = 0  # a recorded epoch
    test: int | None = None  # the test example asked about
    query: str | None = None  # asked in its place, "set/question"; choosing a test takes it away
    train: int | None = None  # the training example picked out
    selected: tuple[int, ...] = ()  # training examples chosen by lasso, ascending ids
    selected_tests: tuple[int, ...] = ()
    range: tuple[int, int] | None = None  # the epochs called before and after
    method: str | None = None
    layer: str | None = None
    search: str = ""
    filter: str = "all"  # all, right, wrong, flipped
    label: str | None = None
    group: str | None = None
    sort: str = "order"
    colour: str = "label"
    tab: str | None = None

    def changed(self, **settings) -> Selection:
        """The same selection with some fields replaced; `SettingError` for an unknown field."""
        if unknown := sorted(set(settings) - set(FIELDS)):
            raise SettingError(
                f"A selection has no {', '.join(map(repr, unknown))}; it has {', '.join(FIELDS)}."
            )
        if settings.get("test") is not None:  # choosing a test example asks about it
            settings.setdefault("query", None)
        for name in ("selected", "selected_tests"):
            if name in settings:
                settings[name] = tuple(sorted(set(_several(name, settings[name]))))
        if settings.get("range") is not None:
            ends = _several("range", settings["range"])
            if len(ends) != 2:
                raise SettingError(f"range={settings['range']!r}: two epochs, before and after.")
            settings["range"] = (min(ends), max(ends))
        for name in ("epoch", "test", "train"):
            if name == "epoch" in settings or settings.get(name) is not None:
                settings[name] = _whole(name, settings[name])
        for name in _TEXTS & set(settings):
            value = settings[name]
            if not (isinstance(value, str) or (value is None and getattr(_EMPTY, name) is None)):
                raise SettingError(f"{name}={value!r}: a text.")
        return replace(self, **settings)

    def differences(self, other: Selection) -> list[str]:
        """Names of the fields in which two selections differ."""
        return [name for name in FIELDS if getattr(self, name) != getattr(other, name)]

    def to_wire(self) -> dict:
        """A small value JSON can hold."""
        wire = asdict(self)
        wire["range"] = list(self.range) if self.range else None
        for name in ("selected", "selected_tests"):
            wire[name] = _pack_ids(getattr(self, name))
        return wire

    @classmethod
    def from_wire(cls, wire: dict) -> Selection:
        settings = {name: wire[name] for name in FIELDS if name in wire}
        if "epoch" in settings:
            settings["epoch"] = int(settings["epoch"])  # between two while it is dragged
        for name in ("selected", "selected_tests"):
            if name in settings:
                settings[name] = _unpack_ids(settings[name])
        return cls().changed(**settings)


FIELDS = tuple(field.name for field in fields(Selection))

# what a field takes, whatever the run: as in frontend/src/views, gallery/filter.ts and
# evolution/colouring.ts
CHOICES: dict[str, tuple[str, ...]] = {
    "filter": ("all", "right", "wrong", "flipped", "selected"),
    "sort": ("order", "margin", "margin-high", "learned", "learned-late", "hardest"),
    "colour": ("label", "correct", "loss", "memorization", "group", "influence"),
    "tab": ("transition", "map", "gradients", "bias", "validity"),
}
_EMPTY = Selection()
_TEXTS = {field.name for field in fields(Selection) if "str" in str(field.type)}
_LISTED = 256  # a larger set travels as a bitset: never a long list of numbers in JSON


def _whole(name: str, value) -> int:
    """An id or an epoch, which is never rounded."""
    number = isinstance(value, (int, float, np.integer, np.floating))
    if not number or isinstance(value, bool) or value != np.floor(value) or not np.isfinite(value):
        raise SettingError(f"{name}={value!r}: a whole number, an id or a recorded epoch.")
    return int(value)


def _several(name: str, values) -> list[int]:
    try:
        return [_whole(name, value) for value in values]
    except TypeError as error:
        if isinstance(error, SettingError):
            raise
        raise SettingError(f"{name}={values!r}: several whole numbers, as in [1, 2].") from error


def _pack_ids(ids: tuple[int, ...]):
    if len(ids) <= _LISTED:
        return list(ids)
    bits = np.zeros(ids[-1] + 1, np.uint8)
    bits[list(ids)] = 1
    text = base64.b64encode(np.packbits(bits, bitorder="little").data).decode()
    return {"bits": text} if len(text) < 8 * len(ids) else list(ids)


def _unpack_ids(wire) -> tuple[int, ...]:
    if not isinstance(wire, dict):
        return tuple(int(i) for i in wire)
    packed = np.frombuffer(base64.b64decode(wire["bits"]), np.uint8)
    return tuple(np.nonzero(np.unpackbits(packed, bitorder="little"))[0].tolist())
