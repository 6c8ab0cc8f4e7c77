"""The TRAK library's blueprint, from the specification, runs with only the import changed."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from attribution_models import examples, mlp
from torch.utils.data import DataLoader

from dg_explorer.attribution import TRAKAttributor

PAGE = Path(__file__).with_name("specification_traker.txt").read_text()
BLOCKS = dict(re.findall(r"^## (.+?)\n\n```python\n(.*?)```", PAGE, re.S | re.M))
N_TRAIN, N_TARGETS = 20, 5


def runnable(code):
    """The page's code, its gaps left to the namespace: lines that only say `name = ...`, the
    `...` of other settings, and the misspelt name of a loop variable."""
    code = code.replace("from trak import", "from dg_explorer import")
    code = re.sub(r"^.* = \.\.\.\n", "", code, flags=re.M)
    code = code.replace("train_set_size=...", "train_set_size=len(train)")
    code = code.replace("num_targets=...", "num_targets=len(targets)")
    return code.replace(", ...)", ")").replace("ckeckpoint", "checkpoint")


@pytest.fixture
def scene(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the blueprint names no folder
    train, targets = (
        examples(n, seed, dtype=torch.float32) for seed, n in ((0, N_TRAIN), (1, N_TARGETS))
    )
    loader = DataLoader(train, 6)
    return {
        "model": mlp(dtype=torch.float32),
        "checkpoints": [mlp(seed, dtype=torch.float32).state_dict() for seed in (1, 2, 3)],
        "train": train,
        "targets": targets,
        "train_loader": loader,
        "loader_train": loader,
        "targets_loader": DataLoader(targets, 2),
    }


def test_the_blueprint_gives_the_scores_of_the_exact_attributor(scene):
    assert len(BLOCKS) == 3
    for code in BLOCKS.values():
        exec(compile(runnable(code), "traker.md", "exec"), scene)
    exact = TRAKAttributor(scene["model"], checkpoints=scene["checkpoints"])
    expected = exact.attribute(scene["train"], scene["targets"]).T.numpy()
    assert scene["scores"].shape == (N_TRAIN, N_TARGETS)
    assert np.corrcoef(scene["scores"].ravel(), expected.ravel())[0, 1] > 0.97
