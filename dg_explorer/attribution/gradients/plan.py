"""`Plan`: how the per-example gradient of each parameter is taken, decided once and proved."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

from ...tasks.task import Task
from .layout import Layout


@dataclass
class Plan:
    """By which rule each parameter's per-example gradient is taken, for one model and task.

    Made by `prove`, which compares it with plain autograd. It holds names, not tensors: it serves
    all checkpoints of the model, training and test examples alike, and travels to other processes.

    Attributes
    ----------
    task : Task
    parameters : names, in the model's own order
    sizes : gradient entries of each parameter, by name
    chain : for each parameter, whether an operation on the way to its uses has no data in it
    layouts : (parameter, key of a use) -> where examples are in what the operation returns
    fused : weight -> bias that the same operations use, kept in one factor
    forms : the type of factor of each parameter, for batches that do not reach it
    raw : parameters with uses that no rule covers
    looped : whether they are taken one example at a time, or by `vmap`
    errors : relative error against plain autograd of each parameter
    watchful : what is done depends on the data (experts), so that the order of rows is checked in
        every batch and not only in the first of its shape
    company : examples in the largest batch that was split to see whether they know each other
    padding : whether a row with padding on the left was served without it, too
    """

    task: Task
    parameters: tuple[str, ...]
    sizes: dict[str, int]
    chain: dict[str, dict[str, bool]] = field(default_factory=dict)
    layouts: dict[tuple[str, str], Layout] = field(default_factory=dict)
    fused: dict[str, str] = field(default_factory=dict)
    forms: dict[str, str] = field(default_factory=dict)
    raw: tuple[str, ...] = ()
    looped: bool = False
    errors: dict[str, float] = field(default_factory=dict)
    watchful: bool = False
    company: int = 0
    padding: bool = False
    #: parameters of which the data decide what is done with them
    routed: set[str] = field(default_factory=set, repr=False)
    #: (signature of a batch, parameter, key) -> rows an example, where their order was checked
    seen: dict[tuple, int] = field(default_factory=dict, repr=False)

    @property
    def covered(self) -> list[str]:
        """Parameters with gradients that are read off the graph."""
        raw = set(self.raw)
        return [name for name in self.parameters if name not in raw]

    @property
    def rules(self) -> dict[str, str]:
        """In words, for each parameter: by which operations, and where examples are in them."""
        told: dict[str, list[str]] = {name: [] for name in self.parameters}
        for (name, key), layout in sorted(self.layouts.items(), key=lambda item: item[0]):
            told[name].append(f"{key} ({layout})")
        raw = "one example at a time" if self.looped else "by vmap"
        return {
            name: raw if name in self.raw else "; ".join(uses) or "not reached"
            for name, uses in told.items()
        }

    @property
    def fingerprint(self) -> str:
        """Eight hex digits that stand for the parameters, their sizes and their rules."""
        text = "\n".join(f"{n} {self.sizes[n]} {rule}" for n, rule in self.rules.items())
        return f"{zlib.crc32(text.encode()):08x}"

    def __repr__(self) -> str:
        rules = self.rules
        shown = [f"  {name}: {rule}" for name, rule in list(rules.items())[:30]]
        more = [f"  ... and {len(rules) - 30} more"] if len(rules) > 30 else []
        return "\n".join([f"Plan {self.fingerprint} ({self.task.name})", *shown, *more])
