"""`Drawn`: which examples a loader draws, batch by batch, where its batches do not say."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import numpy as np
import torch

from ...checkpoints.random_state import untouched_rng
from ...data.ids import ids_of, yields_ids
from ...data.served import Served
from ...errors import DGExplorerError, SettingError
from ..targets import same_labels


class Drawn:
    """Notes what a loader's batch sampler yields, in order, and changes nothing in it.

    Trainers drop the columns that a model does not take, ids among them, and fetch batches before
    they are trained on. What the sampler draws are the examples that come, in their order.

    Parameters
    ----------
    loader : DataLoader
    train : data, optional
        Whose ids the examples have where the loader's own dataset has none: those at the same
        places.
    skip : int
        Batches drawn and not trained on at first: those of a resumed epoch.

    Raises
    ------
    SettingError
        The loader does not draw batches of places, or its dataset is not as long as `train`.
    """

    def __init__(self, loader, train=None, *, skip: int = 0):
        self.ids = _ids(loader, train)
        self._loader = loader
        self._skip = skip
        self._waiting: deque[np.ndarray] = deque()
        self._sampler = getattr(loader, "batch_sampler", None)
        if self._sampler is None:
            raise SettingError(
                "replay=True needs to know what is in a batch, and this loader draws no batches of "
                "places in a dataset (batch_size=None, or a stream). Train on a map-style dataset."
            )
        self._kind = kind = type(self._sampler)

        def watched(sampler):
            self._waiting.clear()  # an epoch that was left before its end
            skip, self._skip = self._skip, 0
            for k, places in enumerate(kind.__iter__(sampler)):
                if k >= skip:
                    self._waiting.append(self.ids[np.asarray(places, dtype=np.int64)])
                yield places

        # `iter` looks at the class, and the loader keeps this very sampler
        name = {"__iter__": watched, "__module__": kind.__module__, "__doc__": kind.__doc__}
        try:
            self._sampler.__class__ = type(kind.__name__, (kind,), name)
        except TypeError as error:
            raise SettingError(
                f"replay=True needs to know what is in a batch, and the batches that a "
                f"{kind.__name__} draws cannot be watched. Use torch's BatchSampler."
            ) from error

    def check(self, served: Served | None, several: int = 8) -> None:
        """Compare labels of the loader's dataset with those of the examples at the same places.

        Raises
        ------
        SettingError
            They differ: other examples, in another order, or cut or masked in another way.
        """
        dataset = getattr(self._loader, "dataset", None)
        if served is None or dataset is None:
            return
        with untouched_rng():
            for place in np.unique(np.linspace(0, len(self.ids) - 1, several).astype(int)):
                row = dataset[int(place)]
                row = row[0] if isinstance(row, tuple) and row else row
                labels = row.get("labels") if isinstance(row, Mapping) else None
                if labels is None:
                    return
                (batch, *_) = served.subset(self.ids[[place]])
                trained = torch.as_tensor(labels)[None]
                own = batch.labels
                if torch.is_tensor(own) and not same_labels(trained, own):
                    raise SettingError(
                        f"replay=True takes examples by their places, and example {place} of the "
                        f"trainer's dataset has other labels than that of train= "
                        f"({brief(trained)} and {brief(own)}). Give the callback the very "
                        f"examples that are trained on, as the trainer prepared them "
                        f"(trainer.train_dataset)."
                    )

    def next(self) -> np.ndarray | None:
        """The ids of the batch that is trained on next; None where the loader drew none."""
        return self._waiting.popleft() if self._waiting else None

    def close(self) -> None:
        """Leave the sampler as it was."""
        self._sampler.__class__ = self._kind


def brief(labels: torch.Tensor, most: int = 8) -> str:
    """The first labels of an example."""
    shown = labels.reshape(-1)[:most].tolist()
    return f"[{', '.join(map(str, shown))}{', ...' if labels.numel() > most else ''}]"


def _ids(loader, train) -> np.ndarray:
    """The id of the example at each place of the loader's dataset."""
    dataset = getattr(loader, "dataset", None)
    try:
        own = ids_of(dataset)
    except DGExplorerError as error:
        raise SettingError(f"replay=True needs to know what is in a batch. {error}") from error
    if yields_ids(dataset) or train is None:
        return own
    given = ids_of(getattr(train, "dataset", train))
    if len(given) != len(own):
        raise SettingError(
            f"replay=True takes examples by their places: the trainer's dataset has {len(own)}, "
            f"and train= has {len(given)}. Give the callback the examples that are trained on."
        )
    return given
