"""What a job is to do, and how its results travel: as plain arrays and names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import xarray as xr

from ...training.training import Training

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Asked:
    """Which models a job trains; see `train_again`.

    Attributes
    ----------
    weights : float32 array, shape (retraining, train)
        0 leaves an example out.
    starts : int array, shape (retraining,)
        Seed of each; -1 is the start and the order of the training itself.
    why : list of str
        "random", "asked" or "whole" (nothing is left out).
    models_at_once : int
        Rows come back in groups of this size.
    """

    weights: np.ndarray
    starts: np.ndarray
    why: list[str]
    models_at_once: int = 8

    steps_itself: ClassVar[bool] = False  # whether the recorded model's own modules are needed

    def __len__(self) -> int:
        return len(self.weights)

    def results(self, training: Training, on_moment: Progress) -> Iterator[xr.Dataset]:
        """Finished retrainings, group by group; `on_moment` is told how many are done."""
        from ..retrainings.again import train_again

        return train_again(
            training,
            self.weights,
            self.starts,
            why=self.why,
            models_at_once=self.models_at_once,
            on_moment=on_moment,
        )


@dataclass(frozen=True)
class AskedSmoothness:
    """Whether small changes of the data have small effects; see `metasmoothness`."""

    directions: int = 2

    steps_itself: ClassVar[bool] = False

    def __len__(self) -> int:
        return 1 + 2 * self.directions

    def results(self, training: Training, on_moment: Progress) -> Iterator[xr.Dataset]:
        """Metasmoothness over the recorded epochs, once."""
        from ..smoothness import metasmoothness

        def along(share: float) -> None:
            on_moment(share * len(self))

        yield metasmoothness(training=training, directions=self.directions, progress=along)


@dataclass(frozen=True)
class AskedExact:
    """Exact scores of all examples at some epochs; see `UnrolledAttributor`.

    Attributes
    ----------
    epochs : as the record calls them
    n_train : how many training examples are scored
    keep : file for an unfinished film, with which the same job goes on
    """

    epochs: list[int]
    n_train: int
    keep: str | None = None

    steps_itself: ClassVar[bool] = True

    def __len__(self) -> int:
        return self.n_train

    def results(self, training: Training, on_moment: Progress) -> Iterator[xr.Dataset]:
        """The scores, once; their attributes say how far the replay was proved."""
        from ...attribution.unrolled.attributor import UnrolledAttributor

        def along(done: int, total: int) -> None:
            on_moment(done / max(total, 1) * len(self))

        attributor = UnrolledAttributor(training)
        yield attributor.attribute(epochs=self.epochs, progress=along, keep=self.keep)


Work = Asked | AskedSmoothness | AskedExact


def as_arrays(found: xr.Dataset) -> tuple[dict, dict[str, np.ndarray]]:
    """A dataset as plain values and arrays without objects, which `as_dataset` takes."""
    arrays = {str(name): found[name].values for name in found.variables}
    words = [name for name, array in arrays.items() if array.dtype.kind in "OT"]
    head = {
        "attrs": dict(found.attrs),
        "dims": {str(name): list(found[name].dims) for name in found.variables},
        "coords": [str(name) for name in found.coords],
        "words": words,
    }
    return head, {n: a.astype(str) if n in words else a for n, a in arrays.items()}


def as_dataset(head: dict, arrays: dict[str, np.ndarray]) -> xr.Dataset:
    """The dataset that `as_arrays` was given."""
    values = {
        name: (dims, arrays[name].astype(object) if name in head["words"] else arrays[name])
        for name, dims in head["dims"].items()
    }
    return xr.Dataset(values, attrs=head["attrs"]).set_coords(head["coords"])
