"""The public API as README uses it: pyright checks this file, nobody runs it."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import dg_explorer as dg


def record(x: torch.Tensor, y: torch.Tensor) -> dg.Run:
    train = dg.with_ids(TensorDataset(x[:800], y[:800]))
    test = dg.with_ids(TensorDataset(x[800:], y[800:]))
    table = {"label": y[:800].numpy()}
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    run = dg.Run.create("my_run", name="My digits", train_examples=table)
    with dg.Recorder(run, model, optimizer, train=train, test=test, layers=["2"]) as recorder:
        for epoch in range(15):
            for inputs, labels, ids in DataLoader(train, batch_size=50, shuffle=True):
                logits = model(inputs)
                optimizer.zero_grad()
                nn.functional.cross_entropy(logits, labels).backward()
                recorder.batch(logits, labels, ids)
                optimizer.step()
            recorder.epoch(epoch)
    told: dict[str, str] = dg.complete(run, model, train, test)
    print(told)
    return run


def ask(run: dg.Run, model: nn.Module, train: TensorDataset, test: TensorDataset) -> None:
    explorer = dg.explore(run)
    explorer.top_influencers(query="sevens/not ones")
    asked = dg.QuerySet(
        "sevens", {"all": dg.Query.mean(test), "not ones": dg.Query.contrast(test, train)}
    )
    dg.attribute(run, model, train, query=asked, method="influence")
    scores = dg.attribute(run, model, train, test, method="trak", epochs=[3, 5])
    print(scores["score"].sel(epoch=3).mean("test").values)
    fitted = dg.InfluenceFunctionAttributor(model).fit(train)
    fitted.score(test, candidates=train)
    attributor = dg.TRAKAttributor(model, proj_dim=512)
    features = attributor.compute_train_features(train)
    found = attributor.compute_attributions(features, attributor.compute_test_features(test))
    print(found.topk(5).indices)


def check(run: dg.Run, model: nn.Module, train: TensorDataset, test: TensorDataset) -> None:
    training = dg.training_of_run(run, model, train=train, test=test)
    smooth = dg.metasmoothness(run, training=training)
    effect = dg.counterfactual_check(run, training=training, remove=[3, 5], test=np.array([1]))
    print(smooth["metasmoothness"].values, effect.attrs)
    dg.add_transitions(run)
    dg.add_bias(run)
    dg.find_mislabeled(run).head(10)
    dg.add_projections(run, "2")
    dg.TransitionView(run)
    dg.GradientFlow(run)
    dg.RunComparison({"one": run, "other": run})


def from_checkpoints(model: nn.Module, train: TensorDataset, test: TensorDataset) -> None:
    run = dg.Run.from_checkpoints("checkpoints", model, train, test, path="old", layers=["2"])
    dg.complete(run, model, train, test)
