#!/bin/sh
# Guess: captum's TracInCP gives the model back with the weights that it came with, since it only asks.
# Seen (captum 0.9.0): after influence() the model holds the weights of the last checkpoint (it goes through
# them in the order of the numbers in their names), whatever it held before, without a word. Here the best
# moment's weights were loaded, and whatever is measured next is measured on the last moment's.
set -e
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q "captum==0.9.0" "torch==2.13.0" "numpy<3"
cd "$place"
"$place/venv/bin/python" - 2>/dev/null <<'EOF'
import captum
import torch
from captum.influence import TracInCP
from torch import nn
from torch.utils.data import TensorDataset

torch.manual_seed(0)
x, y = torch.randn(6, 3), torch.tensor([0, 1, 0, 1, 1, 0])
model, moments = nn.Linear(3, 2), []
for moment in range(3):
    nn.init.constant_(model.weight, float(moment))
    moments.append(f"{moment}.pt")
    torch.save(model.state_dict(), moments[-1])


def load(model, path):
    model.load_state_dict(torch.load(path, weights_only=True))
    return 1.0


load(model, "1.pt")  # the best moment, say
asked = TracInCP(model, TensorDataset(x, y), moments, load, loss_fn=nn.CrossEntropyLoss(reduction="none"), batch_size=2)
before = model.weight[0, 0].item()
asked.influence((x[:2], y[:2]))
after = model.weight[0, 0].item()
print(f"captum {captum.__version__}: every weight was {before}, and is {after} after influence()")
assert (before, after) == (1.0, 2.0), "this has changed"
EOF
