"""Projected features: plain tensors that know their weight and where they come from."""

import io

import numpy as np
import pytest
import torch
from attribution_models import examples, mlp
from torch.utils.data import DataLoader, Subset

from dg_explorer import with_ids
from dg_explorer.attribution import FeatureMismatchError, TRAKAttributor
from dg_explorer.attribution.projections import sketches
from dg_explorer.attribution.projections.of_gradients import NEXT_SEED
from dg_explorer.attribution.solve.damping import absolute_damping
from dg_explorer.errors import DataError, SettingError

N_TRAIN, N_TEST = 23, 6


@pytest.fixture
def train():
    return examples(N_TRAIN, dtype=torch.float32)


@pytest.fixture
def test():
    return examples(N_TEST, seed=1, dtype=torch.float32)


def model(seed=0):
    return mlp(seed, dtype=torch.float32)


def correlation(a, b):
    return np.corrcoef(np.ravel(a), np.ravel(b))[0, 1]


@pytest.mark.parametrize("proj_dim", [12, 66])  # narrower and wider than the training set
@pytest.mark.parametrize("projection", ["factored", "rademacher", "gaussian", "sparse"])
def test_scores_are_the_papers_formula_on_projected_gradients(train, test, proj_dim, projection):
    attributor = TRAKAttributor(model(), proj_dim=proj_dim, projection=projection, damping=0.2)
    matrix = attributor.projection_matrix.double()
    phi, doubt = {}, []
    for name, data in (("train", train), ("test", test)):
        rows = []
        for x, y in data:
            logits = attributor.model(x[None])[0]
            others = torch.cat([logits[:y], logits[y + 1 :]])
            value = logits[y] - others.logsumexp(0)
            rows.append(matrix @ attributor._compute_gradient_vector(value).double())
            if name == "train":
                doubt.append(1 - attributor.model(x[None])[0].softmax(0)[y].detach())
        phi[name] = torch.stack(rows)
    ridge = 0.2 * phi["train"].square().sum(1).mean()
    system = phi["train"].T @ phi["train"] + ridge * torch.eye(proj_dim)
    expected = phi["test"] @ torch.linalg.inv(system) @ phi["train"].T * torch.stack(doubt)
    scores = attributor.attribute(train, test)
    torch.testing.assert_close(scores, expected, rtol=1e-3, atol=1e-5)


def test_wide_projections_come_close_to_the_exact_scores(train, test):
    exact = TRAKAttributor(model()).attribute(train, test)
    projected = TRAKAttributor(model(), proj_dim=8192).attribute(train, test)
    assert correlation(projected, exact) > 0.995


def test_an_ensemble_has_a_block_of_features_a_checkpoint(train, test):
    states = [model(seed).state_dict() for seed in range(3)]
    attributor = TRAKAttributor(model(), proj_dim=40, checkpoints=states)
    features = attributor.compute_train_features(train)
    assert features.shape == (N_TRAIN, 3 * 40)
    scores = attributor.attribute(train, test)
    each = [  # a projection of its own for each
        TRAKAttributor(model(s), proj_dim=40, projection_seed=NEXT_SEED * s) for s in range(3)
    ]
    kernel = sum(a.unweighted(a.compute_features(train), a.compute_features(test)) for a in each)
    weight = sum(a.example_weight(a.compute_features(train)) for a in each)
    torch.testing.assert_close(scores, kernel * weight / 9, rtol=1e-6, atol=1e-9)


