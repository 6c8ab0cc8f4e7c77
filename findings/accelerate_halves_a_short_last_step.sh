#!/bin/sh
# Guess: accelerator.accumulate steps on the mean of the batches that are in the step, also in the last
# step of an epoch, which has fewer.
# Seen (accelerate 1.15.0): six batches, four to a step: the second step has two, and still divides by
# four, so its gradient is half of their mean (transformers' Trainer divides by two).
set -e
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q "torch==2.13.0" "accelerate==1.15.0" "numpy<3"
cd "$place"
"$place/venv/bin/python" - <<'EOF' 2>/dev/null
import accelerate
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

accelerator = Accelerator(cpu=True, gradient_accumulation_steps=4)
model = torch.nn.Linear(1, 1, bias=False)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
model, optimizer, loader = accelerator.prepare(model, optimizer, DataLoader(torch.ones(6, 1), batch_size=1))
stepped_on = []
for x in loader:
    with accelerator.accumulate(model):
        accelerator.backward(model(x).mean())  # each example's gradient is 1
        if accelerator.sync_gradients:
            stepped_on.append(float(model.weight.grad))
        optimizer.step()
        optimizer.zero_grad()
print(f"accelerate {accelerate.__version__}: gradients stepped on: {stepped_on}")
assert stepped_on == [1.0, 0.5], "this has changed"
EOF
