"""What every attributor promises, whatever its formula."""

from functools import partial

import pytest
import torch
from attribution_models import examples, mlp, normed
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

from dg_explorer.attribution import (
    FeatureMismatchError,
    InfluenceFunctionAttributor,
    TRAKAttributor,
)
from dg_explorer.attribution.methods import METHODS, method_class
from dg_explorer.data.ids import with_ids
from dg_explorer.errors import DataError, NonFiniteError, ShuffledLoaderError

N_TRAIN, N_TEST = 23, 7


PROJECTIONS = ("factored", "nystrom", "rademacher", "gaussian", "sparse")
# more than the examples: random landmarks are all of them, so that scores are those of any order
WIDTH = 66
METHODS_AS_THEY_ARE = {name: method_class(name) for name in METHODS}
VARIANTS = (
    {
        f"trak, {kind}": partial(TRAKAttributor, proj_dim=WIDTH, projection=kind)
        for kind in PROJECTIONS
    }
    | {
        f"influence, {solver}": partial(InfluenceFunctionAttributor, solver=solver)
        for solver in ("cg", "lissa", "arnoldi", "ekfac", "kfac")
    }
    | {"influence, hessian": partial(InfluenceFunctionAttributor, curvature="hessian")}
)


ATTRIBUTORS = METHODS_AS_THEY_ARE | VARIANTS
in_turn = pytest.mark.second_ring(sample=3)


@pytest.fixture(
    params=[*METHODS_AS_THEY_ARE, *(pytest.param(name, marks=in_turn) for name in VARIANTS)]
)
def attributor_class(request):
    return ATTRIBUTORS[request.param]


@pytest.fixture
def train():
    return examples(N_TRAIN, dtype=torch.float32)


@pytest.fixture
def test():
    return examples(N_TEST, seed=1, dtype=torch.float32)


def same(a, b, rtol=1e-4):
    torch.testing.assert_close(a, b, rtol=rtol, atol=rtol * float(b.abs().max()))


def test_scores_are_finite_float64_of_shape_test_by_train(attributor_class, train, test):
    scores = attributor_class(normed()).attribute(train, test)
    assert scores.shape == (N_TEST, N_TRAIN)
    assert scores.dtype == torch.float64
    assert torch.isfinite(scores).all()
    assert scores.std() > 0


@pytest.mark.parametrize("size", [1, 7])
def test_scores_do_not_depend_on_the_batch_size(attributor_class, train, test, size):
    attributor = attributor_class(normed())
    whole = attributor.attribute(train, test)
    small = attributor.attribute(DataLoader(train, batch_size=size), DataLoader(test, size))
    same(small, whole)


def test_permuting_the_training_set_permutes_the_scores(attributor_class, train, test):
    attributor = attributor_class(normed())
    order = torch.randperm(N_TRAIN, generator=torch.Generator().manual_seed(3))
    shuffled = Subset(train, order.tolist())
    same(attributor.attribute(shuffled, test), attributor.attribute(train, test)[:, order])


def test_a_shuffled_loader_with_ids_gives_the_datasets_order(attributor_class, train, test):
    attributor = attributor_class(normed())
    loader = DataLoader(with_ids(train), batch_size=5, shuffle=True)
    same(attributor.attribute(loader, test), attributor.attribute(train, test))


def test_exact_duplicates_get_equal_scores(attributor_class, train, test):
    twice = Subset(train, [*range(N_TRAIN), 4])
    scores = attributor_class(normed()).attribute(twice, test)
    same(scores[:, 4], scores[:, -1], rtol=1e-5)


def test_the_model_is_left_bit_by_bit_as_it_was(attributor_class, train, test):
    model = normed()
    model[3].eval()  # modes may be mixed
    before = {k: v.clone() for k, v in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    attributor_class(model).attribute(train, test)
    after = model.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert [module.training for module in model.modules()] == modes
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    assert not any(getattr(m, name) for m in model.modules() for name in hooks)
    assert not any(p._backward_hooks for p in model.parameters())


def test_scores_are_those_of_evaluation_mode(attributor_class, train, test):
    training, evaluating = normed(), normed().eval()
    a = attributor_class(training).attribute(train, test)
    assert torch.equal(a, attributor_class(evaluating).attribute(train, test))


def test_checkpoints_of_an_ensemble_do_not_touch_the_model(attributor_class, train, test):
    model = normed()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    others = [normed(1).state_dict(), normed(2).state_dict()]
    scores = attributor_class(model, checkpoints=others).attribute(train, test)
    assert torch.isfinite(scores).all()
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in before.items())


def test_a_single_training_example_gets_a_score(attributor_class, train, test):
    scores = attributor_class(normed()).attribute(Subset(train, [3]), test)
    assert scores.shape == (N_TEST, 1)
    assert torch.isfinite(scores).all()


