"""What it costs to know what scores are made from: `python -m benchmarks.evidence`.

Prints, of one call of `attribute`, the share of time that goes into digests (data, task, model) and
into comparing the model's outputs with the record, and how long the same call takes again, when
nothing is computed.
"""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack
from unittest import mock

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

import dg_explorer as dg
from dg_explorer.attribution import walk

from .recording import network

N_TRAIN, N_TEST, N_INPUTS, EPOCHS = 5_000, 500, 256, 3


def trained(width: int):
    """A run of three epochs and what it was trained on."""
    torch.manual_seed(0)
    x, xt = torch.randn(N_TRAIN, N_INPUTS), torch.randn(N_TEST, N_INPUTS)
    y, yt = x[:, :10].argmax(1), xt[:, :10].argmax(1)
    train, test = dg.with_ids(TensorDataset(x, y)), TensorDataset(xt, yt)
    model = network(width)
    optimizer = torch.optim.Adam(model.parameters())
    run = dg.Run.create(
        name="digests", train_examples={"label": y.numpy()}, test_examples={"label": yt.numpy()}
    )
    with dg.Recorder(run, model, optimizer, test=test) as recorder:
        for epoch in range(EPOCHS):
            for inputs, labels, ids in DataLoader(train, 100):
                logits = model(inputs)
                optimizer.zero_grad()
                F.cross_entropy(logits, labels).backward()
                recorder.batch(logits, labels, ids)
                optimizer.step()
            recorder.epoch(epoch)
    return run, model, train, test


def shares(width: int, method: str) -> dict[str, float]:
    """Seconds of a call, of its parts, and of the same call again."""
    run, model, train, test = trained(width)
    spent = {"made_from": 0.0, "check_made_from": 0.0, "compared": 0.0}

    def timed(name, function):
        def call(*given, **named):
            began = time.perf_counter()
            try:
                return function(*given, **named)
            finally:
                spent[name] += time.perf_counter() - began

        return call

    with ExitStack() as stack:
        for name in spent:
            stack.enter_context(mock.patch.object(walk, name, timed(name, getattr(walk, name))))
        began = time.perf_counter()
        dg.attribute(run, model, train, test, method=method, progress=False)
        whole = time.perf_counter() - began
    began = time.perf_counter()
    dg.attribute(run, model, train, test, method=method, progress=False)
    return {"whole": whole, "again": time.perf_counter() - began, **spent}


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--method", default="trak")
    chosen = parser.parse_args(arguments)
    found = shares(chosen.width, chosen.method)
    digests = found["made_from"] + found["check_made_from"]
    print(
        f"{N_TRAIN:,} x {N_TEST} examples at {EPOCHS} epochs, {chosen.method}: "
        f"{found['whole']:.1f} s, of which digests {digests / found['whole']:.2%} and the "
        f"comparison of outputs {found['compared'] / found['whole']:.2%}; the same call again "
        f"takes {found['again'] / found['whole']:.1%} of it"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
