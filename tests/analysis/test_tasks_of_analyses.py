"""Every analysis and view on every kind of task: an answer, or one named error that says why."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import dg_explorer as dg
from dg_explorer import CustomTask
from dg_explorer.analysis import LearningDynamicsAnalyzer
from dg_explorer.errors import DGExplorerError, MissingGroupError, SettingError

N, M = 24, 8
G = torch.Generator().manual_seed(0)
X = torch.randn(N, 6, generator=G)


class Rows(Dataset):
    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]


def dense(n_out):
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, n_out))


def pairs(inputs, labels):
    return TensorDataset(inputs, labels), TensorDataset(inputs[:M], labels[:M])


def language_model():
    transformers = pytest.importorskip("transformers")
    config = {"vocab_size": 11, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 16}
    config |= dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**config, use_cache=False))
    tokens = torch.randint(0, 11, (N, 6), generator=G)
    mask = torch.ones(6, dtype=torch.long)
    rows = [{"input_ids": row, "attention_mask": mask, "labels": row} for row in tokens]
    return model, (Rows(rows), Rows(rows[:M])), lambda m, b: m(**b).loss, {}


def images():
    model = nn.Sequential(nn.Conv2d(2, 4, 1), nn.Tanh(), nn.Conv2d(4, 3, 1))
    x = torch.randn(N, 2, 4, 4, generator=G)
    return model, pairs(x, torch.randint(0, 3, (N, 4, 4), generator=G)), of(F.cross_entropy), {}


def of(loss):
    return lambda model, batch: loss(model(batch[0]), batch[1])


def reconstruction(prediction, batch):
    return (prediction - batch[0]).square().mean(1)


TASKS = {
    "classification": lambda: (dense(3), pairs(X, X[:, :3].argmax(1)), of(F.cross_entropy), {}),
    "binary": lambda: (
        dense(1),
        pairs(X, (X[:, 0] > 0).long()),
        of(lambda z, y: F.binary_cross_entropy_with_logits(z[:, 0], y.float())),
        {},
    ),
    "multilabel": lambda: (
        dense(4),
        pairs(X, (X[:, :4] > 0).float()),
        of(F.binary_cross_entropy_with_logits),
        {"task": "multilabel"},
    ),
    "regression": lambda: (
        dense(1),
        pairs(X, X.sum(1)),
        of(lambda z, y: F.mse_loss(z[:, 0], y)),
        {},
    ),
    "regression of three": lambda: (dense(3), pairs(X, X[:, 3:]), of(F.mse_loss), {}),
    "token classification": lambda: (
        dense(3),
        pairs(
            torch.randn(N, 5, 6, generator=G),
            torch.randint(0, 3, (N, 5), generator=G),
        ),
        of(lambda z, y: F.cross_entropy(z.flatten(0, 1), y.flatten())),
        {"task": "token_classification"},
    ),
    "language modeling": language_model,
    "segmentation": images,
    "custom": lambda: (
        dense(6),
        (TensorDataset(X), TensorDataset(X[:M])),
        lambda m, b: reconstruction(m(b[0]), b).mean(),
        {"task": CustomTask(output=lambda p, b: -reconstruction(p, b), loss=reconstruction)},
    ),
}


class Recorded:
    """A run of four epochs of a task, with its features, and everything to score it."""

    def __init__(self, task):
        torch.manual_seed(0)
        self.model, (train, self.test), loss, self.how = TASKS[task]()
        self.train = dg.with_ids(train)
        groups = {"group": np.arange(N) % 2}
        self.run = dg.Run.create(
            name=task, train_examples=groups, test_examples={"group": np.arange(M) % 2}
        )
        layers = [n for n, m in self.model.named_modules() if n and not list(m.children())]
        self.layer = layers[-1]
        optimizer = torch.optim.SGD(self.model.parameters(), 0.05)
        settings = {"layers": [self.layer], "gradient_every": 1, **self.how}
        with dg.Recorder(
            self.run, self.model, optimizer, train=self.train, test=self.test, **settings
        ) as recorder:
            for epoch in range(4):
                for batch in DataLoader(train, batch_size=8, shuffle=True):
                    optimizer.zero_grad()
                    loss(self.model, batch).backward()
                    optimizer.step()
                recorder.epoch(epoch)

    def scored(self, method, **more):
        how = {"progress": False, **self.how, **more}
        return dg.attribute(self.run, self.model, self.train, self.test, method=method, **how)


def view(name):
    return lambda r, tmp_path: getattr(dg, name)(r.run)._repr_mimebundle_()


def figure(name):
    return lambda r, tmp_path: getattr(dg, name)(r.run).to_plotly()


ANALYSES = {
    "find_mislabeled": lambda r, _: dg.find_mislabeled(r.run, share=0.1),
    "add_cartography": lambda r, _: dg.add_cartography(r.run),
    "add_memorization": lambda r, _: dg.add_memorization(r.run),
    "add_transitions": lambda r, _: dg.add_transitions(r.run),
    "add_bias": lambda r, _: dg.add_bias(r.run),
    "add_projections": lambda r, _: dg.add_projections(r.run, r.layer),
    "compare_runs": lambda r, _: dg.compare_runs({"one": r.run}),
    "plot_comparison": lambda r, _: dg.plot_comparison({"one": r.run}),
    "RunComparison": lambda r, _: dg.RunComparison({"one": r.run}),
    "learning dynamics": lambda r, _: LearningDynamicsAnalyzer(
        3, run=r.run
    ).analyze_learning_patterns(),
    "validity_light": lambda r, _: dg.validity_light(r.run, 3),
    **{name: view(name) for name in ("explore", "DynamicsMap", "BiasView", "TransitionView")},
    **{f"{n} figure": figure(n) for n in ("DynamicsMap", "BiasView", "GradientFlow")},
    "a page": lambda r, tmp: dg.explore(r.run).to_html(tmp / "board.html"),
    "complete": lambda r, _: dg.complete(r.run, r.model, r.train, r.test, progress=False, **r.how),
    "gradient_dot": lambda r, _: r.scored("gradient_dot"),
    "influence": lambda r, _: r.scored("influence"),
    "feature_knn": lambda r, _: r.scored("feature_knn", layer=r.layer),
}

_RIGHT_OR_WRONG = {
    *("find_mislabeled", "add_cartography", "add_memorization", "add_bias", "compare_runs"),
    *("plot_comparison", "RunComparison", "learning dynamics", "DynamicsMap figure"),
    "BiasView figure",
}
_ONE_OUTPUT = {"complete", "gradient_dot", "influence", "feature_knn"}
#: what is refused, and by which error: all else answers
REFUSED = {
    "regression": dict.fromkeys({*_RIGHT_OR_WRONG, "add_transitions"}, MissingGroupError),
    "segmentation": dict.fromkeys(_RIGHT_OR_WRONG, MissingGroupError),
    "custom": dict.fromkeys({*_RIGHT_OR_WRONG, "add_transitions"}, MissingGroupError),
    "regression of three": {
        **dict.fromkeys({*_RIGHT_OR_WRONG, "add_transitions"}, MissingGroupError),
        **dict.fromkeys(_ONE_OUTPUT, SettingError),
    },
}


@pytest.mark.second_ring(sample=1)
@pytest.mark.parametrize("task", TASKS)
def test_every_analysis_answers_or_says_why_not(task, tmp_path):
    recorded, refused, said = Recorded(task), {}, []
    for name, analysis in ANALYSES.items():
        try:
            analysis(recorded, tmp_path)
        except DGExplorerError as error:
            refused[name] = type(error)
            said.append(str(error))
    assert refused == REFUSED.get(task, {})
    assert all("'correct'" in text or "RegressionTask(target=" in text for text in said)
