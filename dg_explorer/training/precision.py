"""What passes of a training ran under: autocast, random numbers, padding; and the same again.

A step in mixed precision is a function of the weights in single precision that rounds on its way.
Its replay rounds alike, to the bit. Its derivative is taken of the function without the rounding,
in single precision at the weights that the training went through: rounding alone makes a
staircase, with a slope of 0 or infinity (docs/decisions/unrolled.md, "Mixed precision").
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch._C._functorch as functorch

from ..checkpoints.several import hook_after_passes

# What a pass without autocast is called in the record.
OFF = ""
#: why `torch.float16` is not followed, and what to do
NARROW = (
    "steps in float16: its gradients vanish unless the loss is scaled (GradScaler), and the "
    "scales and the steps that it skips are not recorded; train in bfloat16, which needs no "
    "scaling: torch.autocast(..., dtype=torch.bfloat16)"
)
#: what is lacking where it is not plain at which batches autocast was in force
UNNAMED = (
    "the precision of each batch: autocast was in force at some passes of a step, which are not "
    "those of its batches (evaluate under torch.no_grad)"
)
#: what a scaled loss lacks
SCALED = (
    "the scale of the loss (GradScaler), and which steps it skipped; train in bfloat16 without "
    "one: torch.autocast(..., dtype=torch.bfloat16), GradScaler(enabled=False)"
)


def autocast_now(device: str) -> str:
    """The autocast in force on a kind of device: "bfloat16", "bfloat16 uncached", or `OFF`."""
    if not torch.is_autocast_enabled(device):
        return OFF
    name = str(torch.get_autocast_dtype(device)).removeprefix("torch.")
    return name if torch.is_autocast_cache_enabled() else f"{name} uncached"


@contextmanager
def under(device: str, said: str, *, alone: bool = False):
    """The autocast that `autocast_now` named, whatever is in force around.

    Inside another autocast torch keeps the weights that it has rounded until that one ends, over
    any number of steps: `alone` forgets them at the beginning and at the end.
    """
    name, _, uncached = said.partition(" ")
    dtype = getattr(torch, name) if name else None
    if alone:
        torch.clear_autocast_cache()
    try:
        with torch.autocast(device, dtype=dtype, enabled=bool(name), cache_enabled=not uncached):
            yield
    finally:
        if alone:
            torch.clear_autocast_cache()


def half_weights(optimizer) -> list[str]:
    """What an exact replay lacks where weights that train are in half precision; else nothing."""
    trained = [p for g in optimizer.param_groups for p in g["params"] if p.requires_grad]
    kinds = {p.dtype for p in trained} & {torch.float16, torch.bfloat16}
    if not kinds:
        return []
    names = " and ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
    return [
        f"weights in single precision: those in {names} lose every step that is smaller than half "
        f"of their last place, and no derivative says which; keep them in float32 and train under "
        f"torch.autocast(..., dtype=torch.bfloat16)"
    ]


def in_words(said: Sequence[str]) -> str:
    """What was in force at the passes of a training, for a record's reader; "" for nothing."""
    names = sorted({each.partition(" ")[0] for each in said} - {OFF})
    return f"{' and '.join(names)} by autocast" if names else ""


class PrecisionWatch:
    """Notes at each pass of a training which autocast is in force.

    Some trainers put the autocast round the model's own `forward`, inside of any hook on the model;
    there the first of its layers is asked, too.

    Parameters
    ----------
    model : module
    optimizer : torch optimizer
        Whose steps end a group of passes.
    narrow : callable
        Called once, before the first pass in float16.
    """

    def __init__(self, model, optimizer, narrow: Callable[[], None] = lambda: None):
        #: whether passes are the training's; those that look at it again are not
        self.awake = True
        self._narrow: Callable[[], None] | None = narrow
        self._here: list[str] = []
        self._steps: list[tuple[str, ...]] = []
        self._inner: dict[Any, Any] = {}  # layer -> its hook
        self._handles = [
            model.register_forward_pre_hook(self._before),
            hook_after_passes(optimizer, self._end_step),
        ]
        if "forward" in vars(model):
            layers = [p for p in model.modules() if not list(p.children()) and list(p.parameters())]
            self._inner = {p: p.register_forward_pre_hook(self._inside) for p in layers}

    def __reduce__(self):
        """What a copied or pickled model has of it: hooks that see nothing."""
        return _asleep, ()

    def take(self, n: int) -> list[tuple[str, ...]]:
        """For each of the last n steps, what was in force at each of its passes."""
        steps, self._steps = self._steps[-n:] if n else [], []
        return steps

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in [*self._handles, *self._inner.values()]:
            handle.remove()

    def _before(self, module, arguments) -> None:
        if self.awake and torch.is_grad_enabled() and not torch.compiler.is_compiling():
            self._here.append(self._seen(module))

    def _inside(self, layer, arguments) -> None:
        """The first layer of a pass; the others need not be asked again."""
        if not self.awake or torch.compiler.is_compiling() or not self._here:
            return
        if not torch.is_grad_enabled():
            return
        for other in [other for other in self._inner if other is not layer]:
            self._inner.pop(other).remove()
        self._here[-1] = self._here[-1] or self._seen(layer)

    def _seen(self, module) -> str:
        weight = next(module.parameters(), None)
        said = autocast_now("cpu" if weight is None else weight.device.type)
        if said.startswith("float16") and self._narrow is not None:
            told, self._narrow = self._narrow, None
            told()
        return said

    def _end_step(self, *_) -> None:
        self._steps.append(tuple(self._here))
        self._here = []


def _asleep() -> PrecisionWatch:
    watch = PrecisionWatch.__new__(PrecisionWatch)
    watch.awake = False
    return watch


