#!/bin/sh
# Guess: dattri's explicit influence function gives the same scores whatever the batch size of the loader
# that it is fitted on: the Hessian is a mean over the training examples.
# Seen (dattri 0.3.0): with 12 training examples the scores of one batch are those of the closed form;
# the largest of 2 and of 4 batches is 2.2 and 5 times that, and no one factor holds for all. A Hessian is
# inverted for each batch, and the results are added up.
set -e
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q "dattri==0.3.0" "torch==2.13.0" "numpy<3"
cd "$place"
"$place/venv/bin/python" - 2>/dev/null <<'EOF'
import torch
from dattri.algorithm.influence_function import IFAttributorExplicit
from dattri.task import AttributionTask
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
model = torch.nn.Linear(3, 2)
x, y = torch.randn(12, 3), torch.randint(2, (12,))


def loss(parameters, batch):
    return cross_entropy(torch.func.functional_call(model, parameters, (batch[0],)), batch[1])


def scores(size):
    task = AttributionTask(loss_func=loss, model=model, checkpoints=model.state_dict())
    attributor = IFAttributorExplicit(task=task, regularization=0.1)
    train = DataLoader(TensorDataset(x, y), batch_size=size)
    attributor.cache(train)
    return attributor.attribute(train, DataLoader(TensorDataset(x[:2], y[:2]), batch_size=2)).detach()


def closed_form():
    flat = torch.cat([model.weight.flatten(), model.bias]).detach()

    def one(weights, i):
        return cross_entropy(x[i : i + 1] @ weights[:6].view(2, 3).T + weights[6:], y[i : i + 1])

    gradients = torch.stack([torch.func.grad(one)(flat, i) for i in range(12)])
    hessian = sum(torch.func.hessian(one)(flat, i) for i in range(12)) / 12
    return gradients @ torch.linalg.solve(hessian + 0.1 * torch.eye(8), gradients[:2].T)


truth = closed_form()
largest = {size: (scores(size).abs().max() / truth.abs().max()).item() for size in (12, 6, 3)}
print("largest score over that of the closed form, by batch size:", {size: round(r, 2) for size, r in largest.items()})
assert torch.allclose(scores(12), truth, rtol=1e-3, atol=1e-4), "one batch is not the closed form any more"
assert largest[6] > 1.5 and largest[3] > 3, "this has changed"
EOF
