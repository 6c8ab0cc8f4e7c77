"""The models that the benchmarks run on, untrained or nearly so, and data to feed them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

P = 97


class GrokkingTransformer(nn.Module):
    """One layer for a + b mod p: width 128, 4 heads, MLP 512; reads its last token."""

    def __init__(self, p=P, width=128, heads=4, hidden=512):
        super().__init__()
        self.embed, self.position = nn.Embedding(p + 1, width), nn.Embedding(3, width)
        self.query, self.key, self.value, self.out = (
            nn.Linear(width, width, bias=False) for _ in range(4)
        )
        self.rise, self.fall = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.head = nn.Linear(width, p, bias=False)
        self.heads = heads

    def forward(self, tokens):
        places = torch.arange(3, device=tokens.device).expand(len(tokens), 3)
        x = self.embed(tokens) + self.position(places)
        q, k, v = (
            f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for f in (self.query, self.key, self.value)
        )
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        x = x + self.fall(F.relu(self.rise(x)))
        return self.head(x[:, -1])


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.short = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.short = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x):
        y = self.norm2(self.second(F.relu(self.norm1(self.first(x)))))
        return F.relu(y + self.short(x))


def resnet18(classes=10):
    """ResNet-18 for images of 32 x 32 (no first pooling)."""
    plan = [(64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1)]
    layers, width = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()], 64
    for outputs, stride in plan:
        layers.append(Block(width, outputs, stride))
        width = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes))


class GPTBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.rise, self.fall = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.heads = heads

    def forward(self, x):
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.mix(self.norm1(x)).chunk(3, -1)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).flatten(2))
        return x + self.fall(F.gelu(self.rise(self.norm2(x))))


class SmallGPT(nn.Module):
    """Four layers of width 256, 4 million parameters, sequences of up to 128 tokens."""

    def __init__(self, vocabulary=1500, width=256, depth=4, heads=4, length=128):
        super().__init__()
        self.embed, self.position = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*(GPTBlock(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens):
        places = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
        return self.head(self.norm(self.blocks(self.embed(tokens) + self.position(places))))


def modular_data(n: int, seed: int = 0, p: int = P) -> torch.utils.data.TensorDataset:
    """n different sums a + b mod p as tokens (a, b, =)."""
    pairs = torch.cartesian_prod(torch.arange(p), torch.arange(p))
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed))[:n]
    tokens = torch.cat([pairs[order], torch.full((len(order), 1), p)], 1)
    return torch.utils.data.TensorDataset(tokens, pairs[order].sum(1) % p)


def image_data(n: int, seed: int = 0, classes: int = 10) -> torch.utils.data.TensorDataset:
    """Noise around one pattern a class: images that a few steps of training can tell apart."""
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.randn(classes, 3, 8, 8, generator=torch.Generator().manual_seed(99))
    labels = torch.randint(0, classes, (n,), generator=generator)
    images = F.interpolate(patterns[labels], size=(32, 32), mode="bilinear")
    return torch.utils.data.TensorDataset(
        images + 0.7 * torch.randn(n, 3, 32, 32, generator=generator), labels
    )


def text_data(n: int, seed: int = 0, vocabulary: int = 1500, length: int = 128):
    """Sequences from a random Markov chain: (tokens, next tokens)."""
    generator = torch.Generator().manual_seed(seed)
    nexts = torch.randint(
        0, vocabulary, (vocabulary, 8), generator=torch.Generator().manual_seed(9)
    )
    tokens = [torch.randint(0, vocabulary, (n,), generator=generator)]
    for _ in range(length):
        tokens.append(nexts[tokens[-1], torch.randint(0, 8, (n,), generator=generator)])
    sequence = torch.stack(tokens, 1)
    return torch.utils.data.TensorDataset(sequence[:, :-1], sequence[:, 1:])


def trained(model: nn.Module, data, task, steps: int, batch: int = 64, lr: float = 1e-3):
    """A few steps of AdamW, so that gradients are not those of a random network."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.1)
    generator = torch.Generator().manual_seed(0)
    model.train()
    for _ in range(steps):
        chosen = torch.randint(0, len(data), (batch,), generator=generator)
        part = tuple(t[chosen] for t in data.tensors)
        loss = task.loss(task.predict(model, part), part).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval().requires_grad_(True)
