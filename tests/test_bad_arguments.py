"""Whatever is passed to whatever is public: it works, or a sentence of ours says why not."""

from __future__ import annotations

import inspect
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn
from torch.utils.data import TensorDataset

import dg_explorer as dg
from dg_explorer.arguments import checked
from dg_explorer.errors import SettingError
from dg_explorer.testing import tiny_run

WRONG = {
    "None": None,
    "a word": "nonsense",
    "no word": "",
    "-1": -1,
    "0": 0,
    "2": 2,
    "half": 0.5,
    "NaN": float("nan"),
    "nothing in a list": [],
    "nothing in a dict": {},
    "an object": object(),
    "an array of no use": np.zeros((2, 0)),
    "a path to nowhere": Path("no/such/place"),
    "ids of another run": [10**7],
}
# by the name of a parameter: what may pass nowhere
NEVER = {
    **dict.fromkeys(
        ("k", "batch_size", "block_size", "models_at_once"), ("-1", "0", "half", "NaN")
    ),
    **dict.fromkeys(("n_random", "n_subsets", "n_bootstrap", "directions"), ("-1", "half")),
    **dict.fromkeys(("share", "weight", "drop", "from_share", "to_share"), ("-1", "2", "NaN")),
    "keep": ("-1", "2", "NaN", "0"),
    "seed": ("half", "NaN", "a word"),
    "theme": ("a word", "no word", "2"),
    "epochs": ("a word", "NaN", "an object"),
}
# callbacks of other libraries, which are loaded only when one of their cases is drawn
LATE = {
    "HuggingFaceRecorder": ("run", "train", "test", "every"),
    "LightningRecorder": ("run", "train", "test", "every", "follow"),
}
LEFT = {"demos", "__version__", *LATE}
METHODS = {
    "Run": ("create", "open", "add", "append", "keep", "delete", "epochs", "sizes", "made_from",
            "kept", "checks", "set_attrs", "copy_to", "pack", "note_stopped", "delete_query"),
    "Recorder": ("epoch", "begin_after"),
    "Explorer": ("top_influencers", "to_html", "to_plotly"),
}  # fmt: skip


def public():
    """Every public callable by name, methods of `METHODS` with a dot."""
    found = {}
    for name in sorted(set(dg.__all__) - LEFT):
        what = getattr(dg, name)
        if not (isinstance(what, type) and issubclass(what, BaseException)):
            found[name] = what
    for owner, methods in METHODS.items():
        found |= {f"{owner}.{method}": getattr(getattr(dg, owner), method) for method in methods}
    return found


def parameters(function):
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    given = inspect.signature(function).parameters.values()
    return [p for p in given if p.kind not in kinds and p.name != "self"]


CASES = [(name, p.name) for name, function in public().items() for p in parameters(function)]
CASES += [(name, parameter) for name, given in LATE.items() for parameter in given]


class World:
    """A recorded run and everything that may be asked of it, small and right."""

    def __init__(self, folder: Path):
        torch.manual_seed(0)
        self.folder, self.count = folder, 0
        self.model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
        self.train = TensorDataset(torch.randn(12, 4), torch.arange(12) % 3)
        self.test = TensorDataset(torch.randn(6, 4), torch.arange(6) % 3)
        self.run = dg.Run.create(
            folder / "run",
            name="right",
            train_examples={"label": self.train.tensors[1].numpy()},
            test_examples={"label": self.test.tensors[1].numpy()},
        )
        optimizer = torch.optim.SGD(self.model.parameters(), 0.1)
        loader = torch.utils.data.DataLoader(dg.with_ids(self.train), batch_size=6)
        with dg.Recorder(
            self.run,
            self.model,
            optimizer,
            train=dg.with_ids(self.train),
            test=self.test,
            replay=True,
        ) as recorder:
            for epoch in range(3):
                for inputs, labels, ids in loader:
                    optimizer.zero_grad()
                    answers = self.model(inputs)
                    losses = nn.functional.cross_entropy(answers, labels, reduction="none")
                    recorder.batch(answers, labels, ids)
                    losses.mean().backward()
                    optimizer.step()
                recorder.epoch(epoch)
        self.training = dg.training_of_run(
            self.run, self.model, train=self.train, test=self.test, verify=False
        )
        dg.attribute(self.run, self.model, self.train, self.test, progress=False)
        self.scores = self.run["scores/trak"].score.load()

    def arguments(self, name: str) -> dict:
        """Right arguments of everything a callable requires."""
        ids = np.arange(12)
        masks = dg.random_subsets(6, ids)
        outputs = xr.DataArray(
            np.random.default_rng(0).normal(size=(6, 6)),
            dims=("subset", "test"),
            coords={"subset": np.arange(6), "test": np.arange(6)},
        )
        at_last = self.scores.isel(epoch=-1, drop=True)
        data = xr.Dataset({"value": ("epoch", [1.0])}, {"epoch": [0]})
        self.count += 1
        right = {
            "run": self.run, "model": self.model, "train": self.train, "test": self.test,
            "training": self.training, "optimizer": torch.optim.SGD(self.model.parameters(), 0.1),
            "remove": [1, 2], "windows": [0, 1, 3], "scores": self.scores, "masks": masks,
            "outputs": outputs, "suspicion": np.arange(12.0), "mislabelled": ids < 3,
            "exact": at_last, "approximate": at_last, "epoch": 1, "layer": "hidden",
            "dataset": self.train, "data": self.train, "state_dict": self.model.state_dict(),
            "source": {0: self.model, 1: self.model}, "alignment": at_last.mean("test"),
            "n_subsets": 4, "num_classes": 3, "model_checkpoints": {0: self.model, 1: self.model},
            "train_data": self.train, "test_data": self.test,
            "retrain": lambda *given: self.model, "evaluate_groups": lambda *given: {"a": 0.5},
            "train_groups": ids % 2, "runs": {"a": tiny_run(), "b": tiny_run(1)},
            "comparison": None, "biased_data": self.train, "unbiased_data": self.test,
            "output": lambda prediction, batch: prediction.sum(-1),
            "path": self.folder / f"new{self.count}",
            "group": "metrics", "rows": data, "family": "checks/x", "answer": data, "name": "right",
            "terms": dg.Query.mean(self.test).terms, "questions": {"all": dg.Query.mean(self.test)},
            "why": "", "checkpoint": self.model.state_dict(), "learning_rates": 0.1,
        }  # fmt: skip
        if name == "leave_one_out":
            right["train"] = [1]
        if name == "Training":
            x, y = self.train.tensors
            right |= {"model": lambda seed: self.model, "inputs": x, "labels": y}
            right |= {"test_inputs": x, "test_labels": y, "n_epochs": 2}
            right["optimizer"] = self.training.optimizer
        if name == "random_subsets":
            right["train"] = ids
        if name == "debias":
            right["evaluate_groups"] = lambda *given: (np.array([True, False]), np.array([0, 1]))
        if name == "save_checkpoint":
            right["epoch"] = 100 + self.count
        if name == "lds_over_time":
            right["run"] = self.run
        if name == "window_ablation":
            right["train"] = 1
        if name in ("brittleness",):
            right["scores"] = at_last
        if name == "linear_datamodeling_score":
            right["scores"] = at_last
        if name in ("add_projections", "add_feature_measures"):
            right["run"] = tiny_run()
        if name.startswith(("add_bias", "find_", "Bias", "Explorer", "explore", "complete")):
            right["run"] = tiny_run()
        if name == "comparison_table":
            right["comparison"] = dg.compare_runs(right["runs"], moments=5)
        if name == "Run.add":
            right |= {"group": f"analyses/x{self.count}", "data": data}
        if name == "Run.append":
            right |= {
                "group": "metrics",
                "rows": data.rename(value="train_loss").assign_coords(epoch=[50 + self.count]),
            }
        if name == "Run.delete":
            self.run.add(f"analyses/y{self.count}", data)
            right["group"] = f"analyses/y{self.count}"
        if name == "Run.open":
            right["path"] = self.folder / "run"
        return right


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return World(tmp_path_factory.mktemp("world"))


