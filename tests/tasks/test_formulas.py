"""Each kind of task against torch's own loss, plain autograd and probabilities in float64."""

import pytest
import torch
import torch.nn.functional as F

from dg_explorer.errors import DataError, SettingError
from dg_explorer.tasks import (
    BinaryTask,
    ClassificationTask,
    CustomTask,
    MaskedLanguageModelingTask,
    MultilabelTask,
    ProbabilitiesTask,
    RegressionTask,
    SegmentationTask,
    as_task,
)

G = torch.Generator().manual_seed(0)
N = 7


def randn(*shape):
    return torch.randn(*shape, generator=G, dtype=torch.float64)


def integers(high, *shape):
    return torch.randint(0, high, shape, generator=G)


def spread(pixels, n=N):
    """Mean of a loss of pixels or tokens over each example."""
    return pixels.reshape(n, -1).mean(1)


LABELS = integers(4, N)
BITS = integers(2, N)
MANY = integers(2, N, 3)
PIXELS = integers(4, N, 2, 5)
TOKENS = torch.where(integers(3, N, 5) > 0, integers(6, N, 5), -100)
TOKENS[0] = torch.tensor([-100, -100, 2, -100, -100])
# name -> task, prediction, labels, the loss of each example by torch
KINDS = {
    "classification": (
        ClassificationTask(),
        randn(N, 4),
        LABELS,
        lambda z: F.cross_entropy(z, LABELS, reduction="none"),
    ),
    "binary": (
        BinaryTask(),
        randn(N, 1),
        BITS,
        lambda z: F.binary_cross_entropy_with_logits(z[:, 0], BITS.double(), reduction="none"),
    ),
    "binary, labels -1 and 1": (
        BinaryTask(),
        randn(N),
        2 * BITS - 1,
        lambda z: F.binary_cross_entropy_with_logits(z, BITS.double(), reduction="none"),
    ),
    "multilabel": (
        MultilabelTask(),
        randn(N, 3),
        MANY,
        lambda z: spread(F.binary_cross_entropy_with_logits(z, MANY.double(), reduction="none")),
    ),
    "regression": (
        RegressionTask(),
        randn(N, 1),
        (target := randn(N)),
        lambda z: F.mse_loss(z[:, 0], target, reduction="none"),
    ),
    "regression on several targets": (
        RegressionTask(target=1),
        randn(N, 3),
        (targets := randn(N, 3)),
        lambda z: spread(F.mse_loss(z, targets, reduction="none")),
    ),
    "segmentation": (
        SegmentationTask(),
        randn(N, 4, 2, 5),
        PIXELS,
        lambda z: spread(F.cross_entropy(z, PIXELS, reduction="none")),
    ),
    "segmentation by one channel": (
        SegmentationTask(),
        randn(N, 1, 2, 5),
        (mask := integers(2, N, 2, 5)),
        lambda z: spread(
            F.binary_cross_entropy_with_logits(z[:, 0], mask.double(), reduction="none")
        ),
    ),
    "binary by BCELoss": (
        BinaryTask(sigmoid=True),
        BinaryTask(sigmoid=True).read(randn(N, 1).sigmoid()),
        BITS,
        lambda z: F.binary_cross_entropy(z[:, 0].sigmoid(), BITS.double(), reduction="none"),
    ),
    "multilabel by BCELoss": (
        MultilabelTask(sigmoid=True),
        MultilabelTask(sigmoid=True).read(randn(N, 3).sigmoid()),
        MANY,
        lambda z: spread(F.binary_cross_entropy(z.sigmoid(), MANY.double(), reduction="none")),
    ),
    "segmentation by BCELoss": (
        SegmentationTask(sigmoid=True),
        SegmentationTask(sigmoid=True).read(randn(N, 1, 2, 5).sigmoid()),
        mask,
        lambda z: spread(
            F.binary_cross_entropy(z[:, 0].sigmoid(), mask.double(), reduction="none")
        ),
    ),
    "masked language modelling": (
        MaskedLanguageModelingTask(),
        randn(N, 5, 6),
        TOKENS,
        lambda z: F.cross_entropy(z.transpose(1, 2), TOKENS, reduction="none").sum(1),
    ),
}
kinds = pytest.mark.parametrize("kind", KINDS)


def parts(kind):
    task, prediction, labels, loss = KINDS[kind]
    batch = (torch.zeros(N), labels)
    task.check(prediction, batch)
    return task, prediction, batch, loss


def jacobian(values, by):
    """d values[i] / d by[i], shape (example, ...): examples do not see each other."""
    return torch.autograd.grad(values.sum(), by, retain_graph=True)[0]


