"""TRAKer: code written for the TRAK library, its scores, and what is refused."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from attribution_models import examples, mlp
from numpy.lib.format import open_memmap
from torch.utils.data import DataLoader

from dg_explorer.attribution import FeatureMismatchError, TRAKAttributor
from dg_explorer.attribution.projections.sketches import DEFINITION
from dg_explorer.attribution.solve.damping import DEFAULT_RELATIVE
from dg_explorer.attribution.traker.store import UnfinishedError
from dg_explorer.attribution.traker.traker import TRAKer
from dg_explorer.errors import ArchitectureMismatchError, DataError, NonFiniteError, SettingError
from dg_explorer.trak.modelout_functions import (
    AbstractModelOutput,
    ImageClassificationModelOutput,
    IterativeImageClassificationModelOutput,
)
from dg_explorer.trak.projectors import NoOpProjector

N_TRAIN, N_TEST = 40, 6


@pytest.fixture(scope="module")
def train():
    return examples(N_TRAIN, dtype=torch.float32)


@pytest.fixture(scope="module")
def test():
    return examples(N_TEST, seed=1, dtype=torch.float32)


@pytest.fixture(scope="module")
def checkpoints():
    return [mlp(seed, dtype=torch.float32).state_dict() for seed in range(3)]


def featurize(traker, checkpoints, train, batch_size=16):
    for model_id, checkpoint in enumerate(checkpoints):
        traker.load_checkpoint(checkpoint, model_id=model_id)
        for batch in DataLoader(train, batch_size):
            traker.featurize(batch=batch, num_samples=len(batch[0]))
    traker.finalize_features()


def score(traker, checkpoints, test, batch_size=4):
    for model_id, checkpoint in enumerate(checkpoints):
        traker.start_scoring_checkpoint("x", checkpoint, model_id, N_TEST)
        for batch in DataLoader(test, batch_size):
            traker.score(batch=batch, num_samples=len(batch[0]))
    return traker.finalize_scores("x")


def make(folder, **settings):
    settings = {"task": "image_classification", "train_set_size": N_TRAIN} | settings
    return TRAKer(mlp(9, dtype=torch.float32), save_dir=folder, **settings)


def correlation(a, b):
    return np.corrcoef(np.ravel(a), np.ravel(b))[0, 1]


# ------------------------------------------------------------------ against the library itself

CODE = """
from trak import TRAKer
from trak.modelout_functions import AbstractModelOutput
from trak.projectors import BasicProjector, NoOpProjector, ProjectionType

class LogitsOutput(AbstractModelOutput):  # as for a Hugging Face model
    def __init__(self, temperature=1.0):
        super().__init__()
        self.softmax = torch.nn.Softmax(-1)

    @staticmethod
    def get_output(model, weights, buffers, image, label):
        logits = torch.func.functional_call(model, (weights, buffers), image.unsqueeze(0)).logits
        bindex = torch.arange(logits.shape[0])
        right = logits[bindex, label.unsqueeze(0)]
        others = logits.clone()
        others[bindex, label.unsqueeze(0)] = torch.tensor(-torch.inf)
        return (right - others.logsumexp(dim=-1)).sum()

    def get_out_to_loss_grad(self, model, weights, buffers, batch):
        images, labels = batch
        logits = torch.func.functional_call(model, (weights, buffers), images).logits
        ps = self.softmax(logits)[torch.arange(logits.size(0)), labels]
        return (1 - ps).clone().detach().unsqueeze(-1)

if task == "own":
    task = LogitsOutput()
if projector == "none":
    projector = NoOpProjector(device="cpu")
elif projector == "shared":
    projector = SHARED(p, 24, 3, "normal", "cpu", block_size=8)
else:
    projector = BasicProjector(grad_dim=p, proj_dim=p * 16, seed=0, device="cpu",
                               proj_type=ProjectionType.normal, block_size=100)
