"""One call that adds to a run all that its board can show: scores, pictures, transitions, map."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arguments import checked
from ..attribution.walk import attribute
from ..checkpoints.store import saved_epochs
from ..errors import DGExplorerError, SettingError
from ..record.run import as_run
from .examples.cartography import ANALYSES, add_cartography
from .features.layers import recorded_layers
from .features.projections import add_projections
from .transition.transitions import add_transitions, find_transitions

if TYPE_CHECKING:
    import torch

    from ..run import Run

MOMENTS = 40  # scored of those recorded; a board of them exports to a few megabytes
THERE = "already there"


@checked
def complete(
    run: Run,
    model: torch.nn.Module | None = None,
    train: Any = None,
    test: Any = None,
    *,
    method: str = "trak",
    moments: int = MOMENTS,
    epochs: Sequence[int] | None = None,
    progress: bool = True,
    **settings: Any,
) -> dict[str, str]:
    """Add to a run all that its board can show: scores, projections, transitions, cartography.

    Each step is named as it begins. What is there already is kept; what the record does not allow
    is named in a line, with what would allow it. Interrupted, it goes on when called again.

    Parameters
    ----------
    run : Run
    model : torch module, optional
        Of the architecture that the checkpoints were saved from. Without model, train and test
        only the steps that need none of them are taken.
    train, test : dataset or loader, optional
        As for `attribute`: their ids are those of the run.
    method : str
        Which scores, as for `attribute`.
    moments : int
        At most this many of the epochs with a checkpoint are scored, evenly spread, the first and
        the last included.
    epochs : list of int, optional
        Score these epochs instead.
    progress : bool
        Print the steps and show a bar while scoring.
    **settings
        Further settings of `attribute`: `task`, `forward`, `damping`, `batch_size` ...

    Returns
    -------
    dict
        Step, named as the group it adds -> what became of it, in words.

    Raises
    ------
    SettingError
        Some of model, train and test are given and others are not, `moments` is below 2, or a
        setting is misspelt.
    CheckpointError
        The run has no checkpoints to score.
    ArchitectureMismatchError, UnknownExampleError, ...
        The model or the examples are not those of the run, as `attribute` says.
    """
    run = as_run(run)
    if moments < 2:
        raise SettingError(f"moments={moments!r}: at least the first and the last, 2.")
    steps = Steps(progress)
    given = {"model": model, "train": train, "test": test}
    missing = [name for name, value in given.items() if value is None]
    if model is not None and not missing:
        chosen = spread(saved_epochs(run), moments) if epochs is None else epochs
        steps.take(
            f"scores/{settings.get('name') or method}",
            lambda: _score(run, model, train, test, method, chosen, progress, settings),
            may_fail=False,
        )
    elif len(missing) < len(given):
        raise SettingError(
            f"Scores need a model, training and test examples; {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing: complete(run, model, train, test)."
        )
    else:
        steps.leave("scores", "they need complete(run, model, train, test)")
    layers = recorded_layers(run)
    for layer in layers:
        steps.take(f"projections/{layer}", lambda layer=layer: _project(run, layer))
    if not layers:
        steps.leave(
            "projections", "no layer's features are recorded; Recorder(run, model, layers=[...])"
        )
    steps.take("transitions", lambda: _find_transitions(run))
    steps.take(ANALYSES["train"], lambda: _map(run))
    run.flush()
    return steps.outcomes


class Steps:
    """Takes steps one by one, says what each is and what became of it."""

    def __init__(self, progress: bool) -> None:
        self.outcomes: dict[str, str] = {}
        self._progress = progress

    def take(self, name: str, step: Callable[[], str], *, may_fail: bool = True) -> None:
        """Take a step, which returns what became of it; where it may fail, say why and go on."""
        self._say(f"{name} ...")
        began = time.monotonic()
        try:
            outcome = step()
        except DGExplorerError as error:
            if not may_fail:
                raise
            self.leave(name, str(error))
            return
        self.outcomes[name] = outcome
        self._say(f"  {outcome}, {time.monotonic() - began:.1f} s")

    def leave(self, name: str, why: str) -> None:
        """Note a step that is not possible, and what would make it so."""
        self.outcomes[name] = f"not possible: {why}"
        self._say(f"{name}: not possible: {why}")

    def _say(self, line: str) -> None:
        if self._progress:
            print(line, flush=True)


def spread(recorded: Sequence[int], moments: int = MOMENTS) -> list[int]:
    """At most this many of the recorded epochs, evenly by index, first and last included."""
    if len(recorded) <= moments:
        return list(recorded)
    last = len(recorded) - 1
    return [recorded[round(i * last / (moments - 1))] for i in range(moments)]


def _score(
    run: Run,
    model: torch.nn.Module,
    train: Any,
    test: Any,
    method: str,
    epochs: Sequence[int],
    progress: bool,
    settings: dict[str, Any],
) -> str:
    group = f"scores/{settings.get('name') or method}"
    before = set(run.epochs(group).tolist()) if group in run else set()
    # also where all is there: scores of other settings are refused, not taken for these
    scores = attribute(
        run,
        model,
        train,
        test,
        method=method,
        # none, so that a run without checkpoints is refused in `attribute`'s own words
        epochs=epochs or None,
        progress=progress and not set(epochs) <= before,
        **settings,
    )
    added = set(scores["epoch"].values.tolist()) - before
    if not added:
        return THERE
    return f"{len(added)} {run.time_unit}{'s' if len(added) > 1 else ''} scored"


def _project(run: Run, layer: str) -> str:
    group = f"projections/{layer}"
    # a training that went on has features that the picture lacks
    if group in run and np.array_equal(run.epochs(group), run.epochs(f"features/{layer}")):
        return THERE
    add_projections(run, layer)
    return "added"


def _find_transitions(run: Run) -> str:
    if "transitions" in run:
        there, now = run["transitions"].load(), find_transitions(run)
        asked_for = there.attrs.get("settings") != now.attrs["settings"]
        if asked_for or there.equals(now):
            return THERE
    add_transitions(run)
    return "added"


def _map(run: Run) -> str:
    group, source = ANALYSES["train"], "dynamics/train"
    if (
        group in run
        and source in run
        and run[group].attrs["n_epochs"] == run.sizes(source)["epoch"]
    ):
        return THERE
    add_cartography(run)
    return "added"
