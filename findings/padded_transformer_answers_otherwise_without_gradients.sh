#!/bin/sh
# Guess: a model in evaluation mode gives the same answer under torch.no_grad() as with gradients on, up to
# rounding.
# Seen (torch 2.13.0): a TransformerEncoder with a padding mask, read out by the mean over positions, gives
# logits that differ by up to .3: under no_grad it takes a fast path that puts zeros where the
# padding is, with gradients on the padded positions hold values. Losses that are recorded under no_grad are
# then not those of the function that gradients are taken of. The example without padding: the same answer.
set -e
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q "torch==2.13.0" "numpy<3"
"$place/venv/bin/python" - 2>/dev/null <<'EOF'
import torch
from torch import nn

torch.manual_seed(0)
layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
encoder, head = nn.TransformerEncoder(layer, 2), nn.Linear(8, 3)
model = nn.ModuleList([encoder, head]).eval()
x, lengths = torch.randn(4, 5, 8), torch.tensor([5, 3, 2, 4])
padding = torch.arange(5) >= lengths[:, None]


def answer():
    return head(encoder(x, src_key_padding_mask=padding).mean(1))


with torch.no_grad():
    without = answer()
apart = (answer() - without).abs().amax(1)
print(f"torch {torch.__version__}: largest difference of a logit, by example of length 5, 3, 2, 4:")
print([round(a, 6) for a in apart.tolist()])
assert apart[0] < 1e-5
assert apart[1:].min() > 0.02, "this has changed"
EOF
