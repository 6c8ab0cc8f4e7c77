"""Kinds of tasks and models, each against gradients taken one by one from a formula written out."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from attribution_models import mlp
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dg_explorer import Run, with_ids
from dg_explorer.attribution import GradientDotAttributor, TRAKAttributor
from dg_explorer.attribution.traker.traker import TRAKer
from dg_explorer.errors import DataError
from dg_explorer.tasks import CLIPPairsTask
from dg_explorer.tasks.token_examples import EachToken


class Answer:
    """As Hugging Face models answer."""

    def __init__(self, logits):
        self.logits = logits


def margins(logits, target):
    """log p - log(1 - p) of the target, from probabilities."""
    p = logits.double().softmax(-1).gather(-1, target[..., None])[..., 0]
    return p.log() - (1 - p).log()


def gradients(model, values):
    rows = []
    for value in values:
        found = torch.autograd.grad(
            value, list(model.parameters()), retain_graph=True, allow_unused=True
        )
        pairs = zip(found, model.parameters())
        rows.append(
            torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])
        )
    return torch.stack(rows).double()


def trak_by_hand(g_train, g_test, weight):
    kernel = g_train @ g_train.T
    ridge = kernel.diagonal().mean() * torch.eye(len(kernel))
    return g_test @ g_train.T @ torch.linalg.inv(kernel + ridge) * weight


def same(a, b):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * float(b.abs().max()))


# ------------------------------------------------------------------ language modelling


class LM(nn.Module):
    """Causal: the answer at a position depends on the tokens up to it."""

    def __init__(self, hf=True, vocabulary=9, width=6):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(vocabulary, width)
        self.mix = nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(width, vocabulary)
        self.hf = hf

    def forward(self, input_ids, attention_mask=None):
        logits = self.head(self.mix(self.embed(input_ids))[0])
        return Answer(logits) if self.hf else logits


def sentences(n, seed, longest=6, pad_to=None):
    """Sequences of 3 to `longest` tokens, padded with token 0, as Hugging Face serves them."""
    generator = torch.Generator().manual_seed(seed)
    items = []
    for _ in range(n):
        size = int(torch.randint(3, longest + 1, (1,), generator=generator))
        tokens = torch.randint(1, 9, (size,), generator=generator)
        pad = (0, (pad_to or longest) - size)
        items.append({
            "input_ids": F.pad(tokens, pad),
            "attention_mask": F.pad(torch.ones_like(tokens), pad),
        })  # fmt: skip
    return items


class Items(torch.utils.data.Dataset):
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


def token_margins(model, item):
    """The margin of each token but the first, without its padding."""
    tokens = item["input_ids"][: int(item["attention_mask"].sum())]
    return margins(model(tokens[None]).logits[0, :-1], tokens[1:])


def test_a_sequence_is_attributed_by_the_sum_over_its_real_tokens():
    model = LM().double()
    train, test = sentences(7, 0), sentences(3, 1)
    each = [token_margins(model, item) for item in train]
    g_train = gradients(model, [m.sum() for m in each])
    g_test = gradients(model, [token_margins(model, item).sum() for item in test])
    weight = torch.stack([torch.sigmoid(-m).mean() for m in each]).detach()
    attributor = TRAKAttributor(model, task="language_modeling", damping=1.0)
    scores = attributor.attribute(Items(train), Items(test))
    same(scores, trak_by_hand(g_train, g_test, weight))


def test_padding_changes_nothing():
    model = LM().double()
    attributor = TRAKAttributor(model, task="language_modeling")
    scores = attributor.attribute(Items(sentences(7, 0)), Items(sentences(3, 1)))
    padded = attributor.attribute(
        Items(sentences(7, 0, pad_to=11)), Items(sentences(3, 1, pad_to=8))
    )
    same(padded, scores)


def test_a_token_is_attributed_by_its_own_margin():
    model = LM().double()
    train, test = sentences(7, 0), sentences(3, 1)
    tokens = EachToken(Items(test))
    each = torch.cat([token_margins(model, item) for item in test])
    losses = [token_margins(model, item) for item in train]
    ascent = gradients(model, [-F.softplus(-m).sum() for m in losses])
    expected = gradients(model, each) @ ascent.T
    attributor = GradientDotAttributor(model, task="language_modeling")
    same(attributor.attribute(Items(train), tokens), expected)
    assert tokens.token.tolist() == [
        int(t) for item in test for t in item["input_ids"][1 : int(item["attention_mask"].sum())]
    ]


def test_scores_of_a_sequences_tokens_add_up_to_the_sequences():
    model = LM().double()
    train, test = Items(sentences(7, 0)), Items(sentences(3, 1))
    tokens = EachToken(with_ids(test, [30, 10, 20]))
    attributor = TRAKAttributor(model, task="language_modeling")
    whole, parts = attributor.attribute(train, test), attributor.attribute(train, tokens)
    for row, sequence in enumerate((30, 10, 20)):
        same(parts[tokens.sequence == sequence].sum(0), whole[row])


def test_pairs_and_lone_tokens_serve_the_same_tokens():
    tokens = torch.randint(0, 9, (4, 5), generator=torch.Generator().manual_seed(2))
    shifted = torch.cat([tokens[:, 1:], torch.full((4, 1), -100)], 1)
    model = LM(hf=False).double()
    attributor = TRAKAttributor(model, task="language_modeling")
    forms = [
        Items([{"input_ids": t} for t in tokens]),
        TensorDataset(tokens, shifted),
        TensorDataset(tokens),
    ]
    found = [attributor.attribute(forms[1], EachToken(form)) for form in forms]
    assert found[0].shape == (16, 4)
    same(found[1], found[0])
    same(found[2], found[0])


def test_positions_and_tokens_go_into_a_record():
    tokens = EachToken(with_ids(Items(sentences(3, 1)), [7, 8, 9]))
    run = Run.create(name="t", test_examples=tokens.table())
    table = run["test_examples"]
    assert table["position"].values[:2].tolist() == [1, 2]
    assert set(table["sequence"].values) == {7, 8, 9}
    with pytest.raises(DataError, match="no token"):
        EachToken(TensorDataset(torch.ones(2, 1, dtype=torch.long)))


# ------------------------------------------------------------------ models that answer otherwise


class HFClassifier(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(9, 5)
        self.head = nn.Linear(5, 3)

    def forward(self, input_ids, token_type_ids=None, attention_mask=None):
        mask = attention_mask[..., None].to(self.embed.weight)
        return Answer(self.head((self.embed(input_ids) * mask).sum(1) / mask.sum(1)))


def test_a_classifier_of_texts_with_logits_in_its_answer():
    model = HFClassifier().double()
    items = [{**item, "labels": torch.tensor(i % 3)} for i, item in enumerate(sentences(9, 0))]
    batch = torch.utils.data.default_collate(items)
    logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    values = margins(logits, batch["labels"])
    g = gradients(model, values)
    expected = trak_by_hand(g, g[:4], torch.sigmoid(-values).detach())
    attributor = TRAKAttributor(model, task="text_classification", damping=1.0)
    same(attributor.attribute(Items(items), Items(items[:4])), expected)


def test_texts_as_tuples_reach_the_model_by_name(tmp_path):
    model = HFClassifier().double()
    items = sentences(9, 0)
    columns = [torch.stack([item[k] for item in items]) for k in ("input_ids", "attention_mask")]
    labels = torch.arange(9) % 3
    # the TRAK library's order: input_ids, token_type_ids, attention_mask, label
    batch = [columns[0], torch.zeros_like(columns[0]), columns[1], labels]
    traker = TRAKer(model, "text_classification", 9, tmp_path, proj_dim=4000)
    traker.load_checkpoint(model.state_dict(), 0)
    traker.featurize(batch)
    traker.finalize_features()
    traker.start_scoring_checkpoint("x", model.state_dict(), 0, 9)
    traker.score(batch)
    scores = traker.finalize_scores("x")
    named = [
        {"input_ids": a, "attention_mask": b, "labels": y} for a, b, y in zip(*columns, labels)
    ]
    exact = TRAKAttributor(model, task="text_classification").attribute(Items(named), Items(named))
    assert np.corrcoef(scores.T.ravel(), exact.numpy().ravel())[0, 1] > 0.98


class Iterative(nn.Module):
    """One layer, used again and again until the state settles or five steps are done."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.start, self.step, self.head = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x):
        state = self.start(x)
        for _ in range(5):
            state = state + 0.3 * torch.tanh(self.step(state))
        return self.head(state)


