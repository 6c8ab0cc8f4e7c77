"""What is recorded of each kind of learning, against torch's own losses on the same model."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

from dg_explorer import Recorder, Run, attribute, with_ids
from dg_explorer.errors import DataError, SettingError
from dg_explorer.tasks import BinaryTask, ClassificationTask, CustomTask, TaskUnclearError

N = 12


def inputs(seed=0, n=N):
    return torch.randn(n, 5, generator=torch.Generator().manual_seed(seed))


def net(out, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, out))


def recorded(model, labels, *, by_batch=False, loss=None, **settings):
    """A run of one epoch; with `by_batch` the training examples are followed in the loop."""
    data = TensorDataset(inputs(), labels)
    run = Run.create(
        name="t", train_examples={"n": np.arange(N)}, test_examples={"n": np.arange(N)}
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    train = None if by_batch else with_ids(data)
    with Recorder(run, model, optimizer, train=train, test=data, **settings) as recorder:
        if by_batch:
            answers = model(inputs())
            optimizer.zero_grad()
            (loss(answers) if loss else answers.sum()).backward()
            recorder.batch(answers, labels, torch.arange(N))
            optimizer.step()
        recorder.epoch(0)
    return run


REAL = torch.randn(N, generator=torch.Generator().manual_seed(5))
BITS = (inputs()[:, 0] > 0).long()
SIGNS = 2 * BITS - 1  # an answer of -1 is an answer, and not an example that was never seen
MANY = (inputs()[:, :3] > 0).long()
CASES = {
    "regression": (1, REAL, lambda z: F.mse_loss(z[:, 0], REAL)),
    "binary": (1, BITS, lambda z: F.binary_cross_entropy_with_logits(z[:, 0], BITS.float())),
    "signs": (1, SIGNS, lambda z: F.soft_margin_loss(z[:, 0], SIGNS.float())),
    "multilabel": (3, MANY, lambda z: F.binary_cross_entropy_with_logits(z, MANY.float())),
    "classification": (2, BITS, lambda z: F.cross_entropy(z, BITS)),
}


@pytest.mark.parametrize("by_batch", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_the_recorded_loss_is_the_trained_one(name, by_batch):
    width, labels, loss = CASES[name]
    model = net(width)
    run = recorded(model, labels, by_batch=by_batch, loss=loss)
    with torch.no_grad():
        right = float(loss(model(inputs())))
    assert run.attrs["task"]["name"] == ("binary" if name == "signs" else name)
    metrics = run["metrics"].isel(epoch=0)
    for split in ("train", "test"):
        assert float(metrics[f"{split}_loss"]) == pytest.approx(right, rel=1e-5)
        each = run[f"dynamics/{split}"]["loss"].isel(epoch=0)
        assert float(each.mean()) == pytest.approx(right, rel=1e-5)
    if by_batch:
        assert run.attrs["trained_loss"]["kind"] == "same"


def test_a_regression_has_no_accuracy_and_its_predictions_are_real():
    model = net(1)
    run = recorded(model, REAL)
    assert not any("accuracy" in name for name in run["metrics"])
    dynamics = run["dynamics/test"].isel(epoch=0)
    assert {"correct", "prediction", "confidence"}.isdisjoint(dynamics)
    with torch.no_grad():
        assert np.allclose(dynamics["output"], model(inputs())[:, 0], rtol=1e-5)
    assert dynamics["seen"].all()


def test_another_loss_than_the_tasks_is_noticed_whatever_the_task():
    with pytest.warns(UserWarning, match="squared error"):
        run = recorded(
            net(1), REAL, by_batch=True, loss=lambda z: F.l1_loss(z[:, 0], REAL), task="regression"
        )
    assert run.attrs["trained_loss"]["kind"] != "same"


def test_one_logit_is_recorded_as_two_logits_are():
    model = net(1)
    run = recorded(model, BITS)["dynamics/test"].isel(epoch=0)
    with torch.no_grad():
        z = model(inputs())[:, 0].double()
    p = torch.where(BITS > 0, z.sigmoid(), 1 - z.sigmoid())
    assert np.allclose(run["confidence"], p, rtol=1e-5)
    assert np.allclose(run["margin"], (p / (1 - p)).log(), rtol=1e-4)
    assert np.array_equal(run["correct"], (z > 0) == (BITS > 0))


def test_the_task_may_be_said_and_a_doubt_is_asked_about():
    with pytest.raises(TaskUnclearError, match=r"'binary'.*'regression'"):
        recorded(net(1), BITS.float())
    run = recorded(net(1), BITS.float(), task="binary")
    assert "test_accuracy" in run["metrics"]
    assert run.attrs["task"]["name"] == "binary"


def test_a_task_of_ones_own_is_recorded_from_whole_batches():
    weights = torch.linspace(0.5, 2, N)

    def loss(prediction, batch):
        return (prediction[:, 0] - batch[1]).abs()

    task = CustomTask(output=lambda p, b: p[:, 0] * 2, loss=loss)
    model = net(1)
    run = recorded(model, weights, by_batch=False, task=task)
    with torch.no_grad():
        z = model(inputs())[:, 0]
    assert np.allclose(run["dynamics/test"]["loss"][0], (z - weights).abs(), rtol=1e-5)
    assert np.allclose(run["dynamics/train"]["output"][0], 2 * z, rtol=1e-5)


def test_a_model_that_ends_in_a_softmax_is_not_recorded_as_if_it_gave_logits():
    model = nn.Sequential(net(3), nn.Softmax(1))
    labels = torch.arange(N) % 3
    with pytest.raises(DataError, match="probabilities"):
        recorded(model, labels)
    with pytest.raises(DataError, match="probabilities"):
        recorded(model, labels, by_batch=True)
    run = recorded(model, labels, task="probabilities")
    with torch.no_grad():
        p = model(inputs())[torch.arange(N), labels]
    assert np.allclose(run["dynamics/test"]["confidence"][0], p, rtol=1e-5)


class NextToken(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.mix, self.head = nn.Embedding(9, 4), nn.Linear(4, 4), nn.Linear(4, 9)

    def forward(self, tokens):
        return self.head(torch.tanh(self.mix(self.embed(tokens))))


def test_sequences_of_several_lengths_weigh_by_their_tokens():
    tokens = torch.randint(0, 9, (N, 6), generator=torch.Generator().manual_seed(1))
    targets = torch.cat([tokens[:, 1:], torch.full((N, 1), -100)], 1)
    for i in range(N):
        targets[i, 2 + i % 4 :] = -100
    model, data = NextToken(), TensorDataset(tokens, targets)
    run = Run.create(name="t", train_examples={"n": range(N)}, test_examples={"n": range(N)})
    Recorder(run, model, test=data).epoch(0)
    with torch.no_grad():
        mean = float(F.cross_entropy(model(tokens).transpose(1, 2), targets))
    metrics = run["metrics"].isel(epoch=0)
    assert float(metrics["test_loss"]) == pytest.approx(mean, rel=1e-5)
    assert float(metrics["test_perplexity"]) == pytest.approx(math.exp(mean), rel=1e-5)
    assert run["dynamics/test"]["tokens"][0].values.tolist() == (targets != -100).sum(1).tolist()


def test_a_second_recording_by_another_task_is_refused():
    run = recorded(net(1), BITS)
    data = TensorDataset(inputs(), BITS)
    again = Recorder(run, net(1), test=data, task="regression")
    with pytest.raises(SettingError, match=r"BinaryTask\(\).*RegressionTask\(\)"):
        again.epoch(1)


def test_unlabelled_rows_are_left_out_of_every_mean():
    labels = torch.arange(N) % 3
    hidden = labels.masked_fill(torch.arange(N) % 4 == 0, -100)
    model = net(3)
    run = recorded(model, hidden)
    with torch.no_grad():
        right = float(F.cross_entropy(model(inputs()), hidden))
    metrics = run["metrics"].isel(epoch=0)
    assert float(metrics["test_loss"]) == pytest.approx(right, rel=1e-5)
    with torch.no_grad():
        correct = (model(inputs()).argmax(1) == hidden)[hidden >= 0].float().mean()
    assert float(metrics["test_accuracy"]) == pytest.approx(float(correct))


def test_a_sigmoid_at_the_end_is_refused_while_recording_as_while_scoring():
    x = torch.randn(12, 6, generator=torch.Generator().manual_seed(0))
    data = TensorDataset(x, (x[:, 0] > 0).long())
    ended = nn.Sequential(nn.Linear(6, 1), nn.Sigmoid())
    run = Run.create(name="sigmoid")
    with (
        pytest.raises(DataError, match="ends in a sigmoid"),
        Recorder(run, ended, None, train=with_ids(data), test=data) as recorder,
    ):
        recorder.epoch(0)


@pytest.mark.second_ring(sample=0)
def test_a_training_by_bce_is_recorded_and_scored_as_that_of_its_logits():
    x = torch.randn(24, 6, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0.1).float()
    data = {"sigmoid": TensorDataset(x, y), "logits": TensorDataset(x, y.long())}
    found = {}
    for kind, task in (("sigmoid", BinaryTask(sigmoid=True)), ("logits", "binary")):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 1))
        if kind == "sigmoid":
            model.append(nn.Sigmoid())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        run = Run.create(name=kind)
        with Recorder(
            run, model, optimizer, train=with_ids(data[kind]), test=data[kind], task=task
        ) as recorder:
            for epoch in range(2):
                for part in torch.arange(24).split(8):
                    optimizer.zero_grad()
                    recorder.order(part)
                    answer = model(x[part])[:, 0]
                    ours = F.binary_cross_entropy_with_logits
                    loss = nn.BCELoss() if kind == "sigmoid" else ours
                    loss(answer, y[part]).backward()
                    optimizer.step()
                recorder.epoch(epoch)
        scores = attribute(run, model, with_ids(data[kind]), data[kind], task=task, progress=False)
        found[kind] = run["dynamics/train"].load(), run.attrs["trained_loss"], scores.load()
    one, other = found.values()
    assert one[1]["kind"] == other[1]["kind"] == "same"
    for name in ("loss", "confidence", "margin", "correct", "prediction"):
        np.testing.assert_allclose(one[0][name], other[0][name], rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(one[2]["score"], other[2]["score"], rtol=1e-3, atol=1e-4)


def test_small_positive_logits_are_no_sigmoid():
    x = torch.randn(12, 6, generator=torch.Generator().manual_seed(0)) * 1e-3
    data = TensorDataset(x, torch.arange(12) % 2)
    model = nn.Linear(6, 1)
    nn.init.constant_(model.bias, 0.5)
    run = Run.create(name="logits")
    with Recorder(run, model, None, train=with_ids(data), test=data) as recorder:
        recorder.epoch(0)
    right = F.binary_cross_entropy_with_logits(model(x)[:, 0], (torch.arange(12) % 2).float())
    assert float(run["metrics"].train_loss[0]) == pytest.approx(float(right.detach()), rel=1e-5)


@pytest.mark.parametrize(
    ("labels", "advice"),
    [
        (F.one_hot(torch.arange(12) % 3, 3), r"argmax\(1\)"),
        ((torch.arange(12) % 3).float(), r"batch\[-1\].long\(\)"),
        (torch.linspace(0, 1, 12), "task='regression'"),
    ],
)
def test_labels_that_are_no_classes_come_with_what_to_write(labels, advice):
    model = nn.Linear(6, 3)
    task = ClassificationTask()
    batch = (torch.randn(12, 6), labels)
    with pytest.raises(DataError, match=advice):
        task.check(model(batch[0]), batch)
