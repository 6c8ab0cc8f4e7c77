"""Trainers that run several processes: the record has the slots that their models were given."""

import os

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from several import launch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import dg_explorer as dg
from dg_explorer.training.from_run import training_of_run

N, BATCH, EPOCHS = 10, 4, 2
X = torch.randn(N, 5, generator=torch.Generator().manual_seed(0))
Y = torch.arange(N) % 3


class Rows(Dataset):
    """Rows of a dict, as Hugging Face's Trainer wants them."""

    def __len__(self):
        return N

    def __getitem__(self, i):
        return {"inputs": X[i], "labels": Y[i]}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3))

    def forward(self, inputs, labels=None):
        logits = self.net(inputs)
        if labels is None:
            return logits
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


def watched(model):
    """The ids of each batch that the model is trained on, as they come."""
    seen = []

    def note(module, arguments, keywords):
        if module.training and torch.is_grad_enabled():
            inputs = arguments[0] if arguments else keywords["inputs"]
            seen.append([int((row == X).all(1).nonzero()) for row in inputs])

    model.register_forward_pre_hook(note, with_kwargs=True)
    return seen


def as_torchrun(rank, world):
    """What `torchrun` tells a process."""
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
    told |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 29511, "TORCHELASTIC_RUN_ID": "test"}
    told |= {"GROUP_RANK": 0, "ROLE_RANK": rank, "ACCELERATE_USE_CPU": "true"}
    os.environ.update({name: str(value) for name, value in told.items()})


def run_of(rank, path):
    if rank:
        return None
    return dg.Run.create(path, name="several", train_examples={"label": Y.numpy()})


def by_transformers(rank, world, path):
    as_torchrun(rank, world)
    import transformers

    transformers.logging.set_verbosity_error()
    model = Net()
    seen = watched(model)
    how = {"forward": ["inputs"], "label": "labels", "replay": True, "wait": 300}
    recorder = dg.HuggingFaceRecorder(run_of(rank, path), train=dg.with_ids(Rows()), **how)
    arguments = transformers.TrainingArguments(
        output_dir=str(path.parent / "out"),
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        ddp_backend="gloo",
        num_train_epochs=EPOCHS,
        per_device_train_batch_size=BATCH,
        learning_rate=0.02,
        adam_epsilon=1e-3,
    )
    trainer = transformers.Trainer(model, arguments, train_dataset=Rows(), callbacks=[recorder])
    trainer.train()
    return seen


def by_lightning(rank, world, path):
    as_torchrun(rank, world)
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.inner = Net()

        def forward(self, x):
            return self.inner(x)

        def training_step(self, batch, _):
            x, y, _ = batch
            logits = self(x)
            return {"loss": F.cross_entropy(logits, y), "logits": logits}

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), 0.02, eps=1e-3)

    module = Module()
    seen = watched(module.inner)
    # which Lightning shuffles all the same
    loader = DataLoader(dg.with_ids(TensorDataset(X, Y)), BATCH, shuffle=False)
    recorder = dg.LightningRecorder(run_of(rank, path), replay=True, wait=300)
    lightning.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        devices=world,
        strategy="ddp",
        callbacks=[recorder],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(module, loader)
    return seen


def by_accelerate(rank, world, path):
    as_torchrun(rank, world)
    import accelerate

    accelerator = accelerate.Accelerator(cpu=True)
    model = Net()
    seen = watched(model)
    optimizer = torch.optim.AdamW(model.parameters(), 0.02, eps=1e-3)
    loader = DataLoader(dg.with_ids(TensorDataset(X, Y)), BATCH, shuffle=True)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    with dg.Recorder(run_of(rank, path), model, optimizer, replay=True, wait=300) as rec:
        for epoch in range(EPOCHS):
            for x, y, ids in loader:
                logits = model(x)
                accelerator.backward(F.cross_entropy(logits, y))
                rec.batch(logits, y, ids)
                optimizer.step()
                optimizer.zero_grad()
            rec.epoch(epoch)
    return seen


@pytest.mark.second_ring(sample=0)
@pytest.mark.parametrize("train", [by_transformers, by_lightning, by_accelerate])
def test_the_record_has_the_slots_that_each_process_was_given(tmp_path, train):
    seen = launch(2, train, tmp_path / "run", limit=300)
    run = dg.Run.open(tmp_path / "run")
    replay = run["replay"].load()
    assert replay.attrs["missing"] == "[]"
    for rank, own in enumerate(seen):
        rows = zip(replay.train_id.values, replay["rank"].values)
        mine = [row[at == rank].tolist() for row, at in rows]
        assert mine == own
    # the loaders fill up with repeats, which are recorded as what they are
    assert sum(len(ids) for own in seen for ids in own) > N * EPOCHS or train is by_lightning
    model = Net()
    if train is by_lightning:
        model = nn.ModuleDict({"inner": model})
        model.forward = model["inner"].forward
    proof = training_of_run(run, model, train=(X, Y), test=(X[:2], Y[:2])).proof
    assert proof is not None
    assert not np.isnan(run["dynamics/train"].load().loss.values).any()
