#!/bin/sh
# Guess: the loss that Trainer steps on for one batch is the loss that the model returns for that batch.
# Seen (transformers 5.23.0): for GPT-2 it is 4/5 of it, for sequences of five tokens. Trainer counts the
# labels before they are shifted, and the sum over four predictions is divided by five. Llama's is equal:
# with it the count is made after the shift.
set -e
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q "torch==2.13.0" "transformers==5.23.0" "accelerate==1.15.0" "numpy<3"
cd "$place"
"$place/venv/bin/python" - <<'EOF' 2>/dev/null
import torch
import transformers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments


def ratio(model):
    draw = torch.Generator().manual_seed(0)
    rows = [{"input_ids": row, "labels": row} for row in torch.randint(12, (4, 5), generator=draw)]
    with torch.no_grad():
        own = float(model(**{name: torch.stack([row[name] for row in rows]) for name in rows[0]}).loss)
    how = dict(per_device_train_batch_size=4, max_steps=1, learning_rate=0.0, logging_steps=1)
    quiet = dict(report_to=[], save_strategy="no", use_cpu=True, disable_tqdm=True)
    trainer = Trainer(model, TrainingArguments("out", **how, **quiet), train_dataset=rows)
    trainer.train()
    return next(row["loss"] for row in trainer.state.log_history if "loss" in row) / own


off = dict(resid_pdrop=0, embd_pdrop=0, attn_pdrop=0)
gpt2 = ratio(GPT2LMHeadModel(GPT2Config(vocab_size=12, n_embd=8, n_layer=1, n_head=2, n_positions=8, **off)))
sizes = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
llama = ratio(LlamaForCausalLM(LlamaConfig(vocab_size=12, **sizes)))
print(f"transformers {transformers.__version__}: trained loss / model's own loss: GPT-2 {gpt2:.4f}, Llama {llama:.4f}")
assert abs(gpt2 - 4 / 5) < 1e-4 and abs(llama - 1) < 1e-4, "this has changed"
EOF
