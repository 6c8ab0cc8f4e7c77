"""A copy of a model to load other weights into."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from ..errors import SettingError


def copied(model: nn.Module) -> nn.Module:
    """A copy of a model, also of one that keeps results of its last pass as attributes.

    torch copies no tensor that has a graph; the copy gets the numbers without it.
    """
    if not isinstance(model, nn.Module):
        raise SettingError(f"model must be a torch module, not {type(model).__name__}.")
    memo: dict[int, object] = {}
    for module in model.modules():
        for value in tree_leaves(dict(vars(module))):
            if torch.is_tensor(value) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    return copy.deepcopy(model, memo)
