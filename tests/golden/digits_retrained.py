"""The digits benchmark in small: a trained network and what retraining on random halves gave.

``python tests/golden/digits_retrained.py`` trains it all anew, in seconds, and writes
`digits_retrained.npz`. The golden numbers are the LDS of scores of the network stored there.
"""

from pathlib import Path

import numpy as np
import torch
import xarray as xr
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset

import dg_explorer as dg
from dg_explorer import attribution as at
from dg_explorer import evaluation

STORED = Path(__file__).with_name("digits_retrained.npz")
N_TRAIN, N_TEST, N_SUBSETS, SEEDS = 400, 30, 48, (0, 1)


def network(seed=0):
    """64-24-10, ReLU."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10))


def data(dtype=torch.float64):
    """Training and test digits, inputs between 0 and 1."""
    digits = load_digits()
    images, labels = torch.as_tensor(digits.data / 16).to(dtype), torch.as_tensor(digits.target)
    end = N_TRAIN + N_TEST
    return (
        TensorDataset(images[:N_TRAIN], labels[:N_TRAIN]),
        TensorDataset(images[N_TRAIN:end], labels[N_TRAIN:end]),
    )


def training():
    """SGD with momentum .9, a rate that falls to 0 in a line, weight decay 1e-3."""
    (inputs, labels), (test_inputs, test_labels) = (d.tensors for d in data(torch.float32))
    return at.Training(
        model=network,
        inputs=inputs,
        labels=labels,
        test_inputs=test_inputs,
        test_labels=test_labels,
        optimizer=at.OptimizerSettings(
            kind="momentum",
            lr=lambda step, n_steps: 0.1 * (1 - step / n_steps),
            momentum=0.9,
            weight_decay=1e-3,
        ),
        n_epochs=20,
        batch_size=20,
    )


def truth():
    """``mask`` (subset, train) and ``output`` (subset, test) as stored."""
    with np.load(STORED, allow_pickle=False) as file:
        mask = np.unpackbits(file["mask"], axis=1, count=N_TRAIN).astype(bool)
        output = file["output"].astype(np.float64)
    ids = {"train": np.arange(N_TRAIN), "test": np.arange(N_TEST)}
    return xr.Dataset(
        {"mask": (("subset", "train"), mask), "output": (("subset", "test"), output)}, ids
    )


def trained():
    """The network trained on everything, as stored, in float64."""
    model = network().double()
    with np.load(STORED, allow_pickle=False) as file:
        model.load_state_dict(
            {name: torch.as_tensor(file[name]).double() for name in model.state_dict()}
        )
    return model


def lds(attributor):
    """The LDS of a method, then that of each test digit."""
    train, test = data()
    scores = attributor(trained()).attribute(train, test)
    there = truth()
    labelled = xr.DataArray(
        scores.numpy(), dims=("test", "train"), coords={d: there[d] for d in ("test", "train")}
    )
    found = dg.linear_datamodeling_score(labelled, there["mask"], there["output"])
    return np.concatenate([[float(found["lds"])], found["per_query"].values])[None]


def main():
    """Train on everything and on random halves, and store weights, masks and outputs."""
    torch.set_num_threads(1)
    whole = training()
    masks = evaluation.random_subsets(N_SUBSETS, whole.train_ids, keep=0.5, seed=3)
    halves = dg.subset_retraining(whole, masks, seeds=SEEDS, order="fresh")
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    steps = [(epoch, batch) for epoch, batch in whole.steps()]
    for step, (_, batch) in enumerate(steps):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / len(steps))
        loss = nn.functional.cross_entropy(model(whole.inputs[batch]), whole.labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    np.savez_compressed(
        STORED,
        mask=np.packbits(masks.values, axis=1),
        output=halves["output"].values[:, -1].astype(np.float32),
        **weights,
    )
    print(f"{STORED}: {STORED.stat().st_size} bytes")


if __name__ == "__main__":
    main()
