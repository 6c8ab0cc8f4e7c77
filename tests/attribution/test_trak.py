"""TRAK against the formula of the paper, written out with explicit gradients."""

import numpy as np
import pytest
import torch
from attribution_models import examples, mlp

from dg_explorer.attribution import TRAKAttributor
from dg_explorer.errors import CheckpointError, DataError, SettingError
from dg_explorer.tasks import ClassificationTask, margin


def by_hand(models, train, test, relative=1.0):
    """mean[phi_q (Phi'Phi + l I)^-1 Phi'] mean[1 - p], in the space of parameters."""
    kernels, doubts = [], []
    for model in models:
        phi = {}
        for name, data in (("train", train), ("test", test)):
            rows = []
            for x, y in data:
                logits = model(x[None])[0]
                others = torch.cat([logits[:y], logits[y + 1 :]])
                value = logits[y] - others.logsumexp(0)
                g = torch.autograd.grad(value, list(model.parameters()))
                rows.append(torch.cat([p.flatten() for p in g]))
            phi[name] = torch.stack(rows)
        ridge = relative * phi["train"].square().sum(1).mean()
        eye = torch.eye(phi["train"].shape[1], dtype=torch.float64)
        system = phi["train"].T @ phi["train"] + ridge * eye
        kernels.append(phi["test"] @ torch.linalg.inv(system) @ phi["train"].T)
        p = torch.stack([model(x[None])[0].softmax(0)[y] for x, y in train]).detach()
        doubts.append(1 - p)
    return torch.stack(kernels).mean(0) * torch.stack(doubts).mean(0)


def test_scores_equal_the_formula_written_out():
    model, train, test = mlp(), examples(10), examples(4, seed=1)
    scores = TRAKAttributor(model, damping=0.1).attribute(train, test)
    torch.testing.assert_close(scores, by_hand([model], train, test, 0.1), rtol=1e-9, atol=1e-14)


def test_an_ensemble_multiplies_two_separate_means():
    models, train, test = [mlp(0), mlp(1), mlp(2)], examples(10), examples(4, seed=1)
    attributor = TRAKAttributor(mlp(9), checkpoints=[m.state_dict() for m in models], damping=0.5)
    scores = attributor.attribute(train, test)
    torch.testing.assert_close(scores, by_hand(models, train, test, 0.5), rtol=1e-9, atol=1e-14)


def test_self_influence_is_the_score_of_an_example_for_itself():
    model, train = mlp(), examples(10)
    attributor = TRAKAttributor(model, damping=0.3)
    features = attributor.compute_train_features(train)
    expected = by_hand([model], train, train, 0.3).diagonal()
    torch.testing.assert_close(attributor.self_influence(features), expected, rtol=1e-9, atol=1e-14)


def test_removing_a_helpful_example_lowers_the_margin_of_a_linear_model():
    # the sign, by retraining: logistic regression to convergence, one example left out at a time
    train, test = examples(30, inputs=3, classes=2), examples(10, seed=1, inputs=3, classes=2)

    def fit(keep):
        model = torch.nn.Linear(3, 2).double()
        torch.nn.init.zeros_(model.weight), torch.nn.init.zeros_(model.bias)
        optimizer = torch.optim.LBFGS(model.parameters(), max_iter=200, tolerance_grad=1e-10)
        x, y = train.tensors[0][keep], train.tensors[1][keep]

        def closure():
            optimizer.zero_grad()
            decay = sum(p.square().sum() for p in model.parameters()) * 0.05
            loss = torch.nn.functional.cross_entropy(model(x), y) + decay
            loss.backward()
            return loss

        optimizer.step(closure)
        return model

    everyone = torch.arange(30)
    full = fit(everyone)
    scores = TRAKAttributor(full).attribute(train, test)
    x, y = test.tensors
    truth = torch.stack(
        [margin(full(x), y) - margin(fit(everyone[everyone != i])(x), y) for i in range(30)], 1
    )
    rows = zip(scores.numpy(), truth.detach().numpy())
    assert np.mean([np.corrcoef(a, b)[0, 1] for a, b in rows]) > 0.9


