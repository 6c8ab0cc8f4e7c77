#!/bin/sh
# Guess: traker's published recipe (featurize, finalize_features, start_scoring_checkpoint, score) works on
# a CPU for any proj_dim, so a small one is the natural choice for a small model.
# Seen (traker 0.3.2): with one checkpoint and proj_dim=64 score() is an AttributeError (the projector has
# no proj_matrix); with proj_dim=256 the same lines work. finalize_features() gives the matrix back to
# memory, and it is drawn again for each block only where the projection is more than one block of columns.
set -e
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q "traker==0.3.2" "torch==2.13.0" "numpy<3"
cd "$place"
"$place/venv/bin/python" - 2>/dev/null <<'EOF'
import torch
from trak import TRAKer

torch.manual_seed(0)
x, y = torch.randn(40, 8), torch.randint(3, (40,))
model = torch.nn.Linear(8, 3).eval()


def outcome(dimensions):
    how = dict(task="image_classification", train_set_size=32, device="cpu", logging_level=40)
    traker = TRAKer(model, save_dir=f"scores_{dimensions}", proj_dim=dimensions, **how)
    traker.load_checkpoint(model.state_dict(), model_id=0)
    traker.featurize(batch=[x[:32], y[:32]], num_samples=32)
    traker.finalize_features()
    traker.start_scoring_checkpoint("test", model.state_dict(), model_id=0, num_targets=8)
    try:
        traker.score(batch=[x[32:], y[32:]], num_samples=8)
    except AttributeError as error:
        return str(error)
    return tuple(traker.finalize_scores("test").shape)


outcomes = {dimensions: outcome(dimensions) for dimensions in (64, 256)}
print(outcomes)
assert outcomes[256] == (32, 8) and "proj_matrix" in outcomes[64], "this has changed"
EOF
