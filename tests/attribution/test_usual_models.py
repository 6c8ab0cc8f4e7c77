"""What models and trainings usually do: recorded and scored as a float64 loop says.

Each kind is trained for two recorded epochs; then its losses, one example at a time, and its
gradient products are compared with the definitions written out here.
"""

import copy
import warnings
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import TensorDataset

import dg_explorer as dg
from dg_explorer.tasks import BinaryTask

N, N_TEST = 12, 5
G = torch.Generator().manual_seed(1)
X = torch.randn(N, 6, generator=G)
Y = torch.arange(N) % 3
BITS = (X[:, 0] > 0).long()
MANY = (X[:, :3] > 0).long()
REAL = torch.randn(N, generator=G)
TOKENS = torch.randint(1, 9, (N, 5), generator=G)
OF_TOKENS = TOKENS.where(TOKENS % 2 > 0, -100) % 3 * (TOKENS % 2) - 100 * (1 - TOKENS % 2)
IMAGES = torch.randn(N, 2, 4, 4, generator=G)
PIXELS = torch.randint(0, 3, (N, 4, 4), generator=G)


def net(out):
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, out))


class Answers(nn.Module):
    """Wraps what a model answers."""

    def __init__(self, wrap, out=3):
        super().__init__()
        self.net, self.wrap = net(out), wrap

    def forward(self, x):
        return self.wrap(self.net(x))


class Masked(nn.Module):
    """Causal attention whose mask is a buffer with minus infinity."""

    def __init__(self):
        super().__init__()
        self.embed, self.qkv = nn.Embedding(9, 8), nn.Linear(8, 24)
        self.head = nn.Linear(8, 3)
        self.register_buffer("mask", torch.full((5, 5), -torch.inf).triu(1))

    def forward(self, tokens):
        q, k, v = self.qkv(self.embed(tokens)).chunk(3, -1)
        return self.head(((q @ k.mT / 8**0.5 + self.mask).softmax(-1) @ v).mean(1))


