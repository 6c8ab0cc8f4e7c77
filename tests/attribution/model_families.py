"""Model families of many fields, as small as they come, to take per-example gradients of.

Each entry of `FAMILIES` is (kind of data, function that builds the model). All give logits of
three classes.
"""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

D, T, V, C = 6, 5, 11, 3  # features, positions, vocabulary, classes


def rows(kind: str, n: int, seed: int):
    """Inputs and labels of n examples."""
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(0, C, (n,), generator=g)
    if kind == "tokens":
        return torch.randint(0, V, (n, T), generator=g), y
    if kind == "short tokens":
        return torch.randint(0, V, (n, 3), generator=g), y
    shape = {"vectors": (D,), "images": (2, 8, 8), "sequences": (T, D), "volumes": (2, 4, 4, 4)}
    return torch.randn(n, *shape[kind], generator=g), y


FAMILIES = {}


def family(kind):
    """Register a builder, or a module class, under its name."""

    def register(build):
        FAMILIES[build.__name__.strip("_")] = (kind, build)
        return build

    return register


def mlp(*middle):
    return nn.Sequential(nn.Linear(D, 8), *middle, nn.Linear(8, C))


# ------------------------------------------------------------------- vectors


@family("vectors")
def softmax_regression():
    return nn.Linear(D, C)


@family("vectors")
def perceptron():
    return mlp(nn.Tanh())


@family("vectors")
def relu_in_place():
    return mlp(nn.ReLU(inplace=True), nn.Linear(8, 8), nn.ReLU(inplace=True))


@family("vectors")
def layer_normalised():
    return mlp(nn.LayerNorm(8), nn.GELU(), nn.Dropout(0.5))


@family("vectors")
def batch_normalised():
    model = mlp(nn.BatchNorm1d(8), nn.Tanh())
    model[1].running_mean.normal_()
    model[1].running_var.uniform_(0.5, 2)
    return model


@family("vectors")
def weight_normalised():
    norm = nn.utils.parametrizations.weight_norm
    return nn.Sequential(norm(nn.Linear(D, 8)), nn.Tanh(), norm(nn.Linear(8, C)))


@family("vectors")
def spectrally_normalised():
    return nn.Sequential(
        nn.utils.parametrizations.spectral_norm(nn.Linear(D, 8)), nn.Tanh(), nn.Linear(8, C)
    )


@family("vectors")
def learned_slopes():
    return mlp(nn.PReLU(8), nn.RMSNorm(8))


@family("vectors")
class BilinearForm(nn.Module):
    def __init__(self):
        super().__init__()
        self.form, self.head = nn.Bilinear(D, D, 4), nn.Linear(4, C)

    def forward(self, x):
        return self.head(torch.tanh(self.form(x, x.flip(1))))