def test_a_layer_that_is_used_again_and_again():
    model = Iterative().double()
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(9, 6, generator=generator).double(), torch.arange(9) % 4
    values = margins(model(x), y)
    g = gradients(model, values)
    expected = trak_by_hand(g, g, torch.sigmoid(-values).detach())
    data = TensorDataset(x, y)
    same(TRAKAttributor(model, damping=1.0).attribute(data, data), expected)


def test_a_pair_of_functions_is_a_task():
    model = mlp()
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(8, 6, generator=generator).double(), torch.arange(8) % 4

    def loss(prediction, batch):
        return F.cross_entropy(prediction, batch[1], reduction="none", label_smoothing=0.2)

    def output(prediction, batch):
        return prediction.square().sum(1)

    g_out = gradients(model, model(x).square().sum(1))
    each = [
        F.cross_entropy(model(x[i : i + 1]), y[i : i + 1], label_smoothing=0.2) for i in range(8)
    ]
    expected = -(g_out @ gradients(model, each).T)
    data = TensorDataset(x, y)
    same(GradientDotAttributor(model, task=(loss, output)).attribute(data, data), expected)


# ------------------------------------------------------------------ pairs


class TwoTowers(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.image, self.text = nn.Linear(6, 5), nn.Linear(4, 5)
        self.logit_scale = nn.Parameter(torch.tensor(1.3))

    def forward(self, image, text):
        u, v = F.normalize(self.image(image), dim=-1), F.normalize(self.text(text), dim=-1)
        return u, v, self.logit_scale.exp()


@pytest.fixture
def pairs():
    generator = torch.Generator().manual_seed(0)
    return TensorDataset(
        torch.randn(12, 6, generator=generator).double(),
        torch.randn(12, 4, generator=generator).double(),
    )


def by_formula(model, pairs, stored):
    """Outputs and weights of the TRAK paper's contrastive task, pair by pair."""
    values, weights = [], []
    images, texts = (t.detach() for t in model(*stored)[:2])
    for image, text in pairs:
        u, v, scale = model(image[None], text[None])
        u, v = u[0], v[0]
        values.append(
            -torch.log(torch.exp(-(u @ (v - texts).T)).sum())
            - torch.log(torch.exp(-(v @ (u - images).T)).sum())
        )
        own = torch.exp(scale * (u @ v))
        p_text = own / (own + torch.exp(scale * (texts @ u)).sum())
        p_image = own / (own + torch.exp(scale * (images @ v)).sum())
        weights.append(1 - (p_text + p_image) / 2)
    return torch.stack(values), torch.stack(weights).detach()


def test_contrastive_pairs_follow_the_papers_output(pairs):
    model = TwoTowers().double()
    task = CLIPPairsTask()
    task.embed(model, DataLoader(pairs, 5))
    values, weights = by_formula(model, pairs, pairs.tensors)
    g = gradients(model, values)
    attributor = TRAKAttributor(model, task=task, damping=1.0)
    same(attributor.attribute(pairs, pairs), trak_by_hand(g, g, weights))


def test_contrastive_scores_do_not_depend_on_the_batch_size(pairs):
    model = TwoTowers().double()
    task = CLIPPairsTask(simulated_batch=6)
    task.embed(model, DataLoader(pairs, 5))
    attributor = TRAKAttributor(model, task="clip")
    with pytest.raises(DataError, match="embed"):
        attributor.attribute(pairs, pairs)
    attributor = TRAKAttributor(model, task=task)
    same(
        attributor.attribute(DataLoader(pairs, 1), DataLoader(pairs, 7)),
        attributor.attribute(pairs, pairs),
    )


def test_clip_by_name_runs_as_in_the_trak_library(pairs, tmp_path):
    model = TwoTowers().double()
    traker = TRAKer(model, "clip", len(pairs), tmp_path, proj_dim=4096)
    traker.load_checkpoint(model.state_dict(), model_id=0)
    with pytest.raises(DataError, match="get_embeddings"):
        traker.featurize(pairs[:4], num_samples=4)
    traker.task.get_embeddings(model, DataLoader(pairs, 5), batch_size=5, size=12, embedding_dim=5)
    traker.load_checkpoint(model.state_dict(), model_id=0)
    for batch in DataLoader(pairs, 4):
        traker.featurize(batch, num_samples=len(batch[0]))
    traker.finalize_features()
    traker.start_scoring_checkpoint("clip", model.state_dict(), 0, num_targets=12)
    for batch in DataLoader(pairs, 5):
        traker.score(batch, num_samples=len(batch[0]))
    scores = traker.finalize_scores("clip")
    values, weights = by_formula(model, pairs, pairs.tensors)
    g = gradients(model, values)
    expected = trak_by_hand(g, g, weights)
    assert np.corrcoef(scores.T.ravel(), expected.numpy().ravel())[0, 1] > 0.98