def test_only_as_many_examples_as_asked_for_are_used(attributor_class, train, test):
    attributor = attributor_class(normed())
    some = attributor.compute_train_features(DataLoader(train, batch_size=5), num_samples=8)
    scores = attributor.compute_attributions(some, attributor.compute_test_features(test))
    same(scores, attributor.attribute(Subset(train, range(8)), test))


def test_self_influence_has_one_finite_number_an_example(attributor_class, train):
    attributor = attributor_class(normed())
    values = attributor.self_influence(attributor.compute_train_features(train))
    assert values.shape == (N_TRAIN,)
    assert torch.isfinite(values).all()


def test_a_fully_learned_model_gives_finite_scores(attributor_class, train, test):
    model = mlp(dtype=torch.float32)
    with torch.no_grad():
        for p in model[2].parameters():
            p.mul_(90)
    sure = TensorDataset(train.tensors[0], model(train.tensors[0]).argmax(1))
    assert (model(train.tensors[0]).softmax(1).amax(1) == 1).sum() > N_TRAIN / 2
    scores = attributor_class(model).attribute(sure, test)
    assert torch.isfinite(scores).all()
    assert len(scores[0].unique()) == N_TRAIN


def test_features_of_another_checkpoint_are_refused(attributor_class, train, test):
    model = normed()
    attributor = attributor_class(model)
    features = attributor.compute_train_features(train)
    model.load_state_dict(normed(1).state_dict())
    with pytest.raises(FeatureMismatchError):
        attributor.compute_attributions(features, attributor.compute_test_features(test))


def test_features_of_fewer_checkpoints_are_refused(attributor_class, train, test):
    two = [normed(1).state_dict(), normed(2).state_dict()]
    both, one = (attributor_class(normed(), checkpoints=two[:n]) for n in (2, 1))
    features = both.compute_train_features(train)
    with pytest.raises(FeatureMismatchError, match=r"2 checkpoint\(s\).* against 1\b"):
        both.compute_attributions(features, one.compute_train_features(test))


def test_an_example_without_gradient_gets_finite_scores(attributor_class, train, test):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(6, 12, bias=False), nn.Tanh(), nn.Linear(12, 4, bias=False), nn.Identity()
    )
    x = train.tensors[0].clone()
    x[3] = 0
    scores = attributor_class(model).attribute(TensorDataset(x, train.tensors[1]), test)
    assert torch.isfinite(scores).all()
    if attributor_class is not ATTRIBUTORS["feature_knn"]:  # whose neighbours have no gradients
        assert scores[:, 3].abs().max() <= 1e-6 * scores.abs().max()


def test_an_input_that_is_not_finite_is_refused(attributor_class, train):
    x = train.tensors[0].clone()
    x[3, 2] = float("nan")
    with pytest.raises(NonFiniteError, match="finite"):
        attributor_class(normed()).compute_train_features(TensorDataset(x, train.tensors[1]))


def test_nan_weights_are_refused_by_name(attributor_class, train):
    model = normed()
    with torch.no_grad():
        model[4].bias[1] = float("nan")
    with pytest.raises(NonFiniteError, match=r"4\.bias"):
        attributor_class(model).compute_train_features(train)


def test_an_empty_loader_is_refused(attributor_class, train):
    with pytest.raises(DataError, match="empty"):
        attributor_class(normed()).compute_train_features(Subset(train, []))


def test_labels_out_of_range_are_refused(attributor_class, train):
    wrong = TensorDataset(train.tensors[0], train.tensors[1] + 2)
    with pytest.raises(DataError, match="4 classes"):
        attributor_class(normed()).compute_train_features(wrong)


def test_a_shuffled_loader_without_ids_is_refused(attributor_class, train):
    loader = DataLoader(train, shuffle=True)
    with pytest.raises(ShuffledLoaderError, match="with_ids"):
        attributor_class(normed()).compute_train_features(loader)


@pytest.mark.parametrize(
    "context", [torch.inference_mode, torch.no_grad, partial(torch.autocast, "cpu")]
)
@pytest.mark.parametrize("method", ["trak", "influence", "gradient_dot", "feature_knn"])
def test_the_callers_context_changes_no_score(method, context, train, test):
    alone = method_class(method)(mlp(dtype=torch.float32)).attribute(train, test)
    model = mlp(dtype=torch.float32)
    with context():
        inside = method_class(method)(model).attribute(train, test)
    assert torch.equal(inside, alone)


def test_a_hook_that_scales_a_gradient_in_training_is_no_part_of_the_score(train, test):
    model, hooked = mlp(dtype=torch.float32), mlp(dtype=torch.float32)
    hooked[0].weight.register_hook(lambda gradient: 0.1 * gradient)
    method = method_class("gradient_dot")
    assert torch.equal(method(hooked).attribute(train, test), method(model).attribute(train, test))
    hooked(train.tensors[0]).sum().backward()
    model(train.tensors[0]).sum().backward()
    torch.testing.assert_close(hooked[0].weight.grad, 0.1 * model[0].weight.grad)