traker = TRAKer(model=model, task=task, train_set_size=len(train), save_dir=folder, device="cpu",
                projector=projector, proj_dim=24, use_half_precision=False, lambda_reg=lambda_reg)
for model_id, checkpoint in enumerate(checkpoints):
    traker.load_checkpoint(checkpoint, model_id=model_id)
    for batch in DataLoader(train, 8):
        traker.featurize(batch=batch, num_samples=batch[0].shape[0])
traker.finalize_features()
for model_id, checkpoint in enumerate(checkpoints):
    traker.start_scoring_checkpoint(exp_name="quickstart", checkpoint=checkpoint,
                                    model_id=model_id, num_targets=len(test))
    for batch in DataLoader(test, 3):
        traker.score(batch=batch, num_samples=batch[0].shape[0])
scores = traker.finalize_scores(exp_name="quickstart")
"""


class WithLogits(torch.nn.Module):
    def __init__(self, seed=0):
        super().__init__()
        self.net = mlp(seed, dtype=torch.float32)

    def forward(self, x):
        return type("Answer", (), {"logits": self.net(x)})()


def both(tmp_path, train, test, checkpoints, *, task, projector, lambda_reg=0.01):
    """The same code with the library's import and with ours."""
    import trak.projectors

    found = []
    for root in ("trak", "dg_explorer.trak"):
        model = WithLogits() if task == "own" else mlp(9, dtype=torch.float32)
        states = checkpoints
        if task == "own":
            states = [WithLogits(seed).state_dict() for seed in range(len(checkpoints))]
        scope = dict(
            torch=torch, DataLoader=DataLoader, train=train, test=test, model=model, task=task,
            checkpoints=states, projector=projector, lambda_reg=lambda_reg,
            p=sum(x.numel() for x in model.parameters()), folder=str(tmp_path / root),
            SHARED=trak.projectors.BasicProjector,
        )  # fmt: skip
        exec(CODE.replace("from trak", f"from {root}"), scope)
        found.append(np.array(scope["scores"]))
    return found


@pytest.mark.parametrize("task", ["image_classification", "own"])
@pytest.mark.parametrize("projector", ["none", "shared"])
def test_scores_equal_the_librarys_where_features_are_the_same(
    tmp_path, train, test, checkpoints, task, projector
):
    theirs, ours = both(tmp_path, train, test, checkpoints[:1], task=task, projector=projector)
    assert ours.shape == theirs.shape == (N_TRAIN, N_TEST)
    assert correlation(ours, theirs) > 0.9999


def test_scores_of_an_ensemble_agree_with_the_librarys(tmp_path, train, test, checkpoints):
    # not exactly: the library rescales each checkpoint's scores by the mean size of its inverse
    theirs, ours = both(
        tmp_path, train, test, checkpoints, task="image_classification", projector="shared"
    )
    assert correlation(ours, theirs) > 0.99


def test_scores_of_two_projections_agree_where_they_are_wide(tmp_path, train, test, checkpoints):
    theirs, ours = both(
        tmp_path, train, test, checkpoints, task="image_classification", projector="wide"
    )
    assert correlation(ours, theirs) > 0.95


def test_without_a_ridge_a_narrow_projection_gives_the_librarys_scores(
    tmp_path, train, test, checkpoints
):
    settings = dict(task="image_classification", projector="shared", lambda_reg=0.0)
    theirs, ours = both(tmp_path, train, test, checkpoints[:1], **settings)
    assert correlation(ours, theirs) > 0.999


# ------------------------------------------------------------------ against our own exact scores


class Own(AbstractModelOutput):
    def __init__(self):
        self.inner = ImageClassificationModelOutput()

    def get_output(self, model, weights, buffers, image, label):
        return self.inner.get_output(model, weights, buffers, image, label)

    def get_out_to_loss_grad(self, model, weights, buffers, batch):
        return self.inner.get_out_to_loss_grad(model, weights, buffers, batch)


