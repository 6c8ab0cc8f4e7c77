#!/bin/sh
# Guess: a causal model of transformers that was turned to float64 takes its loss in float64, as all of its
# weights and logits are.
# Seen (transformers 5.23.0): the loss is float32, for the logits are turned to float32 before the
# cross-entropy. Central differences of that loss are off by 2 parts in a thousand where those of the loss
# in float64 agree with the gradient to 1e-11: a check in double precision must take it from the logits.
set -e
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q "torch==2.13.0" "transformers==5.23.0" "numpy<3"
"$place/venv/bin/python" - 2>/dev/null <<'EOF'
import torch
import transformers
from torch.nn.functional import cross_entropy

torch.manual_seed(0)
sizes = {"vocab_size": 20, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
config = transformers.LlamaConfig(**sizes, num_attention_heads=2, pad_token_id=0, bos_token_id=1, eos_token_id=2)
model = transformers.LlamaForCausalLM(config).double().eval()
tokens = torch.randint(3, 20, (4, 6))
weight = model.lm_head.weight


def own():
    return model(tokens, labels=tokens).loss


def double():
    logits = model(tokens).logits[:, :-1]
    return cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def error(loss, h=1e-5):
    """Of a central difference along a random direction, relative to the gradient's product with it."""
    direction = torch.randn(weight.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    exact = (torch.autograd.grad(double(), weight)[0] * direction).sum()
    ends = []
    with torch.no_grad():
        for sign in (1, -1):
            weight.add_(sign * h * direction)
            ends.append(loss().double())
            weight.sub_(sign * h * direction)
    return abs((ends[0] - ends[1]) / (2 * h) / exact - 1).item()


print(f"transformers {transformers.__version__}: logits {model(tokens).logits.dtype}, loss {own().dtype}")
print(f"central differences are off by {error(own):.0e}; of the loss in float64 by {error(double):.0e}")
assert model(tokens).logits.dtype == torch.float64
assert own().dtype == torch.float32, "this has changed"
assert error(double) < 1e-6
assert error(own) > 1e-4, "this has changed"
EOF
