#!/bin/sh
# Guess: when max_steps stops Lightning inside an epoch, on_train_epoch_end is not called for it.
# Seen (lightning 2.6.6, torch 2.13.0): it is called, with the number of the epoch that was cut off,
# after one of its four batches; nothing but the count of batches tells it from a whole epoch.
set -e
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q "torch==2.13.0" "lightning==2.6.6" "numpy<3"
cd "$place"
"$place/venv/bin/python" - <<'EOF' 2>/dev/null
import lightning
import torch
from torch.utils.data import DataLoader, TensorDataset


class Net(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(2, 1)

    def training_step(self, batch, _):
        return self.inner(batch[0]).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Ends(lightning.Callback):
    def __init__(self):
        self.seen = []

    def on_train_epoch_end(self, trainer, module):
        self.seen.append((trainer.current_epoch, trainer.global_step))


ends = Ends()
quiet = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
trainer = lightning.Trainer(max_steps=5, accelerator="cpu", callbacks=[ends], **quiet)
trainer.fit(Net(), DataLoader(TensorDataset(torch.randn(8, 2)), batch_size=2))
print(f"lightning {lightning.__version__}: ends of epochs (epoch, steps): {ends.seen}")
assert ends.seen == [(0, 4), (1, 5)], "this has changed"
EOF