def call(world: World, name: str, wrong: dict):
    """Call a public name with right arguments, but for some."""
    function = getattr(dg, name) if name in LATE else public()[name]
    right = world.arguments(name)
    given = {
        p.name: right[p.name]
        for p in parameters(function)
        if p.default is inspect.Parameter.empty and p.name not in wrong
    }
    if name == "lds_over_time":
        given |= {"training": world.training, "run": world.run}
    if name.startswith("Run.") and "." in name and name not in ("Run.create", "Run.open"):
        function = getattr(world.run, name.partition(".")[2])
    if name.startswith("Recorder."):
        run = dg.Run.create(name="fresh", train_examples={"label": [0, 1]})
        function = getattr(dg.Recorder(run, world.model), name.partition(".")[2])
    if name.startswith("Explorer."):
        function = getattr(dg.explore(tiny_run()), name.partition(".")[2])
    quick = {
        "n_random": 1,
        "n_curve": 2,
        "directions": 1,
        "n_subsets": 4,
        "moments": 3,
        "sizes": [1],
    }
    names = {p.name for p in parameters(function)}
    given |= {k: v for k, v in quick.items() if k in names and k not in given}
    return function(**(given | wrong))


def is_ours(error: BaseException) -> bool:
    """Whether an error is one of ours, or is raised by our code with a sentence."""
    if isinstance(error, dg.DGExplorerError):
        return True
    frames = traceback.extract_tb(error.__traceback__)
    if any("torch/nn/modules" in frame.filename for frame in frames):
        return True  # what the user's model says to its inputs is said best by itself
    where = frames[-1].filename
    ours = "dg_explorer" in Path(where).parts and Path(where).name != "test_bad_arguments.py"
    return ours and isinstance(error, (TypeError, ValueError)) and str(error).count(" ") >= 3


def outcome(world, name, parameter, wrong) -> str:
    """ "fine", "refused", or the error as it came."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call(world, name, {parameter: wrong})
    except Exception as error:
        if is_ours(error):
            return "refused"
        where = traceback.extract_tb(error.__traceback__)[-1]
        ours = [
            f for f in traceback.extract_tb(error.__traceback__) if "dg_explorer/" in f.filename
        ]
        at = (
            f"{ours[-1].filename.rpartition('dg_explorer/')[2]}:{ours[-1].lineno}"
            if ours
            else where.filename
        )
        return f"{type(error).__name__}: {str(error)[:90]} [{at}]"
    return "fine"


@pytest.mark.second_ring(sample=6)
@pytest.mark.parametrize(("name", "parameter"), CASES, ids=lambda value: str(value))
def test_a_wrong_argument_is_taken_or_refused_in_words(
    world, name, parameter, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    found = {what: outcome(world, name, parameter, wrong) for what, wrong in WRONG.items()}
    raw = {what: how for what, how in found.items() if how not in ("fine", "refused")}
    assert raw == {}
    silent = [what for what in NEVER.get(parameter, ()) if found[what] == "fine"]
    assert silent == []


def test_looking_at_ids_leaves_them_there():
    @checked
    def given(ids: Sequence[int]) -> list[int]:
        return list(ids)

    assert given({3: "a", 1: "b"}.keys()) == [3, 1]
    with pytest.raises(SettingError, match="ids must be a list of whole numbers"):
        given(i for i in (3, 1))
