"""A recorded training of a model with several inputs is replayed as one with a single tensor."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import Dataset, TensorDataset

import dg_explorer as dg
from dg_explorer.training.recorded_steps import ReplayMissingError
from dg_explorer.training.training import margin

G = torch.Generator().manual_seed(0)
N, M = 12, 4
X = torch.randn(N, 3, generator=G).double()
TOKENS = torch.randint(0, 7, (N, 4), generator=G)
Y = torch.randint(0, 3, (N,), generator=G)


class Two(nn.Module):
    """Features by position and tokens by position or name; one may be masked."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(7, 3)
        self.head = nn.Linear(3, 3)

    def forward(self, x, tokens, mask=None):
        weight = torch.ones_like(tokens) if mask is None else mask
        seen = (self.table(tokens) * weight[..., None]).sum(1)
        return self.head(torch.tanh(x + seen))


class Rows(Dataset):
    def __len__(self):
        return N

    def __getitem__(self, i):
        mask = torch.arange(4) < 3
        return {"x": X[i], "tokens": TOKENS[i], "mask": mask, "target": Y[i], "weight": 1.0}


class Few(Rows):
    def __len__(self):
        return M


HABITS = {
    "two tensors and a label": (
        TensorDataset(X, TOKENS, Y),
        TensorDataset(X[:M], TOKENS[:M], Y[:M]),
        {},
        lambda model, ids: model(X[ids], TOKENS[ids]),
    ),
    "a label that comes first": (
        TensorDataset(Y, X, TOKENS),
        TensorDataset(Y[:M], X[:M], TOKENS[:M]),
        {"label": 0, "forward": [1, 2]},
        lambda model, ids: model(X[ids], TOKENS[ids]),
    ),
    "keywords and a label of another name": (
        Rows(),
        Few(),
        {"label": "target", "forward": ["x", "tokens", "mask"]},
        lambda model, ids: model(X[ids], TOKENS[ids], (torch.arange(4) < 3).expand(len(ids), 4)),
    ),
}


def train(ask, weights=None, recorder=None):
    torch.manual_seed(0)
    model = Two().double()
    weights = torch.ones(N).double() if weights is None else weights
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    recording = recorder and recorder(model, optimizer)
    for step in range(6):
        ids = torch.arange(step % 2, N, 2)
        logits = ask(model, ids)
        losses = F.cross_entropy(logits, Y[ids], reduction="none")
        optimizer.zero_grad()
        (losses * weights[ids]).mean().backward()
        if recording:
            recording.batch(logits, Y[ids], ids)
        optimizer.step()
        if recording:
            recording.epoch(step)
    if recording:
        recording.close()
    return model


@pytest.mark.parametrize("habit", HABITS)
def test_exact_scores_are_finite_differences_of_training_again(habit):
    data, test, how, ask = HABITS[habit]
    run = dg.Run.create(
        name=habit, train_examples={"label": Y.numpy()}, test_examples={"label": Y[:M].numpy()}
    )

    def recorder(model, optimizer):
        served = {"train": dg.with_ids(data), "test": test}
        return dg.Recorder(run, model, optimizer, **served, replay=True, **how)

    model = train(ask, recorder=recorder)
    training = dg.training_of_run(run, model, train=dg.with_ids(data), test=test, **how)
    found = dg.add_unrolled_scores(run, training, epochs=[5], windows=None).score.values[0]

    def outputs(weights):
        return margin(ask(train(ask, weights), torch.arange(M)), Y[:M]).detach()

    h = 1e-5
    right = [
        (outputs(1 + h * one) - outputs(1 - h * one)) / (2 * h) for one in torch.eye(N).double()
    ]
    torch.testing.assert_close(torch.as_tensor(found), torch.stack(right, 1), rtol=1e-4, atol=1e-6)


def test_a_function_that_calls_the_model_cannot_be_replayed():
    data, test, _, ask = HABITS["two tensors and a label"]
    run = dg.Run.create(name="function", train_examples={"label": Y.numpy()})
    how = {"forward": lambda model, batch: model(batch[0], batch[1]), "label": 2}

    def recorder(model, optimizer):
        return dg.Recorder(run, model, optimizer, train=dg.with_ids(data), replay=True, **how)

    model = train(ask, recorder=recorder)
    with pytest.raises(ReplayMissingError, match="forward= which entries"):
        dg.training_of_run(run, model, train=dg.with_ids(data), test=test, **how)
