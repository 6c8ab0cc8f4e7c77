"""Examples of a batch that see each other are found, in models, outputs and losses."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

from dg_explorer.attribution.methods import method_class
from dg_explorer.tasks import (
    ClassificationTask,
    CoupledBatchError,
    CustomTask,
    check_independent,
)


def batch(n=8, dtype=torch.float32):
    g = torch.Generator().manual_seed(0)
    return torch.randn(n, 6, generator=g).to(dtype), torch.randint(0, 3, (n,), generator=g)


def take(batch, at):
    return tuple(part[at] for part in batch)


def model(*layers, dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), *layers, nn.Linear(8, 3)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layer", [nn.Tanh(), nn.ReLU(), nn.LayerNorm(8), nn.Dropout(0.5)])
def test_plain_models_pass_at_every_precision(layer, dtype):
    plain = model(layer, dtype=dtype).eval()
    check_independent(plain, ClassificationTask(), batch(16, dtype), take)


def test_statistics_of_the_batch_are_refused_by_the_layers_name():
    with pytest.raises(CoupledBatchError, match=r"BatchNorm1d '1'.*each other"):
        check_independent(model(nn.BatchNorm1d(8)).train(), ClassificationTask(), batch(), take)
    bare = model(nn.BatchNorm1d(8, track_running_stats=False)).eval()
    with pytest.raises(CoupledBatchError, match="BatchNorm1d '1'"):
        check_independent(bare, ClassificationTask(), batch(), take)
    check_independent(model(nn.BatchNorm1d(8)).eval(), ClassificationTask(), batch(), take)


def test_a_check_leaves_running_statistics_as_they_were():
    normed = model(nn.BatchNorm1d(8)).train()
    before = {k: v.clone() for k, v in normed.state_dict().items()}
    with pytest.raises(CoupledBatchError):
        check_independent(normed, ClassificationTask(), batch(), take)
    assert all(torch.equal(v, before[k]) for k, v in normed.state_dict().items())


class Leak(nn.Module):
    """A part of the batch's mean goes into every example."""

    def __init__(self, share):
        super().__init__()
        self.share = share

    def forward(self, x):
        return x + self.share * x.mean(0)


@pytest.mark.parametrize(("share", "dtype"), [(1e-3, torch.float32), (1e-7, torch.float64)])
def test_a_small_leak_is_found_at_the_precision_of_the_numbers(share, dtype):
    leaking = model(Leak(share), dtype=dtype)
    with pytest.raises(CoupledBatchError, match="Leak '1'"):
        check_independent(leaking, ClassificationTask(), batch(dtype=dtype), take)


def test_a_contrastive_loss_beside_a_plain_output_is_found():
    def contrast(prediction, batch):
        z = F.normalize(prediction, dim=1)
        return -(z @ z.T).log_softmax(1).diagonal()

    task = CustomTask(output=lambda p, b: p[:, 0], loss=contrast)
    with pytest.raises(CoupledBatchError, match=r"loss of the task 'custom'.*batch"):
        check_independent(model(), task, batch(), take)


def test_an_output_relative_to_the_batch_is_found():
    task = CustomTask(output=lambda p, b: p[:, 0] - p[:, 0].mean())
    with pytest.raises(CoupledBatchError, match="output of the task"):
        check_independent(model(), task, batch(), take)


def test_a_layer_that_cannot_take_one_example_is_named():
    bare = model(nn.BatchNorm1d(8, track_running_stats=False)).eval()
    with pytest.raises(CoupledBatchError, match=r"batch of 3.*not one of 1.*BatchNorm1d '1'"):
        check_independent(bare, ClassificationTask(), batch(3), take)


def test_a_model_that_draws_in_eval_mode_is_not_called_coupled():
    class Noise(nn.Module):
        def forward(self, x):
            return x + torch.randn_like(x)

    with pytest.raises(CoupledBatchError, match="draws at random also in eval mode"):
        check_independent(model(Noise()).eval(), ClassificationTask(), batch(), take)


def test_a_coupled_loss_that_a_few_examples_do_not_show_is_found_in_the_first_batch():
    def contrast(prediction, served):
        """Only pairs of one class see each other; in the first five no class comes twice."""
        same = (served[-1][:, None] == served[-1][None]).float() - torch.eye(len(prediction))
        return (prediction @ prediction.T * same).sum(1) + prediction.sum(1)

    x, y = torch.randn(16, 6), torch.arange(16) % 8
    task = CustomTask(output=lambda p, served: p[:, 0], loss=contrast)
    plain = nn.Linear(6, 3)
    with pytest.raises(CoupledBatchError, match="loss of the task"):
        method_class("gradient_dot")(plain, task=task).attribute(
            TensorDataset(x, y), TensorDataset(x[:4], y[:4])
        )
