#!/bin/sh
# Guess: kronfluence's prepare_model on transformers' GPT-2, with no list of modules given, tracks every
# matrix of its blocks, or says that it cannot.
# Seen (kronfluence 1.0.1, transformers 5.23): one module of the model is tracked, lm_head, without a word:
# the blocks are made of transformers' Conv1D, which is no torch.nn.Linear. All scores are then those of the
# head alone, 800 of 7,648 parameters here, and that matrix is the tied embedding.
set -e
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q "kronfluence==1.0.1" "transformers==5.23.0" "torch==2.13.0" "numpy<3"
"$place/venv/bin/pip" uninstall -q -y torchvision  # it comes along; text needs none
"$place/venv/bin/python" - 2>/dev/null <<'EOF'
from importlib.metadata import version

from kronfluence.analyzer import prepare_model
from kronfluence.module import TrackedModule
from kronfluence.task import Task
from transformers import GPT2Config, GPT2LMHeadModel


class Language(Task):
    def compute_train_loss(self, batch, model, sample=False):
        return model(**batch).loss

    def compute_measurement(self, batch, model):
        return model(**batch).loss


sizes = {"n_layer": 2, "n_head": 2, "n_embd": 16, "vocab_size": 50, "n_positions": 16}
model = GPT2LMHeadModel(GPT2Config(bos_token_id=None, eos_token_id=None, **sizes))
parameters = sum(p.numel() for p in model.parameters())
matrices = [n for n, p in model.named_parameters() if p.ndim == 2 and ".h." in n]
model = prepare_model(model, Language())
tracked = [n for n, m in model.named_modules() if isinstance(m, TrackedModule)]
print(f"kronfluence {version('kronfluence')}, transformers {version('transformers')}:")
print(f"{parameters} parameters, {len(matrices)} matrices in the blocks; tracked: {tracked}")
assert len(matrices) == 8
assert tracked == ["lm_head"], "this has changed"
EOF
