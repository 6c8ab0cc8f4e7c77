#!/bin/sh
# Guess: Trainer's gradient of 8 examples is the same in one batch as accumulated from 4 batches of 2,
# to rounding, whatever the model.
# Seen (transformers 5.23.0): for BertForSequenceClassification it is 4 times as large. Trainer leaves
# the division to models whose forward takes keywords, and this head takes the mean of its own batch
# without it, so the sum of the 4 means is stepped on (unless clipping to a norm of 1 hides it).
set -e
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q "torch==2.13.0" "transformers==5.23.0" "accelerate==1.15.0" "numpy<3"
cd "$place"
"$place/venv/bin/python" - <<'EOF' 2>/dev/null
import torch
import transformers
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments


def gradient_norm(batch, accumulated):
    torch.manual_seed(0)
    sizes = dict(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    model = BertForSequenceClassification(BertConfig(**sizes, hidden_dropout_prob=0, attention_probs_dropout_prob=0))
    draw = torch.Generator().manual_seed(1)
    rows = [{"input_ids": torch.randint(20, (5,), generator=draw), "labels": i % 2} for i in range(8)]
    how = dict(per_device_train_batch_size=batch, gradient_accumulation_steps=accumulated)
    quiet = dict(report_to=[], save_strategy="no", logging_steps=1, use_cpu=True, disable_tqdm=True)
    trainer = Trainer(model, TrainingArguments("out", max_steps=1, max_grad_norm=1e9, **how, **quiet), train_dataset=rows)
    trainer.train()
    return next(row["grad_norm"] for row in trainer.state.log_history if "grad_norm" in row)


whole, accumulated = gradient_norm(8, 1), gradient_norm(2, 4)
print(f"transformers {transformers.__version__}: gradient norm {whole:.4f} of 8 at once, {accumulated:.4f} of 4 times 2")
assert abs(accumulated / whole - 4) < 1e-4, "this has changed"
EOF
