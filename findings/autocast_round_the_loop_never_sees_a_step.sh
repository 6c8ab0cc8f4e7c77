#!/bin/sh
# Guess: it makes no difference whether torch.autocast stands round each forward pass or round the whole
# training loop: its cache of weights in bfloat16 is renewed when the optimizer has written to them.
# Seen (torch 2.13.0, CPU): round the loop, every forward pass computes with the weights of the first step:
# the same batch has the same loss, to the bit, at all 20 steps, while the weights move on, without a word.
# Round each pass the loss falls. The cache is only emptied when the outermost autocast ends.
set -e
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q "torch==2.13.0" "numpy<3"
"$place/venv/bin/python" - 2>/dev/null <<'EOF'
from contextlib import nullcontext

import torch
from torch import nn

torch.manual_seed(0)
x, y = torch.randn(64, 8), torch.randn(64, 1)


def autocast():
    return torch.autocast("cpu", dtype=torch.bfloat16)


def losses(round_the_loop):
    torch.manual_seed(1)
    model = nn.Linear(8, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    start, seen = model.weight.clone(), []
    with autocast() if round_the_loop else nullcontext():
        for _ in range(20):
            with nullcontext() if round_the_loop else autocast():
                loss = (model(x).float() - y).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen.append(loss.item())
    return seen, (model.weight - start).norm().item()


for where in (False, True):
    seen, moved = losses(where)
    print("round the loop:" if where else "round each pass:", f"{seen[0]:.4f} ... {seen[-1]:.4f}, weights moved by {moved:.2f}")
    fell = seen[-1] < 0.8 * seen[0]
    assert moved > 0.1
    assert (len(set(seen)) == 1) if where else fell, "this has changed"
EOF
