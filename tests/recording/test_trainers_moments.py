"""What trainers show a callback at the end of an epoch, and what the record makes of it."""

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

import dg_explorer as dg
from dg_explorer.errors import SettingError

LR = 0.05
STEPS = 3  # an epoch: 60 examples, 20 a batch


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
        self.net = nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.1), nn.Linear(8, 3))

    def forward(self, inputs, labels=None):
        logits = self.net(inputs)
        if labels is None:
            return logits
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


def transformers_training(task, run, folder, *, epochs=3, resume=None, **arguments):
    import transformers  # heavy, and wanted by these tests only

    seen = []

    class Spy(transformers.TrainerCallback):
        def on_optimizer_step(self, args, state, control, optimizer=None, **kwargs):
            seen.append(optimizer.param_groups[0]["lr"])

        def on_epoch_end(self, args, state, control, model=None, **kwargs):
            assert model.training

    train, test = Rows(task.x, task.y), Rows(*task.test.tensors)
    recorder = dg.HuggingFaceRecorder(
        run, train=dg.with_ids(train, task.ids.numpy()), test=dg.with_ids(test)
    )
    settings = transformers.TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=epochs,
        per_device_train_batch_size=20,
        learning_rate=LR,
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        **{"save_strategy": "no", **arguments},
    )
    transformers.Trainer(Net(), settings, train_dataset=train, callbacks=[recorder, Spy()]).train(
        resume_from_checkpoint=resume
    )
    return seen


def lightning_training(task, run, folder, *, module=None, loader=None, resume=None, **arguments):
    import lightning.pytorch as lightning  # heavy, and wanted by these tests only

    seen = []

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = Net().net

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, batch_idx):
            seen.append(self.optimizers().param_groups[0]["lr"])
            logits = self(batch[0])
            return {"loss": F.cross_entropy(logits, batch[1]), "logits": logits.detach()}

        def on_train_epoch_end(self):
            assert self.training

        def configure_optimizers(self):
            optimizer = torch.optim.SGD(self.parameters(), 0.1)
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.1)]

    recorder = dg.LightningRecorder(run, train=task.train, test=task.test)
    lightning.Trainer(
        accelerator="cpu",
        callbacks=[recorder, *arguments.pop("callbacks", [])],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **{"max_epochs": 3, "enable_checkpointing": False, **arguments},
    ).fit(Module(), loader or DataLoader(task.train, 20), ckpt_path=resume)
    return seen


TRAININGS = {"transformers": transformers_training, "lightning": lightning_training}


@pytest.fixture(params=TRAININGS)
def train(request):
    return TRAININGS[request.param]


@pytest.mark.second_ring(sample=1)
def test_the_rate_is_that_of_the_last_step_and_not_what_the_scheduler_sets_next(
    task, train, tmp_path
):
    run = task.run()
    seen = train(task, run, tmp_path)
    assert len(set(seen)) > 1
    assert run.epochs().tolist() == [1, 2, 3]
    assert np.allclose(run["metrics"].learning_rate, seen[STEPS - 1 :: STEPS], rtol=1e-6)


@pytest.mark.second_ring(sample=1)
def test_a_training_that_ends_inside_an_epoch_records_the_whole_ones_and_says_so(
    task, train, tmp_path
):
    run = task.run()
    with pytest.warns(UserWarning, match=r"ends inside an epoch \(after 5 steps, 3 an epoch\)"):
        train(task, run, tmp_path, max_steps=5)
    assert run.epochs().tolist() == [1]
    assert run["metrics"].steps_taken.values.tolist() == [3]


@pytest.mark.second_ring(sample=1)
def test_a_training_of_less_than_an_epoch_is_refused_before_it_begins(task, train, tmp_path):
    run = task.run()
    with pytest.raises(SettingError, match="time_unit='step'"):
        train(task, run, tmp_path, max_steps=2)
    assert "metrics" not in run


@pytest.mark.second_ring(sample=1)
def test_by_steps_it_records_every_moment(task, train, tmp_path):
    run = task.run(time_unit="step")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*inside an epoch.*")
        train(task, run, tmp_path, max_steps=5)
    assert run.epochs().tolist() == [1, 2, 3, 4, 5]


@pytest.mark.second_ring(sample=1)
def test_a_second_training_into_a_used_run_is_refused_before_it_begins(task, train, tmp_path):
    run = task.run()
    train(task, run, tmp_path / "a")
    before = run["metrics"].train_loss.values.copy()
    with pytest.raises(SettingError, match="up to 3 of an earlier one"):
        train(task, run, tmp_path / "b")
    assert np.array_equal(run["metrics"].train_loss.values, before)


def test_resumed_the_run_goes_on_and_rows_of_the_cut_off_training_are_replaced(task, tmp_path):
    run = task.run()
    transformers_training(task, run, tmp_path, save_strategy="epoch")
    whole = run["metrics"].load()
    cut = tmp_path / "checkpoint-6"  # the second epoch; the record has three
    state = torch.load(cut / "optimizer.pt", weights_only=True)
    state["param_groups"][0]["weight_decay"] = 5.0  # so that the third epoch is another one
    torch.save(state, cut / "optimizer.pt")
    transformers_training(task, run, tmp_path, resume=str(cut))
    again = run["metrics"].load()
    assert again.epoch.values.tolist() == [1, 2, 3]
    same = again.test_loss.values == whole.test_loss.values
    assert same.tolist() == [True, True, False]
    own = Net()
    dg.load_into(own, dg.model_checkpoints(run)[3])
    with torch.no_grad():
        loss = F.cross_entropy(own.eval()(task.test.tensors[0]), task.test.tensors[1])
    assert float(again.test_loss[-1]) == pytest.approx(float(loss), rel=1e-5)


def test_lightning_goes_on_in_the_run_where_it_resumes(task, tmp_path):
    from lightning.pytorch.callbacks import ModelCheckpoint

    run = task.run()
    kept = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    saving = {"enable_checkpointing": True, "callbacks": [kept]}
    lightning_training(task, run, tmp_path, **saving)
    whole = run["metrics"].load()
    last = tmp_path / "epoch=1.ckpt"  # two epochs are over; the record has three
    lightning_training(task, run, tmp_path, resume=str(last), max_epochs=4)
    again = run["metrics"].load()
    assert again.epoch.values.tolist() == [1, 2, 3, 4]
    assert np.array_equal(again.test_loss[:2], whole.test_loss[:2])
    assert again.steps_taken.values.tolist() == [3, 6, 9, 12]


def test_a_last_column_that_is_no_id_is_not_taken_for_one(task, tmp_path):
    run = task.run()
    groups = torch.arange(len(task.y)) % 2
    data = torch.utils.data.TensorDataset(task.x, task.y, groups)
    lightning_training(task, run, tmp_path, loader=DataLoader(data, 20), max_epochs=1)
    assert "weights of this epoch" in run["dynamics/train"].attrs["measured"]
    assert np.isfinite(run["dynamics/train"].loss).all()


def test_without_training_examples_it_says_so_before_the_training(task, tmp_path):
    recorder = dg.HuggingFaceRecorder(task.run(), test=task.test)

    class State:
        global_step, epoch, max_steps = 0, 0.0, 3

    with pytest.warns(UserWarning, match="No training example will be recorded"):
        recorder.on_train_begin(None, State, None, model=Net())