def test_a_model_that_is_sure_of_everything_still_orders_its_examples():
    model, train, test = mlp(), examples(10), examples(4, seed=1)
    with torch.no_grad():
        model[2].weight.mul_(60)
        model[2].bias.mul_(60)
    labels = model(train.tensors[0]).argmax(1)  # every training example is right
    sure = torch.utils.data.TensorDataset(train.tensors[0].float(), labels)
    model = model.float()
    confidence = model(sure.tensors[0]).softmax(1).amax(1)
    assert int((confidence == 1).sum()) > 5  # 1 - p is exactly zero in float32
    scores = TRAKAttributor(model).attribute(sure, test)
    assert torch.isfinite(scores).all()
    assert (scores != 0).all()
    assert all(len(row.unique()) == 10 for row in scores)


def test_damping_is_relative_so_scaling_the_output_leaves_the_unweighted_scores():
    model, train, test = mlp(), examples(10), examples(4, seed=1)

    class Scaled(ClassificationTask):
        def output(self, prediction, batch):
            return 1000 * super().output(prediction, batch)

        def weight(self, prediction, batch):
            return torch.sigmoid(-super().output(prediction.double(), batch))

    plain, scaled = TRAKAttributor(model), TRAKAttributor(model, task=Scaled())
    a, b = plain.attribute(train, test), scaled.attribute(train, test)
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-14)
    assert scaled.damping_used[0] == pytest.approx(1e6 * plain.damping_used[0])


def test_top_attributions_are_the_largest_of_the_row_in_order():
    scores = torch.tensor([[0.1, -2.0, 3.0, 0.1]])
    indices, values = TRAKAttributor.find_top_attributions(scores, 0, top_k=3)
    assert indices.tolist() == [2, 0, 3]
    assert values.tolist() == pytest.approx([3.0, 0.1, 0.1])
    assert TRAKAttributor.find_top_attributions(scores, 0, 9, return_scores=False).tolist() == [
        2, 0, 3, 1,
    ]  # fmt: skip
    indices, values = TRAKAttributor.find_top_attributions(scores, 0, top_k=2, lowest=True)
    assert indices.tolist() == [1, 0]
    assert values.tolist() == pytest.approx([-2.0, 0.1])
    with pytest.raises(DataError, match="No test example 1"):
        TRAKAttributor.find_top_attributions(scores, 1)


def test_patterns_tell_one_class_scores_from_even_ones():
    labels = torch.arange(4).repeat(25)
    test = torch.arange(4)
    own = (test[:, None] == labels[None]).double()
    patterns = TRAKAttributor.analyze_attribution_patterns
    spread = patterns(own, labels, test)
    # 25 of 100 are one, the rest zero: mean difference 1 over a deviation of sqrt(.25 * .75)
    assert spread["same_class_bias"] == pytest.approx(1 / np.sqrt(0.25 * 0.75))
    assert spread["effective_examples"] == pytest.approx(25)
    assert spread["top_same_class"] == 1
    even = patterns(torch.ones(4, 100), labels, test)
    assert even["attribution_concentration"] == pytest.approx(0.01)
    assert even["same_class_bias"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("damping", [0, -1, "big", True, float("nan")])
def test_damping_that_is_no_positive_number_is_refused(damping):
    with pytest.raises(SettingError, match="relative"):
        TRAKAttributor(mlp(), damping=damping)


def test_a_misspelt_setting_is_refused():
    with pytest.raises(TypeError, match="damp"):
        TRAKAttributor(mlp(), damp=1.0)
    with pytest.raises(SettingError, match="No task 'clasification'"):
        TRAKAttributor(mlp(), task="clasification")


def test_an_empty_list_of_checkpoints_is_refused():
    with pytest.raises(CheckpointError):
        TRAKAttributor(mlp(), checkpoints=[])
