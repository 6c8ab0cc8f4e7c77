#!/bin/sh
# Guess: captum's TracInCPFast of a last linear layer is TracInCP of that layer, computed faster.
# Seen (captum 0.9.0): it is TracInCP of the layer's weights alone; the gradient of its bias is left out.
# After a ReLU, two examples for which no unit is active in both score exactly 0. Here the largest score is
# .85 for 1.21, and half of the first row is 0.
set -e
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q "captum==0.9.0" "torch==2.13.0" "numpy<3"
cd "$place"
"$place/venv/bin/python" - 2>/dev/null <<'EOF'
import captum
import torch
from captum.influence import TracInCP, TracInCPFast
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

torch.manual_seed(0)
x, y = torch.randn(6, 3), torch.tensor([0, 1, 0, 1, 1, 0])
model, data = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), TensorDataset(x, y)
torch.save(model.state_dict(), "0.pt")


def load(model, path):
    model.load_state_dict(torch.load(path, weights_only=True))
    return 1.0


def products(parameters):
    rows = []
    for i in range(6):
        gradient = torch.autograd.grad(cross_entropy(model(x[i : i + 1]), y[i : i + 1]), parameters)
        rows.append(torch.cat([g.flatten() for g in gradient]))
    rows = torch.stack(rows)
    return rows[:2] @ rows.T


one = {"loss_fn": nn.CrossEntropyLoss(reduction="none"), "batch_size": 2}
summed = {"loss_fn": nn.CrossEntropyLoss(reduction="sum"), "batch_size": 2}
slow = TracInCP(model, data, ["0.pt"], load, layers=["2"], **one).influence((x[:2], y[:2]))
fast = TracInCPFast(model, model[2], data, ["0.pt"], load, **summed).influence((x[:2], y[:2]))
last = model[2]
print(f"captum {captum.__version__}")
print("TracInCP    ", [round(s, 2) for s in slow[0].tolist()])
print("TracInCPFast", [round(s, 2) for s in fast[0].tolist()])
assert torch.allclose(slow, products([last.weight, last.bias]), atol=1e-5), "the slow one is another"
assert torch.allclose(fast, products([last.weight]), atol=1e-5), "this has changed"
assert (fast[0] == 0).sum() == 3, "this has changed"
EOF
