"""What users of the TRAK library do with it, through `dg_explorer.trak` in place of `trak`."""

import sys

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import dg_explorer.trak
from dg_explorer.trak import TRAKer
from dg_explorer.trak.projectors import BasicProjector, NoOpProjector

N_TRAIN, N_TARGETS, BATCH = 24, 10, 7


class Scaled(nn.Module):
    """A last layer that only scales, as in the network of the library's own recipe."""

    def __init__(self, by: float):
        super().__init__()
        self.by = by

    def forward(self, x):
        return x * self.by


def small_resnet(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.AdaptiveMaxPool2d((1, 1)),
        nn.Flatten(),
        nn.Linear(6, 2, bias=False),
        Scaled(0.2),
    ).eval()


def images(n, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 3, 8, 8, generator=generator)
    return TensorDataset(x, torch.randint(0, 2, (n,), generator=generator))


TRAIN, TARGETS = images(N_TRAIN, 1), images(N_TARGETS, 2)
CHECKPOINTS = [small_resnet(seed).state_dict() for seed in (1, 2, 3)]


def traker(folder, **settings):
    how = {"task": "image_classification", "train_set_size": N_TRAIN, "device": "cpu"}
    how |= {"proj_dim": 32, "save_dir": folder, "use_half_precision": False} | settings
    return TRAKer(model=small_resnet(), **how)


def featurize(made, checkpoint, model_id):
    made.load_checkpoint(checkpoint=checkpoint, model_id=model_id)
    for batch in DataLoader(TRAIN, BATCH):
        made.featurize(batch=batch, num_samples=len(batch[0]))


def score(made, checkpoint, model_id, exp_name="q"):
    made.start_scoring_checkpoint(exp_name, checkpoint, model_id, num_targets=N_TARGETS)
    for batch in DataLoader(TARGETS, BATCH):
        made.score(batch=batch, num_samples=len(batch[0]))


def in_one(folder):
    made = traker(folder)
    for model_id, checkpoint in enumerate(CHECKPOINTS):
        featurize(made, checkpoint, model_id)
    made.finalize_features()
    for model_id, checkpoint in enumerate(CHECKPOINTS):
        score(made, checkpoint, model_id)
    return made.finalize_scores("q")


def test_a_shim_of_reexports_stands_in_for_the_library(monkeypatch):
    for name in ("", ".projectors", ".modelout_functions", ".gradient_computers"):
        __import__(f"dg_explorer.trak{name}")
        monkeypatch.setitem(sys.modules, f"trak{name}", sys.modules[f"dg_explorer.trak{name}"])
    namespace: dict = {}
    exec(
        "from trak import TRAKer\n"
        "from trak.projectors import BasicProjector, NoOpProjector, CudaProjector, ProjectionType\n"
        "from trak.modelout_functions import AbstractModelOutput, TASK_TO_MODELOUT\n"
        "from trak.gradient_computers import FunctionalGradientComputer\n",
        namespace,
    )
    assert namespace["TRAKer"] is dg_explorer.trak.TRAKer


@pytest.mark.parametrize("proj_type", ["rademacher", "normal"])
def test_a_projector_made_beforehand_is_the_one_that_projects(tmp_path, proj_type):
    size = sum(p.numel() for p in small_resnet().parameters())
    projector = BasicProjector(
        grad_dim=size, proj_dim=20, seed=0, proj_type=proj_type, device="cpu"
    )
    made = traker(tmp_path, projector=projector)
    featurize(made, CHECKPOINTS[0], 0)
    made.finalize_features()
    score(made, CHECKPOINTS[0], 0)
    scores = made.finalize_scores("q")
    assert scores.shape == (N_TRAIN, N_TARGETS)
    other = traker(tmp_path / "other", projector=NoOpProjector())
    featurize(other, CHECKPOINTS[0], 0)
    other.finalize_features()
    score(other, CHECKPOINTS[0], 0)
    assert not (scores == other.finalize_scores("q")).all()


def test_checkpoints_are_loaded_one_after_another_under_ids_of_their_own(tmp_path):
    made, state = traker(tmp_path), CHECKPOINTS[0]
    made.load_checkpoint(state, model_id=0)
    made.load_checkpoint(state, model_id=1)
    assert (tmp_path / "metadata.json").exists()


def test_a_job_for_each_checkpoint_gives_the_scores_of_a_single_one(tmp_path):
    # each is a TRAKer of its own on one folder, as in separate scripts
    for model_id, checkpoint in enumerate(CHECKPOINTS):
        made = traker(tmp_path / "jobs")
        featurize(made, checkpoint, model_id)
        made.finalize_features()
    for model_id, checkpoint in enumerate(CHECKPOINTS):
        made = traker(tmp_path / "jobs")
        score(made, checkpoint, model_id)
    torch.testing.assert_close(
        torch.as_tensor(made.finalize_scores("q")), torch.as_tensor(in_one(tmp_path / "one"))
    )


def test_scoring_again_and_again_gives_the_same_scores(tmp_path):
    made = traker(tmp_path)
    for model_id, checkpoint in enumerate(CHECKPOINTS):
        featurize(made, checkpoint, model_id)
    made.finalize_features()
    found = []
    for _ in range(3):
        for model_id, checkpoint in enumerate(CHECKPOINTS):
            made = traker(tmp_path)
            score(made, checkpoint, model_id)
        found.append(torch.as_tensor(made.finalize_scores("q")).clone())
    torch.testing.assert_close(found[1], found[0])
    torch.testing.assert_close(found[2], found[0])
