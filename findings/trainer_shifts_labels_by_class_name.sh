#!/bin/sh
# Guess: with label_smoothing_factor, Trainer trains an empty subclass of LlamaForCausalLM as it trains
# LlamaForCausalLM.
# Seen (transformers 5.23.0): the subclass learns to repeat the current token. Whether the smoothed loss
# shifts the labels is decided by the name of the model's class, which is not in the list; no warning.
set -e
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q "torch==2.13.0" "transformers==5.23.0" "accelerate==1.15.0" "numpy<3"
cd "$place"
"$place/venv/bin/python" - <<'EOF' 2>/dev/null
import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments


class OwnLlama(LlamaForCausalLM):
    pass


def learned(kind):
    torch.manual_seed(0)
    sizes = dict(vocab_size=12, hidden_size=16, intermediate_size=32, num_hidden_layers=1)
    model = kind(LlamaConfig(**sizes, num_attention_heads=2, num_key_value_heads=2))
    row = torch.arange(10)  # after token k comes k + 1
    how = dict(num_train_epochs=60, learning_rate=1e-2, label_smoothing_factor=0.1)
    quiet = dict(report_to=[], save_strategy="no", use_cpu=True, disable_tqdm=True)
    rows = [{"input_ids": row, "labels": row}] * 8
    Trainer(model, TrainingArguments("out", **how, **quiet), train_dataset=rows).train()
    with torch.no_grad():
        said = model(row[None]).logits[0, :-1].argmax(1)
    return float((said == row[1:]).float().mean()), float((said == row[:-1]).float().mean())


plain, own = learned(LlamaForCausalLM), learned(OwnLlama)
print(f"transformers {transformers.__version__}: (says the next token, says the current one again)")
print(f"  LlamaForCausalLM {plain}, an empty subclass of it {own}")
assert plain == (1.0, 0.0) and own == (0.0, 1.0), "this has changed"
EOF