@kinds
def test_the_loss_of_each_example_is_torchs_own(kind):
    task, prediction, batch, loss = parts(kind)
    torch.testing.assert_close(task.loss(prediction, batch), loss(prediction))


@kinds
def test_the_ascent_climbs_against_the_loss(kind):
    task, prediction, batch, loss = parts(kind)
    z = prediction.clone().requires_grad_()
    torch.testing.assert_close(jacobian(task.ascent(z, batch), z), -jacobian(loss(z), z))


@pytest.mark.parametrize("kind", ["classification", "binary", "binary, labels -1 and 1"])
def test_the_weight_times_the_outputs_gradient_is_that_of_the_loss(kind):
    task, prediction, batch, loss = parts(kind)
    z = prediction.clone().requires_grad_()
    weight = task.weight(z, batch).reshape(N, *[1] * (z.ndim - 1))
    torch.testing.assert_close(weight * jacobian(task.output(z, batch), z), -jacobian(loss(z), z))


@pytest.mark.parametrize("kind", ["regression", "regression on several targets"])
def test_the_weight_of_a_regression_is_the_derivative_by_its_prediction(kind):
    task, prediction, batch, loss = parts(kind)
    z = prediction.clone().requires_grad_()
    column = task.target or 0
    torch.testing.assert_close(task.weight(z, batch), -jacobian(loss(z), z)[:, column])


@pytest.mark.parametrize(
    "kind",
    ["classification", "binary", "multilabel", "regression", "regression on several targets"],
)
def test_curvature_rows_square_to_the_hessian_of_the_loss(kind):
    task, prediction, batch, loss = parts(kind)
    z = prediction.clone().requires_grad_()
    found = torch.zeros(N, z[0].numel(), z[0].numel(), dtype=torch.float64)
    for row in task.curvature_rows(z, batch, rows=8).T:
        g = jacobian(row, z).reshape(N, -1)
        found += g[:, :, None] * g[:, None, :]

    def loss_of(i, single):
        return loss(torch.cat([z[:i].detach(), single[None], z[i + 1 :].detach()]))[i]

    for i in range(N):
        hessian = torch.autograd.functional.hessian(lambda x, i=i: loss_of(i, x), z[i].detach())
        torch.testing.assert_close(found[i], hessian.reshape(found[i].shape))


def test_drawn_curvature_rows_come_near_the_hessian_with_many_draws():
    task, prediction, batch, loss = parts("masked language modelling")
    z = prediction.clone().requires_grad_()
    found = torch.zeros(N, 30, 30, dtype=torch.float64)
    for row in task.curvature_rows(z, batch, rows=150).T:
        g = jacobian(row, z).reshape(N, -1)
        found += g[:, :, None] * g[:, None, :]
    hessian = torch.autograd.functional.hessian(lambda x: loss(x).sum(), prediction)
    hessian = torch.stack([hessian[i, ..., i, :, :].reshape(30, 30) for i in range(N)])
    # cross terms of two positions vanish only slowly, and are zero in the Hessian: the diagonal
    diagonal = torch.diagonal(hessian, dim1=1, dim2=2)
    off = (torch.diagonal(found, dim1=1, dim2=2) - diagonal).abs().max() / diagonal.max()
    assert off < 0.1


@kinds
def test_what_is_recorded_follows_from_probabilities_in_float64(kind):
    task, prediction, batch, _ = parts(kind)
    found = task.measures(prediction, batch)
    assert set(found) == set(task.columns)
    n = task.trained(prediction, batch)
    each = task.loss(prediction, batch)
    per_label = each / n if "masked" in kind else each
    torch.testing.assert_close(found["loss"], per_label)
    torch.testing.assert_close(found[task.output_column], task.output(prediction, batch))
    if "confidence" in found:
        torch.testing.assert_close(found["confidence"], torch.exp(-per_label))


def test_margins_are_the_log_odds_of_the_right_class():
    task, prediction, batch, _ = parts("classification")
    p = prediction.softmax(1)[torch.arange(N), LABELS]
    torch.testing.assert_close(task.output(prediction, batch), (p / (1 - p)).log())
    found = task.measures(prediction, batch)
    torch.testing.assert_close(found["margin"], (p / (1 - p)).log())
    assert found["correct"].tolist() == (prediction.argmax(1) == LABELS).tolist()