@family("vectors")
class RawWeights(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Parameter(torch.randn(D, 8))
        self.shift = nn.Parameter(torch.randn(8))
        self.scale = nn.Parameter(torch.tensor(0.5))
        self.last = nn.ParameterList([nn.Parameter(torch.randn(C, 8)), nn.Parameter(torch.ones(C))])

    def forward(self, x):
        z = torch.tanh(x @ self.first - self.shift) * self.scale
        return z @ self.last[0].T / self.last[1]


@family("vectors")
class UsedTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.step, self.head = nn.Linear(D, D), nn.Linear(D, C)

    def forward(self, x):
        for _ in range(3):
            x = x + torch.tanh(self.step(x))
        return self.head(x)


@family("vectors")
class BehindTheBack(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Linear(D, D), nn.Linear(D, C)

    def forward(self, x):
        return self.head(F.linear(torch.tanh(self.layer(x)), self.layer.weight.T.contiguous()))


@family("vectors")
class LowRankBeside(nn.Module):
    def __init__(self):
        super().__init__()
        self.frozen, self.head = nn.Linear(D, 8), nn.Linear(8, C)
        self.frozen.requires_grad_(False)
        self.down, self.up = nn.Linear(D, 2, bias=False), nn.Linear(2, 8, bias=False)

    def forward(self, x):
        return self.head(torch.tanh(self.frozen(x) + 2 * self.up(self.down(x))))


@family("vectors")
class LowRankMerged(nn.Module):
    def __init__(self):
        super().__init__()
        self.base, self.head = nn.Linear(D, 8), nn.Linear(8, C)
        self.down = nn.Parameter(torch.randn(2, D))
        self.up = nn.Parameter(torch.randn(8, 2))

    def forward(self, x):
        weight = self.base.weight + 0.5 * self.up @ self.down
        return self.head(torch.tanh(F.linear(x, weight, self.base.bias)))


@family("vectors")
class SoftExperts(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(D, 4)
        self.experts = nn.Parameter(torch.randn(4, D, C))

    def forward(self, x):
        return torch.einsum("nd,edc,ne->nc", x, self.experts, self.gate(x).softmax(-1))


@family("vectors")
class HardExperts(nn.Module):
    """An example goes to one of three experts of equal shape."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(D, D)
        self.experts = nn.ModuleList(nn.Linear(D, C) for _ in range(3))

    def forward(self, x):
        x = torch.tanh(self.inner(x))
        out = x.new_zeros(len(x), C)
        for e, expert in enumerate(self.experts):
            mine = x[:, :3].argmax(1) == e
            if mine.any():
                out = out.index_put((mine,), expert(x[mine]))
        return out


@family("vectors")
class EarlyExit(nn.Module):
    """Only examples that are unsure go through the second half."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(D, 8), nn.Linear(8, 8), nn.Linear(8, C)

    def forward(self, x):
        z = torch.tanh(self.first(x))
        unsure = (self.head(z).detach().softmax(-1).amax(-1) < 0.45).nonzero()[:, 0]
        if len(unsure):
            z = z.index_put((unsure,), torch.tanh(self.second(z[unsure])))
        return self.head(z)


@family("vectors")
class HyperNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.make, self.head = nn.Linear(D, D * 4), nn.Linear(4, C)

    def forward(self, x):
        return self.head(torch.tanh(torch.bmm(x[:, None], self.make(x).view(-1, D, 4))[:, 0]))


@family("vectors")
class RadialBasis(nn.Module):
    def __init__(self):
        super().__init__()
        self.centres, self.width = nn.Parameter(torch.randn(7, D)), nn.Parameter(torch.ones(7))
        self.head = nn.Linear(7, C)

    def forward(self, x):
        far = (x[:, None] - self.centres).square().sum(-1)
        return self.head(torch.exp(-far * F.softplus(self.width)))


@family("vectors")
class Splines(nn.Module):
    """A Kolmogorov-Arnold layer: a learned function of each input."""

    def __init__(self):
        super().__init__()
        self.heights = nn.Parameter(torch.randn(D, 5, 4))
        self.head = nn.Linear(4, C)

    def forward(self, x):
        basis = torch.exp(-(x[..., None] - torch.linspace(-2, 2, 5, dtype=x.dtype)).square())
        return self.head(torch.einsum("ndk,dko->no", basis, self.heights))


@family("vectors")
class Distances(nn.Module):
    """An operation without a rule: distances to prototypes."""

    def __init__(self):
        super().__init__()
        self.prototypes = nn.Parameter(torch.randn(C, D))

    def forward(self, x):
        return -torch.cdist(x, self.prototypes)


class _Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return (x @ weight).pow(3)

    @staticmethod
    def backward(ctx, d):
        x, weight = ctx.saved_tensors
        d = d * 3 * (x @ weight).square()
        return d @ weight.T, x.T @ d


@family("vectors")
class OwnFunction(nn.Module):
    """A backward pass of its own, which neither a rule nor vmap can see into."""

    def __init__(self):
        super().__init__()
        self.weight, self.head = nn.Parameter(torch.randn(D, 4) * 0.3), nn.Linear(4, C)

    def forward(self, x):
        return self.head(torch.tanh(_Cube.apply(x, self.weight)))


@family("vectors")
class Spectral(nn.Module):
    """Complex weights between two Fourier transforms."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4, dtype=torch.cfloat) * 0.5)
        self.head = nn.Linear(D, C)

    def forward(self, x):
        return self.head(torch.fft.irfft(torch.fft.rfft(x) @ self.weight, n=D))


@family("vectors")
class Remembers(nn.Module):
    """Keeps its hidden layer as an attribute, graph and all."""

    def __init__(self):
        super().__init__()
        self.layer, self.head, self.unused = nn.Linear(D, 8), nn.Linear(8, C), nn.Linear(4, 4)
        self.register_buffer("never", torch.tensor(-torch.inf))

    def forward(self, x):
        self.last = torch.relu(self.layer(x))
        return self.head(self.last)


@family("vectors")
def compiled():
    return torch.compile(mlp(nn.Tanh()), backend="eager")


@family("vectors")
class Recomputed(nn.Module):
    """Gradient checkpointing of both kinds."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Linear(D, 8), nn.Linear(8, 8), nn.Linear(8, C)

        self.recompute = True

    def forward(self, x):
        if not self.recompute:
            return self.head(torch.tanh(self.b(torch.tanh(self.a(x)))))
        x = checkpoint(lambda z: torch.tanh(self.a(z)), x, use_reentrant=False)
        return self.head(checkpoint(lambda z: torch.tanh(self.b(z)), x, use_reentrant=True))


# ------------------------------------------------------------------- images


@family("images")
def convolutional():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3, padding="same", dilation=2, padding_mode="circular"), nn.ReLU(),
        nn.Conv2d(4, 6, 3, stride=2), nn.Flatten(), nn.Linear(6, C),
    )  # fmt: skip


@family("images")
def depthwise():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, groups=2), nn.GroupNorm(2, 4), nn.ReLU(), nn.Conv2d(4, 6, 1),
        nn.Conv2d(6, 6, 3, groups=6, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(6, C),
    )  # fmt: skip


