"""attribute(): the scores of a run's checkpoints, row by row, and what it refuses."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from attribution_models import examples, mlp
from torch.utils.data import DataLoader, TensorDataset

from dg_explorer import Recorder, Run, with_ids
from dg_explorer.attribution import TRAKAttributor, attribute
from dg_explorer.attribution.methods import method_class
from dg_explorer.checkpoints.store import save_checkpoint
from dg_explorer.errors import (
    ArchitectureMismatchError,
    CheckpointError,
    DataError,
    NonFiniteError,
    SettingError,
    ShuffledLoaderError,
    UnknownExampleError,
)

TRAIN_IDS, TEST_IDS = 100 + np.arange(12), 1000 + np.arange(5)
TRAIN = with_ids(examples(12), TRAIN_IDS)
TEST = with_ids(examples(5, seed=1), TEST_IDS)
EPOCHS = [0, 10, 20]


def a_run(path=None, epochs=EPOCHS):
    run = Run.create(
        path,
        name="a run",
        train_examples=pd.DataFrame({"label": TRAIN.dataset.tensors[1].numpy()}, TRAIN_IDS),
        test_examples=pd.DataFrame({"label": TEST.dataset.tensors[1].numpy()}, TEST_IDS),
    )
    for epoch in epochs:
        save_checkpoint(run, epoch, mlp(seed=epoch))
    run.flush()
    return run


@pytest.fixture
def run(tmp_path):
    return a_run(tmp_path / "run")


def test_each_row_is_what_the_attributor_says_of_that_checkpoint(run):
    scores = attribute(run, mlp(99), TRAIN, TEST, progress=False)
    assert scores["epoch"].values.tolist() == EPOCHS
    assert scores["train"].values.tolist() == TRAIN_IDS.tolist()
    for epoch in EPOCHS:
        alone = TRAKAttributor(mlp(seed=epoch))
        expected = alone.attribute(TRAIN, TEST).numpy()
        row = scores.sel(epoch=epoch)
        np.testing.assert_allclose(row["score"].values, expected, rtol=1e-5)
        assert float(row["damping"]) == pytest.approx(alone.damping_used[0])
        features = alone.compute_train_features(TRAIN)
        np.testing.assert_allclose(row["weight"].values, features.weight[0], rtol=1e-12)


@pytest.mark.parametrize("method", ["trak", "gradient_dot"])
def test_the_scores_of_examples_for_themselves_are_kept_beside(run, method):
    attribute(run, mlp(99), TRAIN, TEST, method=method, progress=False)
    own = run[f"self_influence/{method}"]
    assert own.attrs["settings"] == run[f"scores/{method}"].attrs["settings"]
    for epoch in EPOCHS:  # asked as test examples, the training examples get the same scores
        alone = method_class(method)(mlp(seed=epoch))
        slow = alone.attribute(TRAIN, with_ids(examples(12), TRAIN_IDS)).diagonal().numpy()
        np.testing.assert_allclose(own["score"].sel(epoch=epoch), slow, rtol=1e-5)


def test_scores_for_themselves_go_with_the_scores_and_never_over_anothers(run):
    attribute(run, mlp(99), TRAIN, TEST, epochs=[0], progress=False)
    attribute(run, mlp(99), TRAIN, TEST, epochs=[10], damping=0.5, overwrite=True, progress=False)
    assert run.epochs("self_influence/trak").tolist() == [10]
    mine = run["self_influence/trak"].load() * 0 + 7
    run.add("self_influence/mine", mine.assign_attrs(settings="by hand"))
    attribute(run, mlp(99), TRAIN, TEST, name="mine", progress=False)
    assert (run["self_influence/mine"]["score"] == 7).all()
    attribute(run, mlp(99), TRAIN, TEST, method="tracin", learning_rates=1.0, progress=False)
    assert "self_influence/tracin" not in run  # a sum over epochs, which one checkpoint's is not


def test_settings_sign_and_output_are_in_the_record(run):
    scores = attribute(run, mlp(), TRAIN, TEST, damping=0.5, layers=["2"], progress=False)
    settings = json.loads(scores.attrs["settings"])
    assert settings["damping"] == 0.5
    assert settings["layers"] == ["2"]
    assert scores.attrs["sign"].startswith("positive = training")
    assert scores.attrs["output"] == "classification"


def test_the_model_is_not_changed(run):
    model = mlp(99)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    attribute(run, model, TRAIN, TEST, progress=False)
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in before.items())


def test_a_shuffled_loader_with_ids_gives_the_same_rows(run):
    plain = attribute(run, mlp(), TRAIN, TEST, progress=False)["score"].values
    loader = DataLoader(TRAIN, batch_size=5, shuffle=True)
    again = attribute(run, mlp(), loader, TEST, name="again", progress=False)
    np.testing.assert_allclose(again["score"].values, plain, rtol=1e-5)
    assert again["train"].values.tolist() == TRAIN_IDS.tolist()


def test_epochs_may_come_later_and_in_any_order(run):
    attribute(run, mlp(), TRAIN, TEST, epochs=[10], progress=False)
    attribute(run, mlp(), TRAIN, TEST, epochs=[20], progress=False)
    late = attribute(run, mlp(), TRAIN, TEST, progress=False)
    whole = attribute(run, mlp(), TRAIN, TEST, name="whole", progress=False)
    assert late["epoch"].values.tolist() == EPOCHS
    assert late.attrs["settings"] == whole.attrs["settings"]
    assert np.array_equal(late["score"].values, whole["score"].values)


def test_an_executor_gives_the_same_scores(run):
    serial = attribute(run, mlp(), TRAIN, TEST, progress=False)
    with ThreadPoolExecutor(1) as pool:
        other = attribute(run, mlp(), TRAIN, TEST, name="pool", executor=pool, progress=False)
    assert np.array_equal(serial["score"].values, other["score"].values)


def test_scores_of_other_settings_are_kept_unless_told(run):
    attribute(run, mlp(), TRAIN, TEST, progress=False)
    with pytest.raises(SettingError, match="overwrite=True"):
        attribute(run, mlp(), TRAIN, TEST, damping=0.1, progress=False)
    scores = attribute(run, mlp(), TRAIN, TEST, damping=0.1, overwrite=True, progress=False)
    assert json.loads(scores.attrs["settings"])["damping"] == 0.1


@pytest.mark.parametrize(
    ("error", "match", "change"),
    [
        (SettingError, "no setting 'dampng'", {"dampng": 1}),
        (SettingError, "No method 'trakk'", {"method": "trakk"}),
        (CheckpointError, "No checkpoint at epoch 7", {"epochs": [7]}),
        (SettingError, "names no moment", {"epochs": []}),
        (UnknownExampleError, "not in this run", {"train": examples(12)}),
        (ShuffledLoaderError, "with_ids", {"train": DataLoader(examples(12), shuffle=True)}),
        (ArchitectureMismatchError, r"0\.weight", {"model": mlp(hidden=13)}),
        (DataError, "empty", {"test": with_ids(examples(0), np.arange(0))}),
        (DataError, "3 classes", {"model": None}),
    ],
)
def test_what_cannot_be_done_is_refused_and_nothing_is_written(run, error, match, change):
    if change.get("model", 0) is None:
        run = small_run(run.path.with_name("three"))
        change = {"model": mlp(classes=3)}
    arguments = {"model": mlp(), "train": TRAIN, "test": TEST, "progress": False} | change
    with pytest.raises(error, match=match):
        attribute(run, **arguments)
    assert not [group for group in run.groups() if group.startswith("scores")]


def small_run(path):
    """A run whose model knows fewer classes than its examples have."""
    run = a_run(path, epochs=[])
    save_checkpoint(run, 0, mlp(classes=3))
    return run


def test_a_checkpoint_with_nan_is_refused_by_name(tmp_path):
    run = a_run(tmp_path / "run", epochs=[0])
    broken = mlp()
    with torch.no_grad():
        broken[0].bias[0] = float("nan")
    save_checkpoint(run, 5, broken)
    with pytest.raises(NonFiniteError, match=r"0\.bias"):
        attribute(run, mlp(), TRAIN, TEST, progress=False)
    assert run["scores/trak"]["epoch"].values.tolist() == [0]


def test_a_run_without_checkpoints_says_how_to_get_some():
    run = a_run(epochs=[])
    with pytest.raises(CheckpointError, match="save_checkpoint"):
        attribute(run, mlp(), TRAIN, TEST, progress=False)


KILLS = """
import os, random, signal, sys, time
import torch
torch.set_num_threads(1)
from test_walk import TEST, TRAIN, attribute, mlp
from dg_explorer import Run