@pytest.mark.parametrize(
    "task", ["image_classification", "classification", Own(),
             IterativeImageClassificationModelOutput()]
)  # fmt: skip
def test_without_a_projection_scores_are_those_of_the_exact_attributor(
    tmp_path, train, test, checkpoints, task
):
    traker = make(tmp_path, task=task, projector=NoOpProjector())
    featurize(traker, checkpoints, train)
    scores = score(traker, checkpoints, test)
    # of an output of one's own nothing is known to choose the ridge by
    damping = DEFAULT_RELATIVE if isinstance(task, Own) else "auto"
    exact = TRAKAttributor(mlp(dtype=torch.float32), checkpoints=checkpoints, damping=damping)
    expected = exact.attribute(train, test).numpy()
    np.testing.assert_allclose(scores.T, expected, rtol=1e-4, atol=1e-4 * abs(expected).max())


def test_a_projection_comes_close_to_the_exact_scores(tmp_path, train, test, checkpoints):
    traker = make(tmp_path, proj_dim=4096)
    featurize(traker, checkpoints, train)
    exact = TRAKAttributor(mlp(dtype=torch.float32), checkpoints=checkpoints)
    scores = score(traker, checkpoints, test)
    assert correlation(scores.T, exact.attribute(train, test)) > 0.99


@pytest.mark.parametrize("size", [1, 40])
def test_scores_do_not_depend_on_the_batch_size(tmp_path, train, test, checkpoints, size):
    found = []
    for name, batch_size in (("a", size), ("b", 16)):
        traker = make(tmp_path / name, proj_dim=32)
        featurize(traker, checkpoints[:1], train, batch_size)
        found.append(score(traker, checkpoints[:1], test, min(size, 6)))
    np.testing.assert_allclose(*found, rtol=1e-3, atol=1e-5 * abs(found[0]).max())


def test_examples_given_by_inds_land_where_they_belong(tmp_path, train, test, checkpoints):
    straight = make(tmp_path / "a", proj_dim=32)
    featurize(straight, checkpoints[:1], train)
    mixed = make(tmp_path / "b", proj_dim=32)
    mixed.load_checkpoint(checkpoints[0], model_id=0)
    for inds in torch.randperm(N_TRAIN, generator=torch.Generator().manual_seed(0)).split(7):
        mixed.featurize(batch=train[inds], inds=inds)
    mixed.finalize_features()
    a, b = score(straight, checkpoints[:1], test), score(mixed, checkpoints[:1], test)
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5 * abs(a).max())


def test_scores_are_a_file_in_the_folder_and_the_model_is_not_touched(
    tmp_path, train, test, checkpoints
):
    from dg_explorer.trak import TRAKer

    model = mlp(dtype=torch.float32)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    loader_train, targets_loader = DataLoader(train, 8), DataLoader(test, 3)

    traker = TRAKer(
        model=model, task="image_classification", train_set_size=N_TRAIN, save_dir=tmp_path
    )
    for model_id, checkpoint in enumerate(checkpoints):
        traker.load_checkpoint(checkpoint, model_id=model_id)
        for batch in loader_train:
            # batch should be a tuple of inputs and labels
            traker.featurize(batch=batch)
    traker.finalize_features()

    for model_id, checkpoint in enumerate(checkpoints):
        traker.start_scoring_checkpoint(checkpoint, model_id=model_id, num_targets=N_TEST)
        for batch in targets_loader:
            traker.score(batch=batch)

    scores = traker.finalize_scores()
    assert scores.shape == (N_TRAIN, N_TEST)
    assert np.array_equal(open_memmap(tmp_path / "scores" / "scores.mmap"), scores)
    # the model that was handed over is not touched
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert model.training


def test_a_fully_learned_model_keeps_its_order(tmp_path, test):
    model = mlp(dtype=torch.float32)
    with torch.no_grad():
        for p in model[2].parameters():
            p.mul_(60)
    x = examples(N_TRAIN, dtype=torch.float32).tensors[0]
    sure = torch.utils.data.TensorDataset(x, model(x).argmax(1))
    traker = make(tmp_path)
    featurize(traker, [model.state_dict()], sure)
    scores = score(traker, [model.state_dict()], test)
    assert len(np.unique(scores[:, 0])) == N_TRAIN


