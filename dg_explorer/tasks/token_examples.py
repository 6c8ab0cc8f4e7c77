"""Language modelling token by token: each token to predict is an example of its own."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from ..data.ids import ids_of, yields_ids
from ..errors import DataError

IGNORE = -100


class EachToken:
    """A dataset with the tokens of another's sequences as its examples.

    An item is the whole sequence with every target ignored but one, so that any attributor
    with `task="language_modeling"` attributes that token: its margin given the tokens before it.
    Padding, what is predicted from padding, and targets of -100 are no examples.

    Parameters
    ----------
    dataset : map-style dataset
        Items as `LanguageModelingTask` knows them: a mapping with `input_ids` (Hugging Face:
        `labels` and `attention_mask` are respected), a pair (tokens, aligned targets), or tokens
        alone.

    Attributes
    ----------
    sequence : int64, shape (token,)
        Id of the sequence that a token belongs to.
    position : int64, shape (token,)
        Position of the token in it.
    token : int64, shape (token,)
        The token to predict.
    """

    def __init__(self, dataset):
        self.dataset = dataset
        self._strip = yields_ids(dataset)
        ids = ids_of(dataset)
        rows, positions, tokens = [], [], []
        for row in range(len(dataset)):
            target, first = self._target(self._item(row))
            found = np.flatnonzero(target.numpy() != IGNORE)
            found = found[found >= first]
            rows += [row] * len(found)
            positions += (found + 1 - first).tolist()
            tokens += target[found].tolist()
        if not rows:
            raise DataError("There is no token to predict: every target is padding or -100.")
        self._row = np.array(rows, dtype=np.int64)
        self.sequence = ids[self._row]
        self.position = np.array(positions, dtype=np.int64)
        self.token = np.array(tokens, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._row)

    def __getitem__(self, index):
        item = self._item(int(self._row[index]))
        target, first = self._target(item)
        place = int(self.position[index]) - 1 + first
        alone = torch.full_like(target, IGNORE)
        alone[place] = target[place]
        if isinstance(item, Mapping):
            return {**item, "labels": alone}
        tokens = item[0] if isinstance(item, (tuple, list)) else item
        return tokens, alone

    def table(self) -> dict[str, np.ndarray]:
        """Columns for `Run.create(test_examples=...)`: the token as label, where it stands."""
        return {"label": self.token, "sequence": self.sequence, "position": self.position}

    def _item(self, row: int):
        item = self.dataset[row]
        if self._strip:
            item = item[:-1]
            item = item[0] if len(item) == 1 else item
        return item

    @staticmethod
    def _target(item) -> tuple[torch.Tensor, int]:
        """Targets of one sequence, and the first place that has a token before it.

        With aligned targets that is 0: place t holds the token that follows position t.
        """
        if isinstance(item, Mapping):
            target = torch.as_tensor(item.get("labels", item["input_ids"])).clone()
            mask = item.get("attention_mask")
            if mask is not None:
                hidden = torch.as_tensor(mask) == 0
                hidden[1:] |= hidden[:-1].clone()  # nor what only padding stands before
                target[hidden] = IGNORE
            return target, 1
        entries = list(item) if isinstance(item, (tuple, list)) else [item]
        if len(entries) >= 2:
            return torch.as_tensor(entries[1]), 0
        tokens = torch.as_tensor(entries[0])
        return torch.cat([tokens[1:], torch.full_like(tokens[:1], IGNORE)]), 0
