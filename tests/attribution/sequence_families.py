"""Model families that read sequences or tokens; registered beside those of `model_families`."""

import torch
import torch.nn.functional as F
from model_families import C, D, T, V, family
from torch import nn


@family("tokens")
class BagOfWords(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(V, 8, padding_idx=0, sparse=True), nn.Linear(8, C)

    def forward(self, tokens):
        return self.head(torch.tanh(self.embed(tokens)).mean(1))


@family("tokens")
class EmbeddingBags(nn.Module):
    def __init__(self):
        super().__init__()
        self.bag, self.sum = nn.EmbeddingBag(V, 8, padding_idx=0), nn.EmbeddingBag(V, 8, mode="sum")
        self.head = nn.Linear(8, C)

    def forward(self, tokens):
        flat, starts = tokens.flatten(), torch.arange(0, tokens.numel(), tokens.shape[1])
        return self.head(torch.tanh(self.bag(tokens)) + self.sum(flat, starts))


@family("tokens")
class IndexedTable(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.bias = nn.Parameter(torch.randn(V, 8)), nn.Parameter(torch.randn(V))
        self.head = nn.Linear(8, C)

    def forward(self, tokens):
        z = self.table[tokens - 3] * self.bias[tokens][..., None]
        return self.head(torch.tanh(z).sum(1))


@family("tokens")
class TextConvolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.conv = nn.Embedding(V, 8), nn.Conv1d(8, 6, 3, padding=1, dilation=1)
        self.norm, self.head = nn.BatchNorm1d(6), nn.Linear(6, C)

    def forward(self, tokens):
        return self.head(F.relu(self.norm(self.conv(self.embed(tokens).mT))).amax(2))


def _recurrent(kind, **settings):
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.cell = nn.Embedding(V, D), kind(D, 4, **settings)
            self.head = nn.Linear(8 if settings.get("bidirectional") else 4, C)

        def forward(self, tokens):
            x = self.embed(tokens)
            x = x if settings.get("batch_first") else x.transpose(0, 1)
            out = self.cell(x)[0]
            return self.head(out.mean(1 if settings.get("batch_first") else 0))

    return Recurrent


@family("tokens")
def long_short_term():
    return _recurrent(nn.LSTM, batch_first=True, num_layers=2)()


@family("tokens")
def gated_both_ways():
    return _recurrent(nn.GRU, bidirectional=True)()


@family("tokens")
def plain_recurrence():
    return _recurrent(nn.RNN, batch_first=True)()


@family("tokens")
class CellByCell(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.cell, self.head = nn.Embedding(V, D), nn.GRUCell(D, 4), nn.Linear(4, C)

    def forward(self, tokens):
        state = torch.zeros(len(tokens), 4, dtype=self.head.weight.dtype)
        for t in range(tokens.shape[1]):
            state = self.cell(self.embed(tokens[:, t]), state)
        return self.head(state)


@family("sequences")
class SequenceFirst(nn.Module):
    """torch's default layout of a TransformerEncoder."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(D, 2, 8, dropout=0.0)
        self.encoder, self.head = nn.TransformerEncoder(layer, 2), nn.Linear(D, C)

    def forward(self, x):
        return self.head(self.encoder(x.transpose(0, 1)).mean(0))


@family("tokens")
class WithPadding(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.place = nn.Embedding(V, 8), nn.Embedding(16, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 8, dropout=0.0, batch_first=True, norm_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 1), nn.Linear(8, C)

    def forward(self, tokens):
        padding = tokens == 0
        padding[:, 0] = False
        x = self.embed(tokens) + self.place(torch.arange(tokens.shape[1])[None])
        x = self.encoder(x, src_key_padding_mask=padding)
        return self.head((x * ~padding[..., None]).sum(1))


@family("tokens")
class Grokking(nn.Module):
    """The one-layer transformer of grokking papers: raw weights, one per head, by einsum."""

    def __init__(self):
        super().__init__()
        self.embed, self.position = nn.Embedding(V, 8), nn.Parameter(torch.randn(T + 3, 8))
        for name in "qkv":
            setattr(self, name, nn.Parameter(torch.randn(2, 4, 8) * 0.4))
        self.o, self.inner = nn.Parameter(torch.randn(8, 8) * 0.4), nn.Parameter(torch.randn(16, 8))
        self.inner_bias, self.outer = (
            nn.Parameter(torch.zeros(16)),
            nn.Parameter(torch.randn(8, 16)),
        )
        self.unembed = nn.Parameter(torch.randn(8, C))

    def forward(self, tokens):
        x = self.embed(tokens) + self.position[: tokens.shape[1]]
        q, k, v = (torch.einsum("hdm,npm->nhpd", w, x) for w in (self.q, self.k, self.v))
        z = (q @ k.mT / 2).softmax(-1) @ v
        x = x + torch.einsum("df,npf->npd", self.o, z.transpose(1, 2).flatten(2))
        hidden = torch.relu(torch.einsum("md,npd->npm", self.inner, x) + self.inner_bias)
        x = x + torch.einsum("dm,npm->npd", self.outer, hidden)
        return x[:, -1] @ self.unembed


@family("tokens")
class Llama(nn.Module):
    """Root-mean-square norms, rotary positions, grouped queries, gated layers, tied head."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(V, 8)
        self.norms = nn.ParameterList(nn.Parameter(torch.rand(8) + 0.5) for _ in range(3))
        self.q, self.kv = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)
        self.gate, self.up, self.down = (nn.Linear(8, 8, bias=False) for _ in range(3))

    def norm(self, x, i):
        return self.norms[i] * x * (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt()

    def forward(self, tokens):
        n, t = tokens.shape
        x = self.embed(tokens)
        z = self.norm(x, 0)
        q = self.q(z).reshape(n, t, 2, 4).transpose(1, 2)
        k, v = self.kv(z).reshape(n, t, 2, 1, 4).permute(2, 0, 3, 1, 4)
        turn = torch.arange(t, dtype=x.dtype)[:, None] * torch.tensor([1.0, 0.3], dtype=x.dtype)

        def rotate(y):
            a, b = y.chunk(2, -1)
            return torch.cat([a * turn.cos() - b * turn.sin(), a * turn.sin() + b * turn.cos()], -1)

        z = F.scaled_dot_product_attention(
            rotate(q), rotate(k).expand(-1, 2, -1, -1), v.expand(-1, 2, -1, -1), is_causal=True
        )
        x = x + z.transpose(1, 2).flatten(2)
        z = self.norm(x, 1)
        x = x + self.down(F.silu(self.gate(z)) * self.up(z))
        return F.linear(self.norm(x, 2)[:, -1], self.embed.weight)[:, :C]


@family("sequences")
class TokenExperts(nn.Module):
    """Each token goes to one of three experts."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(D, D), nn.Linear(D, C)
        self.experts = nn.ModuleList(nn.Linear(D, D) for _ in range(3))

    def forward(self, x):
        n, t, d = x.shape
        x = torch.tanh(self.inner(x)).reshape(n * t, d)
        chosen, out = x[:, :3].argmax(1), torch.zeros_like(x)
        for e, expert in enumerate(self.experts):
            at = (chosen == e).nonzero()[:, 0]
            out = out.index_add(0, at, expert(x[at])) if len(at) else out
        return self.head(torch.tanh(out).reshape(n, t, d).mean(1))


@family("sequences")
class SortedExperts(nn.Module):
    """Tokens are sorted by expert, so that rows keep their number and lose their order."""

    def __init__(self):
        super().__init__()
        self.router, self.shared = nn.Linear(D, 2), nn.Linear(D, D)
        self.experts, self.head = nn.Parameter(torch.randn(2, D, D)), nn.Linear(D, C)

    def forward(self, x):
        n, t, d = x.shape
        x = x.reshape(n * t, d)
        gate = self.router(x).softmax(-1)
        chosen = gate.argmax(-1)
        order = chosen.argsort(stable=True)
        parts = [x[order][chosen[order] == e] @ self.experts[e] for e in range(2)]
        z = torch.tanh(self.shared(torch.cat(parts)))
        z = torch.zeros_like(z).index_copy(0, order, z) * gate.amax(-1, keepdim=True)
        return self.head(z.reshape(n, t, d).mean(1))


@family("sequences")
class LearnedQueries(nn.Module):
    """A set read by learned queries through attention with other widths for keys and values."""

    def __init__(self):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(2, 8))
        self.attend = nn.MultiheadAttention(8, 2, kdim=D, vdim=D, batch_first=True)
        self.head = nn.Linear(8, C)

    def forward(self, x):
        asked = self.queries[None].repeat(len(x), 1, 1)
        return self.head(self.attend(asked, x, x)[0].mean(1))


@family("sequences")
class EncoderDecoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.both = nn.Transformer(D, 2, 1, 1, 8, dropout=0.0)
        self.start, self.head = nn.Parameter(torch.randn(2, 1, D)), nn.Linear(D, C)

    def forward(self, x):
        start = self.start.expand(-1, len(x), -1)
        return self.head(self.both(x.transpose(0, 1), start)[-1])


@family("sequences")
class StateSpace(nn.Module):
    """A diagonal recurrence with complex states, from real parameters."""

    def __init__(self):
        super().__init__()
        self.decay, self.angle = nn.Parameter(torch.rand(4)), nn.Parameter(torch.rand(4))
        self.enter, self.leave = nn.Linear(D, 4), nn.Linear(4, C)

    def forward(self, x):
        pole = torch.exp(torch.complex(-F.softplus(self.decay), self.angle))
        u, state = self.enter(x), torch.zeros(len(x), 4, dtype=pole.dtype)
        for t in range(x.shape[1]):
            state = state * pole + u[:, t]
        return self.leave(state.real + state.imag)


@family("sequences")
class GraphNetwork(nn.Module):
    """Nodes of a small graph that pass messages, with edges that depend on the example."""

    def __init__(self):
        super().__init__()
        self.message, self.own = nn.Linear(D, 8), nn.Linear(D, 8, bias=False)
        self.edge, self.head = nn.Parameter(torch.tensor(0.3)), nn.Linear(8, C)

    def forward(self, x):
        edges = ((x @ x.mT) > 0).to(x.dtype) * self.edge
        return self.head(torch.relu(edges @ self.message(x) + self.own(x)).sum(1))


@family("sequences")
class SetFunction(nn.Module):
    """Examples and elements merged, elements slowest: neither examples first nor last inside."""

    def __init__(self):
        super().__init__()
        self.element, self.pair, self.head = nn.Linear(D, 8), nn.Linear(16, 8), nn.Linear(8, C)

    def forward(self, x):
        z = torch.tanh(self.element(x.transpose(0, 1)))  # (element, example, unit)
        t, n, d = z.shape
        both = torch.cat(
            [z[:, :, None].expand(t, n, 2, d), z.flip(0)[:, :, None].expand(t, n, 2, d)], -1
        )
        return self.head(
            torch.relu(self.pair(both.reshape(t * n * 2, 2 * d))).reshape(t, n, 2, -1).mean((0, 2))
        )
