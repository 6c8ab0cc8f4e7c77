"""Hugging Face's Trainer, Lightning and a plain loop write the same record of the same training."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from dg_explorer import Recorder, with_ids

N_EPOCHS, BATCH, LR = 3, 20, 0.05
SETTINGS = {"layers": ["body"], "gradient_every": 1}


class Rows:
    """A dataset of dicts, as Hugging Face's Trainer wants it."""

    def __init__(self, inputs, labels):
        self.inputs, self.labels = inputs, labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return {"inputs": self.inputs[i], "labels": self.labels[i]}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(5, 8), nn.ReLU())
        self.head = nn.Linear(8, 3)

    def forward(self, inputs, labels=None):
        logits = self.head(self.body(inputs))
        if labels is None:
            return logits
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


@pytest.fixture
def plain(task):
    """The five-line loop, examples in order, evaluated at each epoch."""
    run, model = task.run(), Net()
    optimizer = torch.optim.SGD(model.parameters(), LR)
    with Recorder(run, model, optimizer, train=task.train, test=task.test, **SETTINGS) as rec:
        for epoch in range(1, N_EPOCHS + 1):
            for x, y, _ in DataLoader(task.train, BATCH):
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
            rec.epoch(epoch)
    return run


def assert_same_record(one, other):
    assert one.groups() == other.groups()
    for group in ("metrics", "dynamics/train", "dynamics/test", "features/body", "gradients"):
        a, b = one[group].load(), other[group].load()
        assert a.epoch.values.tolist() == b.epoch.values.tolist()
        for name in a.data_vars:
            assert np.allclose(a[name], b[name], atol=1e-5, equal_nan=True), (group, name)
    assert one["checkpoints"].holds.values.tolist() == other["checkpoints"].holds.values.tolist()


def test_hugging_face_trainer_writes_the_record_of_the_plain_loop(task, plain, tmp_path):
    # heavy imports, and wanted by this test only
    import transformers

    from dg_explorer import HuggingFaceRecorder

    run, model = task.run(), Net()
    train, test = Rows(task.x, task.y), Rows(*task.test.tensors)
    recorder = HuggingFaceRecorder(
        run, train=with_ids(train, task.ids.numpy()), test=with_ids(test), **SETTINGS
    )
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path),
        num_train_epochs=N_EPOCHS,
        per_device_train_batch_size=BATCH,
        train_sampling_strategy="sequential",
        max_grad_norm=0.0,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
    )
    optimizer = torch.optim.SGD(model.parameters(), LR)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    transformers.Trainer(
        model,
        arguments,
        train_dataset=train,
        callbacks=[recorder],
        optimizers=(optimizer, schedule),
    ).train()
    assert_same_record(run, plain)


@pytest.mark.parametrize("logits_too", [False, True])
def test_lightning_writes_the_record_of_the_plain_loop(task, plain, tmp_path, logits_too):
    import lightning.pytorch as lightning

    from dg_explorer import LightningRecorder

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            net = Net()
            self.body, self.head = net.body, net.head

        def forward(self, x):
            return self.head(self.body(x))

        def training_step(self, batch, batch_idx):
            x, y, _ = batch
            logits = self(x)
            loss = F.cross_entropy(logits, y)
            return {"loss": loss, "logits": logits.detach()} if logits_too else loss

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), LR)

    run = task.run()
    recorder = LightningRecorder(run, train=task.train, test=task.test, **SETTINGS)
    trainer = lightning.Trainer(
        max_epochs=N_EPOCHS,
        accelerator="cpu",
        callbacks=[recorder],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(Module(), DataLoader(task.train, BATCH))
    if not logits_too:
        assert_same_record(run, plain)
        return
    # followed from batch to batch, so measured before each step and not after the epoch
    assert "while training" in run["dynamics/train"].attrs["measured"]
    followed, evaluated = run["dynamics/train"].load(), plain["dynamics/train"].load()
    assert np.isfinite(followed.loss).all()
    assert float(followed.loss.mean()) > float(evaluated.loss.mean())
    assert np.allclose(run["dynamics/test"].loss, plain["dynamics/test"].loss, atol=1e-5)