def as_text(passes: Sequence[str]) -> str:
    """What was in force at the passes of a step, once where it was the same at all."""
    return ";".join(passes[:1] if len(set(passes)) == 1 else passes)


class Precisions:
    """What was in force at each pass of each step of a recorded training.

    Parameters
    ----------
    steps : sequence of str
        As `as_text` gives them.
    """

    def __init__(self, steps: Sequence[str]):
        self._steps = [step.split(";") for step in steps]

    def at(self, step: int, k: int) -> str:
        """Of the k-th pass of a step."""
        passes = self._steps[step]
        return passes[0] if len(passes) == 1 else passes[k]

    def within(self, first: int, last: int) -> bool:
        """Whether some pass of these steps was taken under autocast."""
        return any(any(passes) for passes in self._steps[first:last])

    def digest(self) -> bytes:
        """All that was in force, for a digest."""
        return repr(self._steps).encode()

    @property
    def words(self) -> str:
        """In words; "" where no pass was taken under autocast."""
        return in_words([said for passes in self._steps for said in passes])


class CannotRepeat(Exception):
    """A pass cannot be taken again as it was; says why."""


class RandomWatch:
    """Keeps where torch's generator stood at each pass of a training, for models that draw.

    Whether a model draws, the passes of the first step show: modules of dropout say it, functions
    of it inside attention do not. A state has 5 kB, and most passes go on where the one before
    ended: only the first pass since the last call of `take`, and those before which something else
    drew, are kept.

    Parameters
    ----------
    model : module
    optimizer : torch optimizer or Several
        Whose steps end a group of passes.
    draws : bool
        Whether it is known already that the model draws.

    Attributes
    ----------
    cut : bool or None
        Whether no pass had a column that no example of it attends to, as where batches are padded
        to their longest; None of models without an `attention_mask`.
    """

    def __init__(self, model, optimizer, *, draws: bool = False):
        #: whether passes drew any random number
        self.draws = draws
        self.cut: bool | None = None
        #: whether passes are the training's; those that look at it again are not
        self.awake = True
        self._last: torch.Tensor | None = None
        self._now: torch.Tensor | None = None
        self._known = draws
        self._here: list[str] = []
        self._steps: list[list[str]] = []
        self._handles = [
            model.register_forward_pre_hook(self._before, with_kwargs=True),
            model.register_forward_hook(self._after),
            hook_after_passes(optimizer, self._after_step),
        ]

    def __reduce__(self):
        """What a copied or pickled model has of it: hooks that see nothing."""
        return _sees_nothing, ()

    def take(self, n: int) -> list[list[str]]:
        """For each of the last n steps, a state for each pass, or "" where it goes on."""
        steps, self._steps, self._last = self._steps[-n:] if n else [], [], None
        return steps

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()

    def _before(self, module, arguments, keywords) -> None:
        if self._trains():
            mask = keywords.get("attention_mask")
            if self.cut is not False and torch.is_tensor(mask) and mask.ndim == 2:
                self.cut = attended(mask) == (0, mask.shape[1])
            if self._known and not self.draws:
                return
            now = torch.get_rng_state()
            same = self._last is not None and torch.equal(now, self._last)
            self._here.append("" if same else b64encode(now.numpy().tobytes()).decode())
            self._now = now

    def _after(self, module, arguments, returned) -> None:
        if self._trains() and (self.draws or not self._known):
            self._last = torch.get_rng_state()
            if not self.draws and self._now is not None:
                self.draws = not torch.equal(self._last, self._now)

    def _trains(self) -> bool:
        """Whether this is a pass that may be the training's, and no derivative of somebody's."""
        within = functorch.peek_interpreter_stack() is not None
        return self.awake and torch.is_grad_enabled() and not within

    def _after_step(self, *_) -> None:
        self._known = True
        if self.draws:
            self._steps.append(self._here)
        elif self.cut is None:
            for handle in self._handles[:2]:  # not this very hook, which is being called
                handle.remove()
        self._here = []


class Draws:
    """Where torch's generator stands at each pass of a recorded training.

    Parameters
    ----------
    steps : list of list of str
        As `RandomWatch.take` gives them.
    cut : bool
        Whether batches were no wider than their longest example, which decides what is drawn.
    """

    def __init__(self, steps: Sequence[Sequence[str]], *, cut: bool = False):
        self.cut = cut
        self._known: dict[tuple[int, int], torch.Tensor] = {}
        for step, passes in enumerate(steps):
            for k, state in enumerate(passes):
                if state:
                    self._known[step, k] = torch.frombuffer(
                        bytearray(b64decode(state)), dtype=torch.uint8
                    )

    @contextmanager
    def at(self, step: int, k: int, following: tuple[int, int] | None = None):
        """Draw as the k-th pass of a step did; `following` is the pass that goes on from there.

        Raises
        ------
        CannotRepeat
            Earlier steps have to be taken first.
        """
        if (step, k) not in self._known:
            raise CannotRepeat(f"the generator's state at step {step} follows from earlier steps")
        before = torch.get_rng_state()
        torch.set_rng_state(self._known[step, k])
        try:
            yield
            if following is not None:
                self._known.setdefault(following, torch.get_rng_state())
        finally:
            torch.set_rng_state(before)


def attended(mask: torch.Tensor) -> tuple[int, int]:
    """Between which columns some example of a batch attends to something.

    Parameters
    ----------
    mask : Tensor, shape (example, token)
        0 at padding.
    """
    there = mask.bool().any(0).nonzero()
    return (int(there[0]), int(there[-1]) + 1) if len(there) else (0, mask.shape[1])


def _sees_nothing() -> RandomWatch:
    watch = RandomWatch.__new__(RandomWatch)
    watch.awake = False
    return watch
