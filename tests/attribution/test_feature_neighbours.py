"""Neighbours and similarity in a layer's space, against scikit-learn and sums by hand."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from attribution_models import examples, mlp
from scipy.stats import entropy, linregress
from sklearn.metrics.pairwise import cosine_similarity, euclidean_distances
from torch import nn
from torch.utils.data import TensorDataset

from dg_explorer.attribution import FeatureKNNAttributor, RepresentationSimilarityAttributor
from dg_explorer.attribution.methods.feature_neighbours import neighbour_weights
from dg_explorer.errors import SettingError


@pytest.fixture
def data():
    return examples(30), examples(5, seed=1)


def hidden(model, data):
    return model[:2](data.tensors[0]).detach().numpy()


def signs(train, test):
    same = test.tensors[1][:, None] == train.tensors[1][None]
    return np.where(same, 1.0, -1.0)


def test_representation_similarity_is_the_cosine_signed_by_label(data):
    model = mlp()
    expected = cosine_similarity(hidden(model, data[1]), hidden(model, data[0]))
    scores = RepresentationSimilarityAttributor(model).attribute(*data)
    np.testing.assert_allclose(scores, expected * signs(*data), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("k", [1.001, 3, 10, 29])
def test_weights_are_gaussian_in_the_distance_and_as_spread_as_k_equal_ones(data, k):
    model = mlp()
    square = euclidean_distances(hidden(model, data[1]), hidden(model, data[0])) ** 2
    weight = neighbour_weights(torch.from_numpy(square), k).numpy()
    np.testing.assert_allclose(weight.sum(1), 1)
    np.testing.assert_allclose(np.exp(entropy(weight, axis=1)), k, rtol=1e-6)
    for row, distance in zip(np.log(weight), square):
        slope, _, r, *_ = linregress(distance[row > -600], row[row > -600])
        assert slope < 0
        assert r == pytest.approx(-1)


def test_scores_are_the_weights_signed_by_label(data):
    model = mlp()
    square = euclidean_distances(hidden(model, data[1]), hidden(model, data[0])) ** 2
    weight = neighbour_weights(torch.from_numpy(square), 4).numpy()
    scores = FeatureKNNAttributor(model, k=4).attribute(*data)
    np.testing.assert_allclose(scores, weight * signs(*data), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("k", [30, 99])
def test_with_as_many_neighbours_as_examples_all_weigh_the_same(data, k):
    scores = FeatureKNNAttributor(mlp(), k=k).attribute(*data)
    np.testing.assert_allclose(scores.abs(), 1 / 30)


def test_the_sum_of_a_row_is_the_vote_for_the_test_examples_class(data):
    train, test = data
    scores = FeatureKNNAttributor(mlp()).attribute(train, test)
    vote = [
        sum(float(abs(s)) * (1 if y == test.tensors[1][q] else -1) for s, y in
            zip(scores[q], train.tensors[1]))
        for q in range(5)
    ]  # fmt: skip
    np.testing.assert_allclose(scores.sum(1), vote)


def test_a_test_example_with_many_exact_copies_shares_the_weight_among_them():
    x, y = examples(30).tensors
    x[:12] = x[0]
    y[:12] = y[0]
    train, test = TensorDataset(x, y), TensorDataset(x[:1], y[:1])
    scores = FeatureKNNAttributor(mlp(), k=10).attribute(train, test)
    assert torch.isfinite(scores).all()
    torch.testing.assert_close(scores[0, :12], scores[0, :1].expand(12))
    assert float(scores[0, :12].sum()) == pytest.approx(1)


def test_another_layer_may_be_named(data):
    model = mlp()
    expected = cosine_similarity(*(model(d.tensors[0]).detach() for d in data[::-1]))
    scores = RepresentationSimilarityAttributor(model, layer="2").attribute(*data)
    np.testing.assert_allclose(scores, expected * signs(*data), rtol=1e-9, atol=1e-12)


def test_positions_of_a_sequence_are_averaged():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(7, 5), nn.Linear(5, 3), nn.Flatten(), nn.Linear(12, 2))
    tokens = torch.randint(0, 7, (9, 4))
    data = TensorDataset(tokens, torch.arange(9) % 2)
    attributor = RepresentationSimilarityAttributor(model, layer="1")
    found = attributor.compute_train_features(data).values[0]
    torch.testing.assert_close(found.float(), model[:2](tokens).mean(1).detach())


class Reader(nn.Module):
    """Sequences whose padding is told by a mask with a plain name or not, or by the token."""

    def __init__(self, mask):
        super().__init__()
        self.embed = nn.Embedding(11, 8, padding_idx=0)
        self.layer, self.head = nn.Linear(8, 8), nn.Linear(8, 3)
        self.mask = mask

    def read(self, x, real):
        z = torch.tanh(self.layer(self.embed(x))) * real[..., None]
        return self.head(z.sum(1) / real.sum(1, keepdim=True))


class ByPaddingMask(Reader):
    def forward(self, x, src_key_padding_mask):
        return self.read(x, (~src_key_padding_mask).float())


class ByMask(Reader):
    def forward(self, x, mask):
        return self.read(x, (mask == self.mask).float())


class ByToken(Reader):
    def forward(self, x):
        return self.read(x, (x != 0).float())


@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
@pytest.mark.parametrize(
    ("kind", "real"), [(ByPaddingMask, False), (ByMask, True), (ByMask, False), (ByToken, None)]
)
def test_padding_counts_for_nothing_however_it_is_told(kind, real, left):
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(2, 7, (16,), generator=generator)
    lengths[3] = 6
    texts = [torch.randint(1, 11, (n,), generator=generator) for n in lengths.tolist()]
    labels = torch.randint(0, 3, (16,), generator=generator)
    torch.manual_seed(0)
    model, found = kind(real), []
    for width in (6, 15):
        rows = []
        for text in texts:
            pad = (width - len(text), 0) if left else (0, width - len(text))
            x, here = (F.pad(t, pad) for t in (text, torch.ones_like(text)))
            rows.append((x, here.bool() == real) if real is not None else (x,))
        data = TensorDataset(*map(torch.stack, zip(*rows)), labels)
        found.append(FeatureKNNAttributor(model, layer="layer").attribute(data, data))
    torch.testing.assert_close(*found)


def test_without_class_labels_similarity_is_not_signed():
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 1)).double()
    data = TensorDataset(examples(8).tensors[0], torch.randn(8).double())
    scores = RepresentationSimilarityAttributor(model, task="regression").attribute(data, data)
    assert (scores >= 0).all()  # rectified activations
    alive = (model[:2](data.tensors[0]) > 0).any(1)
    np.testing.assert_allclose(scores.diagonal()[alive], 1)


def test_what_cannot_be_found_is_refused(data):
    with pytest.raises(SettingError, match="No layer 'fc'"):
        FeatureKNNAttributor(mlp(), layer="fc")
    with pytest.raises(SettingError, match="k=0"):
        FeatureKNNAttributor(mlp(), k=0)
    model = nn.Sequential(nn.Flatten(), nn.Bilinear(6, 6, 4)).double()
    model.forward = lambda x: model[1](x, x)
    with pytest.raises(SettingError, match="layer="):
        FeatureKNNAttributor(model).attribute(*data)
