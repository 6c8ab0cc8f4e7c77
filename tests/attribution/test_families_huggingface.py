"""Per-example gradients of Hugging Face models, against a float64 loop, at several lengths."""

import copy

import pytest
import torch
from huggingface_families import HUGGING_FACE, rows
from torch.utils.data import Dataset, default_collate

from dg_explorer.attribution import GradientDotAttributor
from dg_explorer.tasks import margin

pytest.importorskip("transformers")
N_TRAIN, N_TEST = 9, 4


class Rows(Dataset):
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


def values(kind, model, row):
    """Output and loss of one row, by their definitions."""
    batch = default_collate([row])
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    labels = batch["labels"]
    if kind == "language_modeling":
        logits, labels = logits[:, :-1], labels[:, 1:]
        counted = labels != -100
        logits, labels = logits[counted], labels[counted]
    return margin(logits, labels).sum(), torch.nn.functional.cross_entropy(
        logits, labels, reduction="sum"
    )


def gradients(kind, model, items, which):
    parameters = list(model.parameters())
    each = [
        torch.autograd.grad(values(kind, model, row)[which], parameters, allow_unused=True)
        for row in items
    ]
    filled = [
        [torch.zeros_like(p) if g is None else g for g, p in zip(found, parameters)]
        for found in each
    ]
    return torch.stack([torch.cat([g.flatten() for g in found]) for found in filled])


cases = [
    (name, 6)
    if (name, length) == ("bert", 6)
    else pytest.param(name, length, marks=pytest.mark.second_ring(sample=3))
    for name in HUGGING_FACE
    for length in (5, 6, 8)
]


@pytest.mark.parametrize(("name", "length"), cases)
def test_scores_of_hugging_face_models_are_those_of_a_loop(name, length):
    kind, build = HUGGING_FACE[name]
    torch.manual_seed(0)
    model = build().eval()
    train, test = rows(kind, N_TRAIN, length, 1), rows(kind, N_TEST, 13 - length, 2)
    plain = copy.deepcopy(model).double()
    right = -gradients(kind, plain, test, 0) @ gradients(kind, plain, train, 1).T
    for size in (1, 7, N_TRAIN):
        attributor = GradientDotAttributor(model, task=kind, batch_size=size)
        found = attributor.attribute(Rows(train), Rows(test))
        off = float((found - right).norm() / right.norm())
        assert off < 1e-4, f"{off:.1e} in batches of {size}"
