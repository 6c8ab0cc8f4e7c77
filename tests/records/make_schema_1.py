"""Record a tiny training with every kind of group, as `tests/records/schema_1`.

``python tests/records/make_schema_1.py`` wrote it with version 0.1.0. It is kept to show how the
record came about, and is **not** run again: what tests need is a record of an old version.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import xarray as xr
from recorded_values import values_of
from torch import nn
from torch.utils.data import TensorDataset

import dg_explorer as dg
from dg_explorer import analysis, attribution, evaluation

HERE = Path(__file__).parent
N_TRAIN, N_TEST, EPOCHS, BATCH = 24, 8, 6, 8
TRAIN_IDS, TEST_IDS = 100 + np.arange(N_TRAIN), 1000 + np.arange(N_TEST)


def network():
    """5-6-3 in float64, so that a replay ends at the same weights on every processor."""
    torch.manual_seed(7)
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).double()


def examples(n, seed):
    """Three clouds of points, with a tenth of the labels wrong."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    inputs = rng.normal(0, 0.8, (n, 5)) + 1.5 * np.eye(3, 5)[labels]
    labels[4::10] = (labels[4::10] + 1) % 3
    return TensorDataset(torch.as_tensor(inputs), torch.as_tensor(labels))


def columns(data, ids, split):
    """Label, text, group, a property, and a picture of each example."""
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 255, (len(ids), 4, 4, 1), np.uint8)
    table = {
        "label": (split, data.tensors[1].numpy()),
        "text": (split, np.array([f"{split} example {i}, naïve ☃" for i in ids], dtype=object)),
        "group": (split, np.array(["left", "right"])[ids % 2].astype(object)),
        "age": (split, rng.integers(18, 90, len(ids))),
        "metres": (split, rng.normal(1.7, 0.1, len(ids))),
        "thumbnail": ((split, "height", "width", "channel"), pixels),
    }
    return xr.Dataset(table, {split: ids})


def data():
    """Train and test, each yielding (inputs, label, id)."""
    return (
        dg.with_ids(examples(N_TRAIN, 1), TRAIN_IDS),
        dg.with_ids(examples(N_TEST, 2), TEST_IDS),
    )


def record(path):
    """Train with AdamW and record everything that replay needs."""
    train, test = data()
    run = dg.Run.create(
        path,
        name="A record of schema 1",
        train_examples=columns(train.dataset, TRAIN_IDS, "train"),
        test_examples=columns(test.dataset, TEST_IDS, "test"),
        config={"lr": 0.05, "layers": [6, 3], "note": "naïve ☃"},
        seed=7,
    )
    run.set_attrs(task="clouds")
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.1, eps=1e-3)
    inputs, labels = train.dataset.tensors
    with dg.Recorder(
        run, model, optimizer, train=train, test=test, layers=["1"], gradient_every=1, replay=True
    ) as recorder:
        for epoch in range(EPOCHS):
            order = np.random.default_rng([7, epoch]).permutation(N_TRAIN)
            for batch in np.split(order, range(BATCH, N_TRAIN, BATCH)):
                logits = model(inputs[batch])
                loss = F.cross_entropy(logits, labels[batch])
                optimizer.zero_grad()
                loss.backward()
                recorder.batch(logits, labels[batch], TRAIN_IDS[batch])
                optimizer.step()
            recorder.epoch(epoch)
    return run


def add_scores(run):
    """Scores of several methods, their best, and those of examples for themselves."""
    train, test = data()
    for method in ("trak", "influence", "gradient_dot"):
        dg.attribute(run, network(), train, test, method=method, epochs=[1, 3, 5], progress=False)
    dg.attribute_trajectory(run, network(), train, test, epochs=[5])
    scores = run["scores/trak"]["score"].load()
    best = np.argsort(-scores.values, axis=-1, kind="stable")[..., :5]
    dims = ("epoch", "test", "rank")
    coords = {"epoch": scores["epoch"].values, "test": TEST_IDS}
    ranked = {
        "score": (dims, np.take_along_axis(scores.values, best, -1)),
        "train_id": (dims, TRAIN_IDS[best]),
    }
    run.add("top_scores/trak", xr.Dataset(ranked, coords))
    model = network()
    trak = attribution.TRAKAttributor(model)
    itself = trak.self_influence(trak.compute_train_features(train)).numpy()
    run.add(
        "self_influence/trak",
        xr.Dataset(
            {"score": (("epoch", "train"), itself[None].astype(np.float32))},
            {"epoch": [0], "train": TRAIN_IDS},
        ),
    )


def add_checks(run):
    """The exact derivative, retraining, and how far scores may be believed."""
    train, test = data()
    training = dg.training_of_run(run, network(), train=train, test=test)
    dg.add_unrolled_scores(run, training, epochs=[3, 5], windows=3)
    last = training.with_changes(record_at=(training.n_epochs,))
    dg.metasmoothness(run, training=last, directions=2)
    masks = evaluation.random_subsets(8, TRAIN_IDS, keep=0.8)
    truth = dg.subset_retraining(last, masks)
    dg.lds_over_time(run, truth=truth)
    dg.counterfactual_check(
        run, TEST_IDS[:3], remove=TRAIN_IDS[:3], training=last, n_random=4, n_curve=4
    )
    dg.leave_one_out(run, training=last, train=TRAIN_IDS[:4], test=TEST_IDS[:3])
    edges = [0, 6, 12, training.n_epochs]
    dg.window_ablation(run, training=last, train=int(TRAIN_IDS[0]), windows=edges)


def add_analyses(run):
    """Everything that is worked out from the record alone."""
    dg.add_projections(run, "1")
    dg.add_transitions(run)
    dg.add_cartography(run)
    dg.add_cartography(run, split="test")
    dg.add_memorization(run)
    dg.find_mislabeled(run)
    analysis.add_bias(run)
    analysis.add_feature_measures(run, "1", classifier="2")
    run.add("analyses/my own", xr.Dataset({"value": ("where", [1.5, np.nan])}))


def unfinished(path):
    """A record as a killed process leaves it: its last rows are in the journal only."""
    staging = path.with_name("being-recorded")
    run = dg.Run.create(staging, name="Killed", train_examples={"label": [0, 1, 1]}, seed=0)
    for epoch in range(3):
        row = {"train_loss": ("epoch", [1.0 / (1 + epoch)])}
        run.append("metrics", xr.Dataset(row, {"epoch": [epoch]}))
        if epoch == 0:
            run.flush()
    shutil.copytree(staging, path)
    run.flush()
    shutil.rmtree(staging)


def main():
    """Write both records and what they hold."""
    path = HERE / "schema_1"
    run = record(path)
    add_scores(run)
    add_checks(run)
    add_analyses(run)
    unfinished(HERE / "schema_1_killed")
    known = {group: values_of(run[group].load()) for group in run.groups()}
    lines = ",\n".join(
        f"  {json.dumps(group)}: {{\n"
        + ",\n".join(f"    {json.dumps(name)}: {json.dumps(v)}" for name, v in held.items())
        + "\n  }"
        for group, held in known.items()
    )
    (HERE / "schema_1.json").write_text("{\n" + lines + "\n}\n")


if __name__ == "__main__":
    main()