@pytest.mark.parametrize("gap", [30.0, 90.0, 1e4])
def test_the_margin_of_a_certain_answer_is_finite_and_exact(gap):
    batch = (None, torch.tensor([0, 0]))
    found = ClassificationTask().measures(torch.tensor([[gap, 0.0], [0.0, gap]]), batch)
    assert found["margin"].tolist() == [gap, -gap]
    assert found["loss"][1] == gap
    assert found["loss"][0] == pytest.approx(float(torch.tensor(-gap).exp()), rel=1e-5, abs=1e-40)


def test_ties_go_to_the_first_class_as_in_argmax():
    found = ClassificationTask().measures(torch.zeros(3, 4), (None, torch.tensor([0, 1, 3])))
    assert found["prediction"].tolist() == [0, 0, 0]
    assert found["correct"].tolist() == [True, False, False]


def test_nan_logits_are_marked_and_never_right():
    logits = torch.tensor([[torch.nan, 0.0], [5.0, 0.0]])
    found = ClassificationTask().measures(logits, (None, torch.tensor([0, 0])))
    assert found["loss"].isnan().tolist() == [True, False]
    assert found["correct"].tolist() == [False, True]


def test_one_logit_measures_as_two_classes_do():
    z, y = randn(N), integers(2, N)
    one = BinaryTask().measures(z, (None, y))
    two = ClassificationTask().measures(torch.stack([torch.zeros_like(z), z], 1), (None, y))
    for name in two:
        torch.testing.assert_close(one[name].double(), two[name].double())


def test_probabilities_measure_as_the_logits_that_they_come_from():
    z, y = randn(N, 4), integers(4, N)
    task = ProbabilitiesTask()
    p = task.read(z.softmax(1))
    task.check(p, (None, y))
    found = task.measures(p, (None, y))
    for name, value in ClassificationTask().measures(z, (None, y)).items():
        torch.testing.assert_close(found[name], value)


# ------------------------------------------------------------------ rows without a label


def test_an_unlabelled_row_trains_nothing_and_is_recorded_as_unknown():
    z, task = randn(4, 3).requires_grad_(), ClassificationTask()
    batch = (None, torch.tensor([0, -100, 2, -1]))
    task.check(z, batch)
    for values in (task.output(z, batch), task.loss(z, batch), task.ascent(z, batch)):
        assert torch.autograd.grad(values.sum(), z, retain_graph=True)[0][[1, 3]].abs().sum() == 0
    assert task.weight(z, batch)[[1, 3]].tolist() == [0, 0]
    assert task.trained(z, batch).tolist() == [1, 0, 1, 0]
    found = task.measures(z.detach(), batch)
    assert found["loss"].isnan().tolist() == [False, True, False, True]
    assert found["prediction"].tolist()[1::2] == [-1, -1]
    mean = task.loss(z, batch).sum() / 2
    torch.testing.assert_close(
        mean, F.cross_entropy(z, torch.tensor([0, -100, 2, -100]), ignore_index=-100)
    )


def test_a_label_of_minus_one_with_two_classes_is_asked_about():
    with pytest.raises(DataError, match=r"Label -1.*label=.*unlabelled=-1"):
        ClassificationTask().check(randn(4, 2), (None, torch.tensor([1, -1, 1, 1])))
    ClassificationTask(unlabelled=-1).check(randn(4, 2), (None, torch.tensor([1, -1, 1, 1])))


def test_one_logit_takes_one_of_the_two_codes_for_the_other_class():
    task = BinaryTask()
    task.check(randn(3), (None, torch.tensor([1, -1, 1])))
    with pytest.raises(DataError, match="Labels 0 and -1"):
        task.check(randn(3), (None, torch.tensor([1, 0, 1])))


def test_labels_that_are_all_zero_are_still_a_task():
    z, y = randn(5, 1), torch.zeros(5, dtype=torch.int64)
    task = BinaryTask()
    task.check(z, (None, y))
    torch.testing.assert_close(task.output(z, (None, y)), -z[:, 0])
    assert (task.weight(z, (None, y)) > 0).all()


