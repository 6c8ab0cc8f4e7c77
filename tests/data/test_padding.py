"""Padding in the means of features: positions that are padded count for nothing."""

import numpy as np
import pytest
import torch
from torch import nn

from dg_explorer.data.batch import Batch
from dg_explorer.data.evaluation import LayerOutputs
from dg_explorer.data.forward import evaluating

LENGTHS = (5, 2, 4, 3)


class Encoder(nn.Module):
    """It is told lengths, and only its attention layers see a mask of them."""

    def __init__(self, added: bool = False):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)
        self.layers, self.head, self.added = nn.TransformerEncoder(layer, 2), nn.Linear(8, 3), added

    def forward(self, x, n):
        pad = torch.arange(x.shape[1]) >= n[:, None]
        mask = torch.zeros(pad.shape).masked_fill(pad, -torch.inf) if self.added else pad
        h = self.layers(x, src_key_padding_mask=mask)
        return self.head((h * ~pad[..., None]).sum(1) / n[:, None])


class Translator(nn.Module):
    """Two sequences of the same padded length, each with a mask of its own."""

    def __init__(self):
        super().__init__()
        self.both = nn.Transformer(8, 2, 1, 1, 16, 0.0, batch_first=True)

    def forward(self, x, y, n, m):
        source, target = (torch.arange(x.shape[1]) >= k[:, None] for k in (n, m))
        return self.both(
            x,
            y,
            src_key_padding_mask=source,
            tgt_key_padding_mask=target,
            memory_key_padding_mask=source,
        )


def means(model, layers, *inputs):
    """Features of a batch, by layer."""
    modules = {name: model.get_submodule(name) for name in layers}
    batch = Batch(inputs, {}, None, np.arange(len(inputs[0])), inputs)
    with evaluating(model), torch.no_grad():
        return LayerOutputs(modules)(model, batch)[1]


@pytest.mark.parametrize("added", [False, True], ids=["true at padding", "minus infinity"])
def test_the_mask_that_attention_is_called_with_counts_under_any_name(added):
    torch.manual_seed(0)
    model, x, n = Encoder(added), torch.randn(4, 5, 8), torch.tensor(LENGTHS)
    layers = ["layers.layers.0", "layers.layers.1.linear2"]
    together = means(model, layers, x, n)
    for i, length in enumerate(LENGTHS):
        alone = means(model, layers, x[[i], :length], n[[i]])
        for layer in layers:
            torch.testing.assert_close(together[layer][[i]], alone[layer])


def test_each_of_two_sequences_counts_by_its_own_mask():
    torch.manual_seed(0)
    model, x, y = Translator(), torch.randn(4, 5, 8), torch.randn(4, 5, 8)
    n, m = torch.tensor(LENGTHS), torch.tensor(LENGTHS[::-1])
    layers = ["both.encoder.layers.0", "both.decoder.layers.0"]
    together = means(model, layers, x, y, n, m)
    with evaluating(model), torch.no_grad():
        pad = torch.arange(5) >= n[:, None]
        source = model.both.encoder(x, src_key_padding_mask=pad)
        answers = model(x, y, n, m)
    for i in range(4):
        seen = model.both.encoder.layers[0](x[[i], : n[i]]).mean(1)
        torch.testing.assert_close(together[layers[0]][[i]], seen)
        said = model.both.decoder.layers[0](y[[i], : m[i]], source[[i], : n[i]]).mean(1)
        torch.testing.assert_close(together[layers[1]][[i]], said)
    assert answers.shape == (4, 5, 8)