def test_half_precision_keeps_the_scores_to_three_digits(tmp_path, train, test, checkpoints):
    found = []
    for half in (False, True):
        traker = make(tmp_path / str(half), proj_dim=64, use_half_precision=half)
        featurize(traker, checkpoints, train)
        found.append(score(traker, checkpoints, test))
    assert open_memmap(tmp_path / "True" / "0" / "grads.mmap").dtype == np.float16
    assert correlation(*found) > 0.99999


def test_only_the_named_parameters_are_attributed(tmp_path, train, test, checkpoints):
    traker = make(tmp_path, grad_wrt=["2.weight", "2.bias"], projector=NoOpProjector())
    assert traker.proj_dim == 12 * 4 + 4
    featurize(traker, checkpoints[:1], train)
    head = TRAKAttributor(mlp(), checkpoints=checkpoints[:1], layers="2")
    scores = score(traker, checkpoints[:1], test)
    assert correlation(scores.T, head.attribute(train, test)) > 0.99


# ------------------------------------------------------------------ work shared and interrupted


def test_one_job_scores_and_another_finalizes(tmp_path, train, test, checkpoints):
    """Each step in an object of its own, as separate jobs do it: nothing waits in memory."""
    whole = make(tmp_path / "whole")
    featurize(whole, checkpoints[:1], train)
    expected = score(whole, checkpoints[:1], test)
    for number, batch in enumerate(DataLoader(train, 8)):
        job = make(tmp_path / "jobs")
        job.load_checkpoint(checkpoints[0], model_id=0)
        job.featurize(batch, inds=8 * number + np.arange(len(batch[0])))
    make(tmp_path / "jobs").finalize_features()
    for number, batch in enumerate(DataLoader(test, 4)):
        job = make(tmp_path / "jobs")
        job.start_scoring_checkpoint("x", checkpoints[0], 0, num_targets=N_TEST)
        job.score(batch, inds=4 * number + np.arange(len(batch[0])))
    found = make(tmp_path / "jobs").finalize_scores("x")
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_work_goes_on_where_another_process_was_killed(tmp_path, train, test, checkpoints):
    torch.save(checkpoints[0], tmp_path / "0.pt")
    code = f"""
import os, sys, torch
sys.path.insert(0, {str(__file__.rpartition("/")[0])!r})
from attribution_models import examples, mlp
from dg_explorer.attribution.traker import traker as module
train = examples({N_TRAIN}, dtype=torch.float32)
traker = module.TRAKer(mlp(9, dtype=torch.float32), "image_classification", {N_TRAIN},
                       {str(tmp_path / "store")!r}, proj_dim=32)
traker.load_checkpoint({str(tmp_path / "0.pt")!r}, model_id=0)
for start in (0, 8, 16):
    traker.featurize(train[start:start + 8], num_samples=8)
    if start == 16:
        os.kill(os.getpid(), 9)
"""
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    resumed = make(tmp_path / "store", proj_dim=32)
    assert resumed.store.missing(0, "_is_featurized").tolist() == list(range(24, N_TRAIN))
    seen = []
    inner = resumed.gradient_computer.compute_factors
    resumed.gradient_computer.compute_factors = lambda batch: (
        seen.append(len(batch[0])) or inner(batch)
    )
    featurize(resumed, checkpoints[:1], train)
    assert sum(seen) == N_TRAIN - 24
    fresh = make(tmp_path / "fresh", proj_dim=32)
    featurize(fresh, checkpoints[:1], train)
    np.testing.assert_allclose(
        score(resumed, checkpoints[:1], test), score(fresh, checkpoints[:1], test), rtol=1e-4
    )


