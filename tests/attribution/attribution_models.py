"""Small models and data that the attribution tests share."""

import torch
from torch import nn
from torch.utils.data import TensorDataset


def mlp(seed=0, *, hidden=12, inputs=6, classes=4, dtype=torch.float64):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, classes)).to(dtype)


def normed(seed=0):
    """Dropout and batch norm with running statistics that are not the initial ones."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(6, 12),
        nn.BatchNorm1d(12),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Linear(12, 4),
    )
    model.train()
    model(torch.randn(64, 6))
    return model


def examples(n, seed=0, *, inputs=6, classes=4, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, inputs, generator=generator, dtype=dtype)
    y = torch.randint(0, classes, (n,), generator=generator)
    return TensorDataset(x, y)


class TinyTransformer(nn.Module):
    """Raw positional parameter, fused attention, a layer used twice, optionally tied weights."""

    def __init__(self, seed=0, *, tied=False, vocabulary=11, width=8):
        torch.manual_seed(seed)
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(torch.randn(3, width))
        self.block = nn.TransformerEncoderLayer(width, 2, 16, batch_first=True)
        self.twice = nn.Linear(width, width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, tokens):
        hidden = self.block(self.twice(self.embed(tokens) + self.position))
        return self.head((hidden + self.twice(hidden))[:, -1])
