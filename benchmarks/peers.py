"""What traker and dattri take for a workload of the benchmark, at their own defaults.

``python -m benchmarks.peers traker|dattri WORKLOAD`` prints a line of JSON
for each size of batch: both draw their projection anew for every batch, so large batches are
cheaper an example. It needs torch and the peer only, so it can run in an environment of the
peer's own. One batch is measured, after one example that warms up, and scaled: `total` is that
time for all examples of the workload, train and test; solving and scoring are left out, in the
peer's favour. Where traker would take minutes, two narrow projections tell what 2,048 columns
take: it draws them 100 at a time.
"""

from __future__ import annotations

import json
import sys
import time
from tempfile import TemporaryDirectory

import torch
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.models import (
    GrokkingTransformer,
    SmallGPT,
    image_data,
    modular_data,
    resnet18,
    text_data,
)

# workload -> peer -> the level to reach
PEERS = {
    "transformer": {"traker": ">= 12 (20)", "dattri": ">= 40"},
    "features": {"traker": ">= 40"},
    "resnet": {"traker": ">= 80"},
    "gpt": {"traker": ">= 50"},
}
DIM, COLUMNS = 2048, 100  # traker's default, and the columns it draws at a time
LONG = 1 << 31  # entries of a projection that take traker about a minute


def workload(name: str):
    """(model, data, examples in all, sizes of batches that are measured)."""
    torch.manual_seed(0)
    if name in ("transformer", "features"):
        return GrokkingTransformer().eval(), modular_data(4000), 4000, (50, 500)
    if name == "resnet":
        return resnet18().eval(), image_data(128), 128, (16,)
    if name == "gpt":
        return SmallGPT().eval(), text_data(256), 256, (16,)
    raise SystemExit(f"No workload {name!r} for peers; there are {', '.join(PEERS)}.")


def traker(name: str, model, data, batch: int) -> float:
    """Seconds of processor time that traker's `featurize` takes for one batch."""
    if DIM * sum(p.numel() for p in model.parameters()) < LONG:
        return featurized(name, model, data, batch, DIM)
    few, more = (featurized(name, model, data, batch, blocks * COLUMNS) for blocks in (2, 3))
    return few + (-(-DIM // COLUMNS) - 2) * (more - few)


def featurized(name: str, model, data, batch: int, dim: int) -> float:
    from trak import TRAKer

    task = token_task() if name == "gpt" else "image_classification"
    with TemporaryDirectory() as folder:
        peer = TRAKer(
            model, task, 2 * batch, save_dir=folder, device="cpu", proj_dim=dim, logging_level=40
        )
        peer.load_checkpoint({k: v.clone() for k, v in model.state_dict().items()}, model_id=0)
        times = []
        for start, count in ((0, 1), (batch, batch)):  # one example warms up
            part = tuple(t[start : start + count] for t in data.tensors)
            before = time.process_time()
            peer.featurize(batch=part, num_samples=count)
            times.append(time.process_time() - before)
    return times[-1]


def token_task():
    """Language modelling for traker, whose own tasks are of one label an example."""
    from trak.modelout_functions import AbstractModelOutput

    class Tokens(AbstractModelOutput):
        @staticmethod
        def get_output(model, weights, buffers, tokens, target):
            logits = torch.func.functional_call(model, (weights, buffers), tokens[None])[0]
            right = logits.gather(-1, target[:, None])[:, 0]
            others = logits.scatter(-1, target[:, None], float("-inf"))
            return (right - others.logsumexp(-1)).sum()

        @staticmethod
        def get_out_to_loss_grad(model, weights, buffers, batch):
            tokens, target = batch
            logits = torch.func.functional_call(model, (weights, buffers), tokens)
            p = logits.float().softmax(-1).gather(-1, target[..., None])[..., 0]
            return (1 - p).mean(-1, keepdim=True)

    return Tokens


def dattri(name: str, model, data, batch: int) -> float:
    """Seconds of processor time that dattri's TRAK takes to cache one batch."""
    from dattri.algorithm.trak import TRAKAttributor
    from dattri.task import AttributionTask

    def logits(parameters, tokens):
        return torch.func.functional_call(model, parameters, tokens[None])

    def loss(parameters, example):
        tokens, label = example
        return torch.nn.functional.cross_entropy(logits(parameters, tokens), label[None])

    def target(parameters, example):
        return log_odds(loss(parameters, example))

    def right(parameters, example):
        return (-loss(parameters, example)).exp()

    def log_odds(nats):
        return -nats - torch.log1p(-torch.exp(-nats))

    times = []
    for start, count in ((0, 1), (batch, batch)):  # one example warms up
        part = TensorDataset(*(t[start : start + count] for t in data.tensors))
        task = AttributionTask(model=model, loss_func=target, checkpoints=model.state_dict())
        peer = TRAKAttributor(task=task, correct_probability_func=right, device="cpu")
        before = time.process_time()
        peer.cache(DataLoader(part, count, shuffle=False))
        times.append(time.process_time() - before)
    return times[-1]


def main() -> None:
    torch.set_num_threads(1)
    peer, name = sys.argv[1:]
    model, data, count, batches = workload(name)
    for batch in batches:
        seconds = {"traker": traker, "dattri": dattri}[peer](name, model, data, batch)
        told = {"batch": batch, "example": seconds / batch, "total": seconds / batch * count}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