path, log = sys.argv[1:]
rng = random.Random(0)
kept, longest = [], 0.4
for kill in range(20):
    child = os.fork()
    if child == 0:
        attribute(Run.open(path), mlp(), TRAIN, TEST, progress=False)
        os._exit(0)
    time.sleep(rng.uniform(0.0, longest))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    run = Run.open(path)
    kept.append(run["scores/trak"].sizes["epoch"] if "scores/trak" in run else 0)
    if not kept[-1]:  # a busy machine takes longer to its first row
        longest *= 1.5
with open(log, "w") as file:
    file.write(" ".join(map(str, kept)))
"""


@pytest.mark.second_ring(sample=0)
def test_twenty_kills_at_random_moments_change_no_bit_of_the_scores(tmp_path):
    epochs = list(range(0, 160, 4))
    killed, whole = a_run(tmp_path / "killed", epochs), a_run(tmp_path / "whole", epochs)
    here = str(__file__).rpartition("/")[0]
    subprocess.run(
        [sys.executable, "-c", KILLS, str(killed.path), str(tmp_path / "log")],
        check=True,
        cwd=here,
        timeout=300,
    )
    kept = [int(n) for n in (tmp_path / "log").read_text().split()]
    assert kept == sorted(kept)  # no row, once there, is lost
    assert kept[-1] > 0  # and the last kills came after rows were there
    resumed = attribute(Run.open(killed.path), mlp(), TRAIN, TEST, progress=False)
    expected = attribute(whole, mlp(), TRAIN, TEST, progress=False)
    assert resumed["epoch"].values.tolist() == epochs
    for name in ("score", "weight", "damping"):
        assert np.array_equal(resumed[name].values, expected[name].values)


@pytest.mark.parametrize("then", [True, False])
def test_layers_frozen_in_training_and_not_now_are_refused_unless_named(then):
    model, train = mlp(), with_ids(TRAIN)
    model[0].requires_grad_(not then)
    run = Run.create(name="frozen")
    with Recorder(run, model, torch.optim.SGD(model[-1].parameters(), 0.1), train=train) as rec:
        rec.epoch(0)
    again = {"progress": False, "method": "gradient_dot"}
    as_then = attribute(run, model, train, TEST, **again)
    model[0].requires_grad_(then)
    with pytest.raises(SettingError, match=r"0\.weight.*layers="):
        attribute(run, model, train, TEST, **again, name="other")
    named = attribute(run, model, train, TEST, **again, name="named", layers=["2"])
    if then:
        assert np.array_equal(named["score"].values, as_then["score"].values)


def test_the_recorded_task_is_attributed_where_few_examples_fit_several():
    x = torch.randn(12, 6, generator=torch.Generator().manual_seed(0))
    counts = TensorDataset(x, torch.arange(12))  # the first two are 0 and 1: classes, too
    model = torch.nn.Linear(6, 1)
    run, train = Run.create(name="counts"), with_ids(counts)
    with Recorder(run, model, train=train, test=counts) as rec:
        rec.epoch(0)
    scores = attribute(run, model, train, counts, method="gradient_dot", progress=False)
    assert scores.attrs["output"] == "regression"