def test_scores_of_a_finished_store_are_had_again_without_gradients(
    tmp_path, train, test, checkpoints
):
    first = make(tmp_path)
    featurize(first, checkpoints, train)
    scores = np.array(score(first, checkpoints, test))
    again = make(tmp_path)
    assert np.array_equal(again.finalize_scores("x"), scores)


def test_another_ridge_makes_the_features_anew(tmp_path, train, test, checkpoints):
    first = make(tmp_path, lambda_reg=1.0)
    featurize(first, checkpoints[:1], train)
    strong = np.array(score(first, checkpoints[:1], test))
    second = make(tmp_path, lambda_reg=1e-4)
    second.finalize_features()
    assert correlation(second.finalize_scores("x"), strong) < 0.999


# ------------------------------------------------------------------ refusals


def test_half_finished_features_are_refused_saying_what_is_missing(tmp_path, train, checkpoints):
    traker = make(tmp_path)
    traker.load_checkpoint(checkpoints[0], model_id=0)
    traker.featurize(train[:30], num_samples=30)
    with pytest.raises(UnfinishedError, match=r"Model id 0 lacks 10 of 40 .* position 30"):
        traker.finalize_features()
    with pytest.raises(UnfinishedError, match="not finalized"):
        traker.start_scoring_checkpoint("x", checkpoints[0], 0, N_TEST)


def test_half_finished_scoring_is_refused_saying_what_is_missing(
    tmp_path, train, test, checkpoints
):
    traker = make(tmp_path)
    featurize(traker, checkpoints, train)
    for model_id in (0, 1):
        traker.start_scoring_checkpoint("x", checkpoints[model_id], model_id, N_TEST)
        some = N_TEST - 2 * model_id
        traker.score(test[:some], num_samples=some)
    with pytest.raises(UnfinishedError) as refusal:
        traker.finalize_scores("x")
    assert "Model id 1: 2 of 6 targets not scored, the first at position 4" in str(refusal.value)
    assert "Model id 2: none of 6 targets scored" in str(refusal.value)
    with pytest.raises(UnfinishedError, match="Model id 2"):
        traker.finalize_scores("x", model_ids=[0, 2])
    alone = traker.finalize_scores("x", model_ids=[0])
    assert np.array_equal(traker.finalize_scores("x", allow_skip=True), alone)


def test_fewer_checkpoints_than_claimed_are_refused(tmp_path, train, test, checkpoints):
    traker = make(tmp_path)
    featurize(traker, checkpoints[:2], train)
    score(traker, checkpoints[:2], test)
    with pytest.raises(UnfinishedError, match="Model ids 2 were never featurized; there are 0, 1"):
        traker.finalize_scores("x", model_ids=[0, 1, 2])
    with pytest.raises(UnfinishedError, match="never featurized"):
        traker.start_scoring_checkpoint("x", checkpoints[2], 2, N_TEST)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (dict(proj_dim=65), "JL dimension: 64 there, 65 here"),
        (dict(projector_seed=1), "seed: 0 there, 1 here"),
        (dict(proj_type="normal"), "JL matrix type"),
        (dict(grad_wrt=["2.weight"]), "layers"),
        (dict(task=Own()), "output"),
        (dict(train_set_size=41), "train set size"),
    ],
)
def test_features_of_other_settings_are_refused(tmp_path, train, checkpoints, changed, told):
    featurize(make(tmp_path, proj_dim=64), checkpoints[:1], train)
    with pytest.raises(FeatureMismatchError, match=told):
        make(tmp_path, **{"proj_dim": 64} | changed)


def test_features_of_an_older_sketch_are_refused(tmp_path, train, checkpoints):
    featurize(make(tmp_path, proj_dim=64), checkpoints[:1], train)
    file = tmp_path / "metadata.json"
    there = json.loads(file.read_text())
    assert there.pop("sketch definition") == DEFINITION
    file.write_text(json.dumps(there))
    told = f"sketch definition: None there, {DEFINITION} here"
    with pytest.raises(FeatureMismatchError, match=told):
        make(tmp_path, proj_dim=64)


