"""What the README shows to paste runs as it is pasted, and gives a whole board."""

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

import dg_explorer as dg

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
# what the board draws its parts from: influencers, scatter, marks on the timeline, map, curves
WHOLE = {"scores/trak", "projections/2", "transitions", "analyses/cartography", "dynamics/test"}


def pasted(heading: str) -> str:
    """The block of Python under a bold heading of `Your own run`."""
    found = re.search(rf"\*\*{heading}\.\*\*.*?```python\n(.*?)```", README, re.S)
    assert found, f"the README has no block {heading!r}"
    return found.group(1)


def run_block(block: str, names: dict) -> dict:
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(block, "README.md", "exec"), names)
    return names


@pytest.fixture(scope="module")
def plain_loop(tmp_path_factory):
    """The names that the plain loop leaves, run in an empty folder."""
    with contextlib.chdir(tmp_path_factory.mktemp("reader")):
        return run_block(pasted("A plain loop"), {})


@pytest.fixture
def reader(plain_loop, tmp_path, monkeypatch):
    """What a reader with another trainer has: the same examples, a new run, a new model."""
    monkeypatch.chdir(tmp_path)
    fresh = {name: plain_loop[name] for name in ("dg", "nn", "train", "test", "tables")}
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    return fresh | {"run": dg.Run.create(name="another", **fresh["tables"]), "model": model}


def test_the_plain_loop_is_short_and_gives_a_whole_board(plain_loop):
    block = pasted("A plain loop")
    assert len(block.splitlines()) <= 30
    run = plain_loop["run"]
    assert set(run.groups()) >= WHOLE
    assert run.epochs("scores/trak").tolist() == list(range(15))
    assert run["metrics"].test_accuracy.values[-1] > 0.8  # it learns
    assert block.splitlines()[-1].startswith("dg.explore(run)")
    assert len(dg.explore(run).top_influencers(k=3)) == 6


def test_lightning_as_pasted(reader):
    import lightning.pytorch as lightning

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = reader["model"]

        def forward(self, inputs):
            return self.net(inputs)

        def training_step(self, batch, index):
            inputs, labels, _ = batch
            return cross_entropy(self(inputs), labels)

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=3e-3)

    loader = DataLoader(reader["train"], batch_size=50, shuffle=True)
    names = reader | {"lightning": lightning, "module": Module(), "loader": loader}
    run = run_block(pasted("Lightning"), names)["run"]
    assert set(run.groups()) >= WHOLE - {"projections/2"} | {"projections/net.2"}
    assert run.sizes("scores/trak")["epoch"] == 15


class Rows:
    """A dataset of dicts, as Hugging Face's Trainer wants it."""

    def __init__(self, served):
        self.inputs, self.labels = served.dataset.tensors

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return {"inputs": self.inputs[index], "labels": self.labels[index]}


class Classifier(nn.Module):
    """A model that takes and returns what Hugging Face's do."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, inputs, labels=None):
        logits = self.net(inputs)
        loss = None if labels is None else cross_entropy(logits, labels)
        return {"loss": loss, "logits": logits}


def test_hugging_face_as_pasted(reader):
    import transformers

    arguments = transformers.TrainingArguments(
        "trained", num_train_epochs=2, report_to=[], save_strategy="no", disable_tqdm=True
    )
    rows = {f"{split}_rows": Rows(reader[split]) for split in ("train", "test")}
    names = reader | rows | {"transformers": transformers, "arguments": arguments}
    run = run_block(pasted("Hugging Face"), names | {"model": Classifier(reader["model"])})["run"]
    assert set(run.groups()) >= WHOLE - {"projections/2"}
    assert run.sizes("scores/trak")["epoch"] == 2


def test_only_checkpoints_as_pasted_give_what_was_recorded(reader, plain_loop):
    recorded = plain_loop["run"]
    Path("checkpoints").mkdir()
    for epoch, weights in dg.model_checkpoints(recorded).items():
        torch.save(weights, f"checkpoints/model_{epoch}.pt")
    run = run_block(pasted("Only checkpoints"), reader)["run"]
    assert set(run.groups()) >= WHOLE
    scores = [r["scores/trak"].score.values for r in (run, recorded)]
    np.testing.assert_allclose(*scores, rtol=1e-4, atol=1e-4 * np.abs(scores[1]).max())


def test_the_page_on_checkpoints_as_pasted_gives_a_whole_board(tmp_path, monkeypatch):
    page = (ROOT / "docs" / "only_checkpoints.md").read_text()
    training, found, *rest = re.findall(r"```python\n(.*?)```", page, re.S)
    assert rest[-1].startswith("dg.explore(run)")
    monkeypatch.chdir(tmp_path)
    names = run_block(training, {})
    printed = re.search(r"```text\n(.*?)```", page, re.S).group(1)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(found, "only_checkpoints.md", "exec"), names)
    assert out.getvalue() == printed
    run = run_block("\n".join(rest), names)["run"]
    assert set(run.groups()) >= WHOLE
    assert run.epochs("scores/trak").tolist() == list(range(10))
    assert run["metrics"].test_accuracy.values[-1] > 0.8  # it had learned


def test_the_documentation_shows_the_same_loop():
    assert pasted("A plain loop") in (ROOT / "docs" / "index.md").read_text()


def test_every_public_call_that_it_names_exists():
    for name in set(re.findall(r"\bdg\.(\w+)", README)):
        assert name in dg.__all__, name


def test_every_picture_and_file_that_it_links_is_there():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)|(?:src|srcset)=\"([^\"]+)\"", README):
        (path,) = filter(None, target)
        assert (ROOT / path).exists(), path