class SparseTable(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(9, 4, sparse=True), nn.Linear(4, 3)

    def forward(self, tokens):
        return self.head(self.embed(tokens).mean(1))


class Unreached(nn.Module):
    """Has a layer that no example goes through."""

    def __init__(self):
        super().__init__()
        self.net, self.spare = net(3), nn.Linear(6, 6)

    def forward(self, x):
        return self.net(x)


class Keeps(nn.Module):
    """Keeps its hidden layer, graph and all, which cannot be copied."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        self.hidden = torch.tanh(self.first(x))
        return self.second(self.hidden)


class Recomputed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.reentrant = reentrant

    def forward(self, x):
        inside = lambda h: torch.tanh(self.middle(h))  # noqa: E731
        h = torch.tanh(self.first(x))
        return self.last(checkpoint(inside, h, use_reentrant=self.reentrant))


class Encoder(nn.Module):
    """Answers by a method of its own; its forward is no answer."""

    def __init__(self):
        super().__init__()
        self.net = net(3)

    def encode(self, x):
        return self.net(x)

    def forward(self, x):
        raise AssertionError("asked by forward")


def of_class(logits, label):
    others = logits.masked_fill(F.one_hot(label, logits.shape[-1]).bool(), -torch.inf)
    right = logits.gather(-1, label[..., None])[..., 0]
    return right - others.logsumexp(-1), F.cross_entropy(
        logits.movedim(-1, 1), label, reduction="none"
    )


def classified(logits, label):
    return tuple(value.sum() for value in of_class(logits, label))


def of_bit(logit, label):
    z = logit.reshape(label.shape) * (2.0 * (label > 0) - 1)
    return z.mean(), F.softplus(-z).mean()


def by_position(logits, label):
    """Sums over the labelled positions."""
    there = label[0] >= 0
    return tuple(v.sum() for v in of_class(logits[0][there], label[0][there]))


def by_pixel(logits, label):
    return tuple(value.mean() for value in of_class(logits.movedim(1, -1), label))


def squared(answer, label):
    # what is attributed is the prediction itself
    return answer.sum(), (answer.reshape(label.shape) - label).square().mean()


@dataclass
class Usual:
    """A model, examples, how the answer is read, and (output, loss) of it by definition."""

    build: object
    x: torch.Tensor
    y: torch.Tensor
    values: object = classified
    read: object = staticmethod(lambda answer: answer)
    ask: object = staticmethod(lambda model, x: model(x))
    how: dict = field(default_factory=dict)
    layers: tuple = ()
    copied: object = copy.deepcopy
    # how many labels the recorded loss is a mean over
    count: object = staticmethod(lambda y: 1)


def custom(model):
    return dg.CustomTask(
        predict=model.encode,
        output=lambda p, batch: of_class(p, batch[1])[0],
        loss=lambda p, batch: F.cross_entropy(p, batch[1], reduction="none"),
    )


def copied_by_weights(build):
    def made(model):
        other = build()
        other.load_state_dict(model.state_dict())
        return other

    return made


USUAL = {
    "one logit": Usual(lambda: net(1), X, BITS, of_bit),
    "one logit without an axis": Usual(
        lambda: nn.Sequential(net(1), nn.Flatten(0)), X, BITS, of_bit
    ),
    "one logit, labels of plus and minus one": Usual(lambda: net(1), X, 2 * BITS - 1, of_bit),
    "one logit through a sigmoid": Usual(
        lambda: nn.Sequential(net(1), nn.Sigmoid()),
        X,
        BITS,
        of_bit,
        read=torch.logit,
        how={"task": BinaryTask(sigmoid=True)},
    ),
    "several labels": Usual(lambda: net(3), X, MANY, of_bit, how={"task": "multilabel"}),
    "numbers": Usual(lambda: net(1), X, REAL, squared),
    "pixels": Usual(
        lambda: nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 3, 1)),
        IMAGES,
        PIXELS,
        by_pixel,
        layers=("0",),
    ),
    "labels of tokens": Usual(
        lambda: nn.Sequential(nn.Embedding(9, 6), net(3)),
        TOKENS,
        OF_TOKENS,
        by_position,
        how={"task": "token_classification"},
        count=lambda y: int((y >= 0).sum()),
    ),
    "a tuple": Usual(lambda: Answers(lambda z: (z, z * 2)), X, Y, read=lambda a: a[0]),
    "a dict": Usual(
        lambda: Answers(lambda z: {"hidden": z * 3, "logits": z}), X, Y, read=lambda a: a["logits"]
    ),
    "a mask of minus infinity": Usual(Masked, TOKENS, Y, layers=("qkv",)),
    "a sparse table": Usual(SparseTable, TOKENS, Y, layers=("embed",)),
    "a layer that is not reached": Usual(Unreached, X, Y, layers=("net.0",)),
    "a hidden layer that is kept": Usual(
        Keeps, X, Y, layers=("first",), copied=copied_by_weights(Keeps)
    ),
    "activations computed again": Usual(lambda: Recomputed(False), X, Y),
    "activations computed again, by reentering": Usual(
        # plain autograd.grad cannot go through it
        lambda: Recomputed(True),
        X,
        Y,
        copied=copied_by_weights(lambda: Recomputed(False)),
    ),
    "a method that answers": Usual(
        Encoder, X, Y, ask=lambda model, x: model.encode(x), how={"task": custom}
    ),
}
FIRST_RING = ("a mask of minus infinity", "several labels")
marked = [
    name if name in FIRST_RING else pytest.param(name, marks=pytest.mark.second_ring(sample=3))
    for name in USUAL
]


def slowly(case, model, rows):
    """Outputs' and losses' gradients, and losses, of examples one by one in float64."""
    model = case.copied(model).double().eval()
    parameters = list(model.parameters())
    losses, slopes = [], ([], [])
    for x, y in rows:
        x = x.double() if x.is_floating_point() else x
        answer = case.read(case.ask(model, x[None]))
        values = case.values(answer, y[None])
        losses.append(values[1].item())
        for found, value in zip(slopes, values):
            each = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
            dense = [
                torch.zeros_like(p) if g is None else g.to_dense() for g, p in zip(each, parameters)
            ]
            found.append(torch.cat([g.flatten() for g in dense]))
    return np.array(losses), *map(torch.stack, slopes)


@pytest.mark.parametrize("name", marked)
def test_recorded_losses_and_scores_are_those_of_a_loop(name):
    case = USUAL[name]
    torch.manual_seed(0)
    model = case.build()
    how = {key: value(model) if value is custom else value for key, value in case.how.items()}
    train, test = TensorDataset(case.x, case.y), TensorDataset(case.x[:N_TEST], case.y[:N_TEST])
    run = dg.Run.create(name="usual")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(use_reentrant|requires_grad=True)")
        with dg.Recorder(
            run, model, optimizer, train=dg.with_ids(train), test=test, layers=case.layers, **how
        ) as recorder:
            for epoch in range(2):
                for rows in torch.arange(N).split(6):
                    optimizer.zero_grad()
                    answer = case.read(case.ask(model, case.x[rows]))
                    parts = [case.values(a[None], y[None])[1] for a, y in zip(answer, case.y[rows])]
                    torch.stack(parts).mean().backward()
                    optimizer.step()
                recorder.epoch(epoch)
        dg.attribute(
            run,
            model,
            dg.with_ids(train),
            test,
            method="gradient_dot",
            epochs=[1],
            progress=False,
            **how,
        )
    losses, _, slopes = slowly(case, model, train)
    of_tests, outputs, _ = slowly(case, model, test)
    for split, right in (("train", losses), ("test", of_tests)):
        recorded = run[f"dynamics/{split}"]["loss"].sel(epoch=1)
        with np.errstate(invalid="ignore"):  # an example without a label has no loss
            right = right / [case.count(y) for y in case.y[: len(right)]]
        np.testing.assert_allclose(recorded, right, rtol=2e-5, atol=1e-6)
    scores = run["scores/gradient_dot"]["score"].sel(epoch=1).values
    right = -(outputs @ slopes.T).numpy()
    assert np.linalg.norm(scores - right) <= 1e-4 * np.linalg.norm(right)


def gpt2(length):
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        n_layer=1, n_embd=8, n_head=2, vocab_size=20, n_positions=16, bos_token_id=0, eos_token_id=0
    )
    rows = []
    for i in range(8):
        tokens = torch.randint(1, 20, (length,), generator=G)
        there = torch.arange(length) < length - i % 3
        row = {"input_ids": tokens * there, "attention_mask": there.long()}
        rows.append({**row, "labels": tokens.where(there, -100)})
    return transformers.GPT2LMHeadModel(config), rows


@pytest.mark.parametrize("length", [5, 6, 8])
@pytest.mark.second_ring(sample=1)
def test_a_causal_model_is_recorded_and_read_by_hooks_with_nothing_said(length):
    torch.manual_seed(0)
    model, rows = gpt2(length)
    run = dg.Run.create(name="causal")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        with dg.Recorder(
            run, model, None, train=dg.with_ids(rows), test=rows, layers=["transformer.h.0"]
        ) as recorder:
            recorder.epoch(0)
        attributor = dg.TRAKAttributor(model)
        plan = attributor.prepare(rows)
    # Conv1D, the table of positions at (1, T) and the tied head all have a rule
    assert plan.raw == ()
    model.eval()
    kept = {}
    hook = model.transformer.h[0].register_forward_hook(
        lambda module, inputs, out: kept.update(h=out[0] if isinstance(out, tuple) else out)
    )
    sums, counts, features = [], [], []
    with torch.no_grad():
        for row in rows:
            n = int(row["attention_mask"].sum())
            logits = model(row["input_ids"][None, :n]).logits[0, :-1].double()
            losses = F.cross_entropy(logits, row["input_ids"][1:n], reduction="none")
            sums.append(losses.sum().item())
            counts.append(n - 1)
            features.append(kept["h"][0].mean(0).numpy())
    hook.remove()
    np.testing.assert_allclose(run["dynamics/test"]["loss"][0], np.array(sums) / counts, rtol=1e-5)
    np.testing.assert_array_equal(run["dynamics/test"]["tokens"][0], counts)
    metrics = run["metrics"].isel(epoch=0)
    mean = np.sum(sums) / np.sum(counts)
    assert float(metrics["test_loss"]) == pytest.approx(mean, rel=1e-5)
    assert float(metrics["test_perplexity"]) == pytest.approx(np.exp(mean), rel=1e-5)
    recorded = run["features/transformer.h.0"].isel(epoch=0)
    recorded = recorded["activation"].values[recorded["split"].values == "test"]
    np.testing.assert_allclose(recorded, features, rtol=2e-3, atol=1e-4)