def test_unknown_labels_of_many_leave_the_others_mean():
    z, y = randn(2, 3), torch.tensor([[1, -1, 0], [-1, -1, -1]])
    task = MultilabelTask()
    right = (F.softplus(-z[0, 0]) + F.softplus(z[0, 2])) / 2
    torch.testing.assert_close(task.loss(z, (None, y)), torch.stack([right, right * 0]))
    assert task.trained(z, (None, y)).tolist() == [2, 0]
    assert task.measures(z, (None, y))["loss"].isnan().tolist() == [False, True]


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("task", "prediction", "labels", "message"),
    [
        ("classification", torch.zeros(2, 3), torch.tensor([0, 3]), "Label 3 is out of range"),
        ("classification", torch.zeros(2, 5, 3), torch.tensor([0, 1]), r"\(2, 5, 3\).*\[:, -1\]"),
        ("classification", torch.zeros(2, 1), torch.tensor([0, 1]), "task='binary'"),
        ("classification", torch.zeros(2, 3), torch.tensor([0.5, 1]), "task='regression'"),
        ("binary", torch.zeros(2, 2), torch.tensor([0, 1]), "task='classification'"),
        ("binary", torch.zeros(2), torch.tensor([0, 2]), "Label 2"),
        ("multilabel", torch.zeros(2, 2), torch.tensor([[0, 2], [1, 1]]), "Label 2"),
        ("regression", torch.zeros(2, 3), torch.zeros(2), r"\(2, 3\).*one target a prediction"),
        ("regression", torch.zeros(2), torch.tensor([0, torch.nan]), "Row 1.*not finite"),
        ("segmentation", torch.zeros(2, 3, 4, 4), torch.zeros(2, 4), "label for each pixel"),
        (
            "segmentation",
            torch.zeros(2, 3, 4, 4),
            torch.full((2, 4, 4), 255),
            r"ignore=\[-100, 255\]",
        ),
    ],
)
def test_labels_that_do_not_fit_are_refused_with_what_to_do(task, prediction, labels, message):
    with pytest.raises(DataError, match=message):
        as_task(task).check(prediction, (None, labels))


def test_a_regression_with_several_predictions_asks_which_is_attributed():
    with pytest.raises(SettingError, match=r"RegressionTask\(target=0\)"):
        RegressionTask().output(randn(N, 3), (None, randn(N, 3)))


@pytest.mark.parametrize("name", ["classification", "segmentation"])
def test_probabilities_are_not_taken_for_logits(name):
    p = randn(6, 4, 3, 2).softmax(1) if name == "segmentation" else randn(6, 4).softmax(1)
    labels = integers(4, 6, 3, 2) if name == "segmentation" else integers(4, 6)
    with pytest.raises(DataError, match="probabilities"):
        as_task(name).check(p, (None, labels))
    as_task(name).check(p.log(), (None, labels))  # log-probabilities are logits


def test_cross_entropy_of_probabilities_may_be_meant():
    p, y = randn(6, 4).softmax(1), integers(4, 6)
    task = ClassificationTask(softmax_twice=True)
    task.check(p, (None, y))
    torch.testing.assert_close(task.loss(p, (None, y)), F.cross_entropy(p, y, reduction="none"))


def test_a_sigmoid_at_the_end_is_seen_in_the_graph():
    z = randn(6, 1).requires_grad_()
    BinaryTask().check(z * 1, (None, integers(2, 6)))
    with pytest.raises(DataError, match=r"task=BinaryTask\(sigmoid=True\)"):
        BinaryTask().check(z.sigmoid().squeeze(1), (None, integers(2, 6)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_a_sigmoid_rounded_off_has_the_loss_and_the_gradient_of_bce(dtype):
    labels = torch.tensor([1, 0, 1, 0, 1, 0])
    z = torch.tensor([800.0, 800, -800, -800, 0.3, 0.3], dtype=dtype).requires_grad_()
    task = BinaryTask(sigmoid=True)
    loss = task.loss(task.read(z.sigmoid()), (None, labels))
    right = F.binary_cross_entropy(z.sigmoid(), labels.to(dtype), reduction="none")
    torch.testing.assert_close(loss, right)
    torch.testing.assert_close(jacobian(loss, z), jacobian(right, z))


@pytest.mark.parametrize(
    ("task", "shape"),
    [
        (BinaryTask(sigmoid=True), (6,)),
        (MultilabelTask(sigmoid=True), (6, 3)),
        (SegmentationTask(sigmoid=True), (6, 1, 2, 2)),
    ],
)
def test_logits_are_not_taken_for_what_a_sigmoid_gives(task, shape):
    labels = torch.zeros(shape if len(shape) < 4 else (6, 2, 2), dtype=torch.long)
    p = randn(*shape).sigmoid()
    task.check(task.read(p), (None, labels))
    with pytest.raises(DataError, match=f"between 0 and 1.*task='{task.name}'"):
        task.check(task.read(p + 1), (None, labels))


def test_a_custom_loss_that_is_a_mean_is_refused_with_the_word_for_it():
    task = CustomTask(output=lambda p, b: p[:, 0], loss=lambda p, b: F.cross_entropy(p, b[1]))
    with pytest.raises(DataError, match="reduction='none'"):
        task.loss(randn(N, 4), (None, LABELS))
