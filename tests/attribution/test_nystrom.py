"""Nystrom features: exact where a landmark is, close elsewhere, the same landmarks each time."""

import pytest
import torch
from attribution_models import examples, mlp
from torch.utils.data import DataLoader, Subset, TensorDataset

from dg_explorer.attribution import (
    FeatureMismatchError,
    TRAKAttributor,
    compute_features_chunked,
    validate_trak_setup,
)
from dg_explorer.errors import SettingError

N_TRAIN, N_TEST, LANDMARKS = 60, 9, 20


@pytest.fixture
def train():
    return examples(N_TRAIN, dtype=torch.float32)


@pytest.fixture
def test():
    return examples(N_TEST, seed=1, dtype=torch.float32)


def model(seed=0):
    return mlp(seed, dtype=torch.float32)


def attributor(landmarks=LANDMARKS, seed=0, weights=0, **settings):
    width = landmarks + 2  # two columns hold the weight and the origin
    return TRAKAttributor(
        model(weights), proj_dim=width, projection="nystrom", projection_seed=seed, **settings
    )


def gradients(one, data):
    """Gradients of the margins, by autograd, one example at a time."""
    rows = []
    for x, y in data:
        logits = one.model(x[None])[0]
        value = logits[y] - torch.cat([logits[:y], logits[y + 1 :]]).logsumexp(0)
        rows.append(one._compute_gradient_vector(value).double())
    return torch.stack(rows)


def test_inner_products_are_those_of_the_nystrom_formula(train):
    one = attributor()
    z = one.compute_train_features(train)[:, :-2].double()
    kernel = gradients(one, train) @ gradients(one, train).T
    exact = (z @ z.T - kernel).abs().amax(1) < 1e-4 * kernel.diagonal().mean()
    assert int(exact.sum()) == LANDMARKS  # rows that are right throughout: the landmarks'
    columns = kernel[:, exact]
    expected = columns @ torch.linalg.solve(kernel[exact][:, exact], columns.T)
    torch.testing.assert_close(z @ z.T, expected, rtol=1e-3, atol=1e-3)


def test_as_many_landmarks_as_examples_give_the_exact_scores(train, test):
    exact = TRAKAttributor(model()).attribute(train, test)
    found = attributor(N_TRAIN).attribute(train, test)
    torch.testing.assert_close(found, exact, rtol=1e-3, atol=1e-6)


def test_scores_are_closer_to_exact_ones_than_those_of_any_projection(train, test):
    exact = TRAKAttributor(model()).attribute(train, test)

    def error(kind, seed):
        one = TRAKAttributor(model(), proj_dim=LANDMARKS + 2, projection=kind, projection_seed=seed)
        return float((one.attribute(train, test) - exact).norm())

    def mean(kind):
        return sum(error(kind, seed) for seed in range(5)) / 5

    nystrom = mean("nystrom")
    assert all(nystrom < 0.6 * mean(k) for k in ("factored", "gaussian", "rademacher", "sparse"))


def test_landmarks_do_not_depend_on_order_or_batches(train, test):
    whole = attributor().attribute(train, test)
    order = torch.randperm(N_TRAIN, generator=torch.Generator().manual_seed(0))
    mixed = attributor().attribute(DataLoader(Subset(train, order.tolist()), 7), test)
    torch.testing.assert_close(mixed, whole[:, order], rtol=1e-3, atol=1e-6)


def test_another_seed_draws_other_landmarks(train, test):
    a, b = (attributor(seed=s).attribute(train, test) for s in (0, 1))
    assert float((a - b).norm()) > 0.01 * float(a.norm())


def test_a_fresh_process_given_the_landmarks_scores_saved_features(train, test):
    saved = attributor().compute_train_features(train)
    fresh = attributor(landmarks=LANDMARKS)
    fresh.choose_landmarks(train)
    scores = fresh.compute_attributions(saved, fresh.compute_test_features(test))
    torch.testing.assert_close(scores, attributor().attribute(train, test), rtol=1e-4, atol=1e-7)
    named = attributor(landmarks=LANDMARKS)
    named.choose_landmarks(DataLoader(train, 13))
    torch.testing.assert_close(named.compute_test_features(test), fresh.compute_test_features(test))


def test_features_of_other_landmarks_are_refused(train, test):
    strange = attributor()
    strange.choose_landmarks(Subset(train, range(30)))
    one = attributor()
    features = one.compute_train_features(train)
    with pytest.raises(FeatureMismatchError, match="do not belong together"):
        one.compute_attributions(features, strange.compute_test_features(test))


def test_test_features_before_any_landmark_are_refused(test):
    with pytest.raises(SettingError, match="compute_train_features first"):
        attributor().compute_test_features(test)


def test_landmarks_without_nystrom_are_refused(train):
    with pytest.raises(SettingError, match="nystrom"):
        TRAKAttributor(model(), proj_dim=12, landmarks=train)


def test_chunks_share_the_landmarks_of_the_whole(train, tmp_path):
    whole = attributor().compute_train_features(train)
    chunks = compute_features_chunked(
        attributor(), DataLoader(train, 8), chunk_size=25, folder=tmp_path, verbose=False
    )
    torch.testing.assert_close(chunks, whole, rtol=1e-3, atol=1e-4)


def test_examples_of_other_lengths_can_be_landmarks():
    generator = torch.Generator().manual_seed(0)

    class Bag(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = torch.nn.Embedding(11, 6), torch.nn.Linear(6, 3)

        def forward(self, tokens):
            return self.head(self.embed(tokens).tanh().mean(1))

    batches = [
        (
            torch.randint(0, 11, (4, length), generator=generator),
            torch.randint(0, 3, (4,), generator=generator),
        )
        for length in (3, 5, 8)
    ]
    batches = DataLoader(batches, batch_size=None)
    torch.manual_seed(0)
    bag = Bag()
    exact = TRAKAttributor(bag).attribute(batches, batches)
    found = TRAKAttributor(bag, proj_dim=14, projection="nystrom").attribute(batches, batches)
    torch.testing.assert_close(found, exact, rtol=1e-3, atol=1e-5)


def test_the_matrix_written_out_projects_as_the_features_do(train):
    one = attributor()
    features = one.compute_train_features(train)
    rows = gradients(one, train) @ one.projection_matrix.double().T
    torch.testing.assert_close(rows[:, :-2], features[:, :-2].double(), rtol=1e-3, atol=1e-4)
    first = one._project_gradient(gradients(one, TensorDataset(*train[:1]))[0])
    torch.testing.assert_close(first.float()[:-2], features[0, :-2], rtol=1e-3, atol=1e-4)


def test_a_good_setup_passes(train, test):
    one = attributor(N_TRAIN)
    assert validate_trak_setup(one, DataLoader(train, 8), DataLoader(test, 4), verbose=False)