@family("images")
def transposed():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2), nn.ReLU(),
        nn.ConvTranspose2d(4, 3, 3, stride=2, output_padding=1), nn.Tanh(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, C),
    )  # fmt: skip


@family("volumes")
def volumetric():
    return nn.Sequential(
        nn.Conv3d(2, 3, 2), nn.InstanceNorm3d(3, affine=True), nn.ReLU(), nn.Flatten(),
        nn.Linear(81, C),
    )  # fmt: skip


@family("images")
class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.branch = nn.Conv2d(4, 4, 3, padding=1)
        self.squeeze, self.excite = nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1)
        self.head = nn.Linear(4, C)

    def forward(self, x):
        x = F.relu(self.norm(self.stem(x)), inplace=True)
        z = self.branch(x)
        z = z * torch.sigmoid(self.excite(F.relu(self.squeeze(z.mean((2, 3), keepdim=True)))))
        return self.head((x + z).relu_().mean((2, 3)))


@family("images")
class ConvNext(nn.Module):
    """Channels last inside, and a learned scale of the branch."""

    def __init__(self):
        super().__init__()
        self.stem, self.depth = nn.Conv2d(2, 4, 2, 2), nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.norm, self.up, self.down = nn.LayerNorm(4), nn.Linear(4, 8), nn.Linear(8, 4)
        self.gamma, self.head = nn.Parameter(torch.full((4,), 0.5)), nn.Linear(4, C)

    def forward(self, x):
        x = self.stem(x)
        z = self.norm(self.depth(x).permute(0, 2, 3, 1))
        z = self.gamma * self.down(F.gelu(self.up(z)))
        return self.head((x + z.permute(0, 3, 1, 2)).mean((2, 3)))


@family("images")
class VisionTransformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(2, 8, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.position = nn.Parameter(torch.randn(1, 5, 8))
        self.block = nn.TransformerEncoderLayer(8, 2, 8, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, C)

    def forward(self, x):
        x = self.patch(x).flatten(2).mT
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.position
        return self.head(self.block(x)[:, 0])


@family("images")
class Windows(nn.Module):
    """Attention in windows with a table of relative positions: examples times windows first."""

    def __init__(self):
        super().__init__()
        self.embed, self.qkv, self.head = nn.Linear(2, 8), nn.Linear(8, 24), nn.Linear(8, C)
        self.table = nn.Parameter(torch.randn(49, 2))
        at = torch.stack(torch.meshgrid(*[torch.arange(4)] * 2, indexing="ij")).flatten(1)
        apart = at[:, :, None] - at[:, None] + 3
        self.register_buffer("index", apart[0] * 7 + apart[1])

    def forward(self, x):
        n = len(x)
        x = x.reshape(n, 2, 2, 4, 2, 4).permute(0, 2, 4, 3, 5, 1).reshape(n * 4, 16, 2)
        q, k, v = self.qkv(self.embed(x)).reshape(n * 4, 16, 3, 2, 4).permute(2, 0, 3, 1, 4)
        bias = self.table[self.index.flatten()].reshape(16, 16, 2).permute(2, 0, 1)
        weights = (q @ k.mT / 2 + bias[None]).softmax(-1)
        return self.head((weights @ v).transpose(1, 2).reshape(n, -1, 8).mean(1))


@family("images")
class Mixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch, self.tokens = nn.Conv2d(2, 8, 2, 2), nn.Linear(16, 16)
        self.norm, self.channels, self.head = nn.LayerNorm(8), nn.Linear(8, 8), nn.Linear(8, C)

    def forward(self, x):
        x = self.patch(x).flatten(2)
        x = (x + torch.tanh(self.tokens(x))).mT
        return self.head((x + torch.tanh(self.channels(self.norm(x)))).mean(1))