def test_chunks_saved_loaded_and_joined_are_the_whole(train, test):
    attributor = TRAKAttributor(model(), proj_dim=64)
    whole = attributor.compute_train_features(train)
    assert type(whole) is torch.Tensor
    assert whole.shape == (N_TRAIN, 64)
    chunks = []
    for start in range(0, N_TRAIN, 10):
        rows = range(start, min(start + 10, N_TRAIN))
        file = io.BytesIO()
        torch.save(attributor.compute_train_features(Subset(train, rows)).cpu(), file)
        file.seek(0)
        chunks.append(torch.load(file, weights_only=True))
    joined = torch.cat(chunks, dim=0)
    torch.testing.assert_close(joined, whole, rtol=1e-5, atol=1e-6)
    fresh = TRAKAttributor(model(), proj_dim=64)  # another session
    scores = fresh.compute_attributions(joined, fresh.compute_test_features(test))
    torch.testing.assert_close(scores, attributor.attribute(train, test), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("size", [1, 7])
def test_scores_do_not_depend_on_the_batch_size(train, test, size):
    attributor = TRAKAttributor(model(), proj_dim=64)
    small = attributor.attribute(DataLoader(train, size), DataLoader(test, size))
    torch.testing.assert_close(small, attributor.attribute(train, test), rtol=1e-3, atol=1e-6)


def test_a_shuffled_loader_with_ids_gives_the_datasets_order(train, test):
    attributor = TRAKAttributor(model(), proj_dim=64)
    loader = DataLoader(with_ids(train), batch_size=5, shuffle=True)
    found = attributor.attribute(loader, test)
    torch.testing.assert_close(found, attributor.attribute(train, test), rtol=1e-3, atol=1e-6)


def test_only_as_many_examples_as_asked_for_are_used(train):
    attributor = TRAKAttributor(model(), proj_dim=16)
    some = attributor.compute_train_features(DataLoader(train, 5), num_samples=8)
    torch.testing.assert_close(some, attributor.compute_train_features(train)[:8])


def test_self_influence_is_the_score_of_an_example_for_itself(train):
    attributor = TRAKAttributor(model(), proj_dim=64)
    found = attributor.self_influence(attributor.compute_train_features(train))
    torch.testing.assert_close(found, attributor.attribute(train, train).diagonal())


def test_a_model_that_is_sure_of_everything_keeps_its_order(train, test):
    sure = model()
    with torch.no_grad():
        for p in sure[2].parameters():
            p.mul_(60)
    data = torch.utils.data.TensorDataset(train.tensors[0], sure(train.tensors[0]).argmax(1))
    scores = TRAKAttributor(sure, proj_dim=64).attribute(data, test)
    assert all(len(row.unique()) == N_TRAIN for row in scores)
    assert (scores != 0).all()


def test_the_chosen_damping_is_relative_to_the_mean_squared_length(train, test):
    attributor = TRAKAttributor(model(), proj_dim=64, damping=0.5)
    features = attributor.compute_train_features(train)
    attributor.compute_attributions(features, attributor.compute_test_features(test))
    z = features[:, :-2].double()
    assert attributor.damping_used == pytest.approx([absolute_damping(z @ z.T, 0.5)], rel=1e-6)


@pytest.mark.parametrize(
    "other",
    [
        dict(model=model(1)),
        dict(projection_seed=1),
        dict(projection="sparse"),
        dict(layers="2"),
    ],
)
def test_features_of_another_origin_are_refused(train, test, other):
    attributor = TRAKAttributor(model(), proj_dim=64)
    settings = {"model": model(), "proj_dim": 64} | other
    strange = TRAKAttributor(**settings).compute_test_features(test)
    with pytest.raises(FeatureMismatchError, match="do not belong together"):
        attributor.compute_attributions(attributor.compute_train_features(train), strange)


def test_features_of_an_older_sketch_are_refused(monkeypatch, train, test):
    attributor = TRAKAttributor(model(), proj_dim=64)
    now = attributor.compute_test_features(test)
    monkeypatch.setattr(sketches, "DEFINITION", sketches.DEFINITION - 1)
    stored = attributor.compute_train_features(train)
    with pytest.raises(FeatureMismatchError, match="older version of this package"):
        attributor.compute_attributions(stored, now)


def test_rows_of_two_checkpoints_cannot_be_mixed(train, test):
    attributor = TRAKAttributor(model(), proj_dim=64)
    mixed = attributor.compute_train_features(train)
    mixed[5:] = TRAKAttributor(model(1), proj_dim=64).compute_train_features(train)[5:]
    with pytest.raises(FeatureMismatchError):
        attributor.compute_attributions(mixed, attributor.compute_test_features(test))


def test_tensors_of_another_width_and_no_tensors_are_refused(train, test):
    attributor = TRAKAttributor(model(), proj_dim=64)
    features = attributor.compute_test_features(test)
    with pytest.raises(FeatureMismatchError, match="proj_dim=64"):
        attributor.compute_attributions(features[:, :60], features)
    with pytest.raises(DataError, match="compute_train_features"):
        attributor.compute_attributions([1, 2], features)


@pytest.mark.parametrize("proj_dim", [0, 2, 2.5, True, "big"])
def test_a_width_that_leaves_nothing_to_project_to_is_refused(proj_dim):
    with pytest.raises(SettingError, match="proj_dim"):
        TRAKAttributor(model(), proj_dim=proj_dim)


def test_the_matrix_projects_what_project_gradient_projects(train):
    attributor = TRAKAttributor(model(), proj_dim=32, layers="2")
    x, y = train[:1]
    loss = torch.nn.functional.cross_entropy(attributor.model(x), y)
    gradient = attributor._compute_gradient_vector(loss)
    assert gradient.shape == (attributor.total_params,) == (12 * 4 + 4,)
    image = attributor._project_gradient(gradient)
    assert image.shape == (32,)
    torch.testing.assert_close(image, attributor.projection_matrix @ gradient)


def test_an_exact_attributor_has_no_projection_to_look_at():
    with pytest.raises(SettingError, match="proj_dim"):
        _ = TRAKAttributor(model()).projection_matrix