def test_a_model_id_stands_for_one_set_of_weights(tmp_path, train, checkpoints):
    traker = make(tmp_path)
    featurize(traker, checkpoints[:1], train)
    with pytest.raises(FeatureMismatchError, match="other weights"):
        traker.load_checkpoint(checkpoints[1], model_id=0)
    with pytest.raises(FeatureMismatchError, match="other weights"):
        traker.start_scoring_checkpoint("x", checkpoints[1], 0, N_TEST)


def test_a_folder_of_the_library_itself_is_refused(tmp_path, checkpoints):
    (tmp_path / "metadata.json").write_text(
        '{"JL dimension": 2048, "JL matrix type": "rademacher", "train set size": 40}'
    )
    with pytest.raises(FeatureMismatchError, match="seed: None there, 0 here"):
        make(tmp_path)


def test_bad_input_is_refused_at_the_border(tmp_path, train, checkpoints):
    traker = make(tmp_path)
    with pytest.raises(UnfinishedError, match="load_checkpoint"):
        traker.featurize(train[:4], num_samples=4)
    with pytest.raises(ArchitectureMismatchError):
        traker.load_checkpoint(mlp(hidden=5).state_dict(), model_id=0)
    traker.load_checkpoint(checkpoints[0], model_id=0)
    with pytest.raises(DataError, match="holds 4 examples"):
        traker.featurize(train[:4], num_samples=5)
    with pytest.raises(DataError, match="train_set_size=40"):
        traker.featurize(train[:4], inds=[38, 39, 40, 41])
    with pytest.raises(SettingError, match="not both"):
        traker.featurize(train[:4], inds=[0, 1, 2, 3], num_samples=4)
    with pytest.raises(DataError, match="4 classes"):
        traker.featurize((train[:4][0], torch.tensor([0, 1, 2, 9])))
    with pytest.raises(UnfinishedError, match="start_scoring_checkpoint"):
        traker.score(train[:4])
    with pytest.raises(SettingError, match="train_set_size"):
        make(tmp_path, train_set_size=...)
    with pytest.raises(SettingError, match="lambda_reg"):
        make(tmp_path, lambda_reg=-1)
    with pytest.raises(SettingError, match="CUDA") if not torch.cuda.is_available() else _fine():
        make(tmp_path, device="cuda")


def test_gradients_that_are_not_finite_are_refused(tmp_path, train, checkpoints):
    traker = make(tmp_path, task=Own())
    broken = train.tensors[0].clone()
    broken[3] = float("inf")
    traker.load_checkpoint(checkpoints[0], model_id=0)
    with pytest.raises(
        NonFiniteError, match="1 of 40 examples of this batch, the first at position 3"
    ):
        traker.featurize((broken, train.tensors[1]))


def _fine():
    from contextlib import nullcontext

    return nullcontext()


def test_exact_copies_of_a_training_example_get_equal_scores(tmp_path, train, test, checkpoints):
    inputs, labels = (tensor.clone() for tensor in train.tensors)
    inputs[7], labels[7] = inputs[31], labels[31]
    traker = make(tmp_path)
    featurize(traker, checkpoints, torch.utils.data.TensorDataset(inputs, labels))
    scores = score(traker, checkpoints, test)
    np.testing.assert_allclose(scores[7], scores[31], rtol=1e-5)
    assert abs(scores[7] - scores[8]).max() > 1e-3 * abs(scores[7]).max()


def test_one_training_example_is_enough(tmp_path, train, test, checkpoints):
    traker = make(tmp_path, train_set_size=1)
    one = torch.utils.data.TensorDataset(*(tensor[:1] for tensor in train.tensors))
    featurize(traker, checkpoints, one)
    scores = score(traker, checkpoints, test)
    assert scores.shape == (1, N_TEST)
    assert np.isfinite(scores).all()
    assert abs(scores).max() > 0
