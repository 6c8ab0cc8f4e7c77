#!/bin/sh
# Guess: going through a DataLoader with shuffle=False and num_workers=0 draws no random number, so
# evaluating after each epoch leaves the training as it is.
# Seen (torch 2.13.0): each pass draws one number from torch's global generator (a seed for workers, though
# there are none). Two trainings from one seed, with and without such a pass after each epoch, go through
# the same first epoch and through other orders from the second on. With a generator= of its own the
# evaluating loader leaves the training alone.
set -e
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q "torch==2.13.0" "numpy<3"
"$place/venv/bin/python" - <<'EOF'
import torch
from torch.utils.data import DataLoader, TensorDataset

data = TensorDataset(torch.arange(8))


def orders(evaluate=None):
    torch.manual_seed(0)
    train = DataLoader(data, batch_size=8, shuffle=True)
    found = []
    for _ in range(3):
        found += [rows.tolist() for (rows,) in train]
        if evaluate is not None:
            for _ in evaluate:
                pass
    return found


alone = orders()
beside = orders(DataLoader(data, batch_size=4, shuffle=False))
own = orders(DataLoader(data, batch_size=4, shuffle=False, generator=torch.Generator()))
print("epochs with the same order:", [a == b for a, b in zip(alone, beside)], "with a generator of its own:", alone == own)
assert [a == b for a, b in zip(alone, beside)] == [True, False, False], "this has changed"
assert alone == own
EOF
