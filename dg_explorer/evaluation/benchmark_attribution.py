"""Speed, memory and fidelity of attribution as ratios to one plain pass, in one run.

``python -m dg_explorer.evaluation.benchmark_attribution [digits transformer resnet gpt scores]
[--peer] [--cache FOLDER] [--subsets 64]``

Every time is processor time on one thread; the *floor* is one forward and backward pass over
the same examples, measured in the same run. Ratios are what to compare: seconds depend on the
machine and on what else it does.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from dg_explorer.attribution.attach import attach, explicit_gradients
from dg_explorer.attribution.damping import absolute_damping, damped_solve
from dg_explorer.attribution.influence import InfluenceFunctionAttributor
from dg_explorer.attribution.kernel import gram
from dg_explorer.attribution.projections import Projection
from dg_explorer.attribution.sketches import FactoredSketch
from dg_explorer.attribution.tasks import as_task
from dg_explorer.attribution.top_scores import top_attributions
from dg_explorer.attribution.trak import TRAKAttributor
from dg_explorer.evaluation.benchmark_models import (
    GrokkingTransformer,
    SmallGPT,
    image_data,
    modular_data,
    resnet18,
    text_data,
    trained,
)
from dg_explorer.evaluation.digits_truth import digits_training, digits_truth
from dg_explorer.evaluation.lds import linear_datamodeling_score

WORKLOADS = ("digits", "transformer", "resnet", "gpt", "scores")


def floor(model, task, data, batch_size: int) -> float:
    """Seconds of one forward and backward pass with gradients of every parameter."""

    def run():
        for batch in DataLoader(data, batch_size):
            loss = task.loss(task.predict(model, batch), batch).sum()
            torch.autograd.grad(loss, list(model.parameters()))

    run()
    return timed(run)[1]


def timed(work):
    start = time.process_time()
    found = work()
    return found, time.process_time() - start


def peak_over(work) -> float:
    """MB of memory at its peak while working, over what there was before (Linux)."""
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")

    def now(field):
        line = next(x for x in status.read_text().splitlines() if x.startswith(field))
        return int(line.split()[1]) / 1024

    try:
        clear.write_text("5")
    except OSError:
        work()
        return float("nan")
    before = now("VmRSS")
    work()
    return now("VmHWM") - before


def sketch(capture, data, projection, batch_size: int) -> torch.Tensor:
    """Features of a dataset, without any of the attributor's bookkeeping."""
    loader = DataLoader(data, batch_size)
    return torch.cat([projection(capture(batch).factors[0]) for batch in loader])


def attached(model, task, data):
    """A capture of the model: made and checked once, and not part of what is timed."""
    return attach(model, task, tuple(t[:4] for t in data.tensors))


def row_correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    """Mean over rows of the Pearson correlation."""
    a, b = (x - x.mean(1, keepdim=True) for x in (a.double(), b.double()))
    return float(((a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))).mean())


def ridge_scores(train: torch.Tensor, test: torch.Tensor, relative=1.0) -> torch.Tensor:
    kernel = (train @ train.T).double()
    return damped_solve(kernel, test @ train.T, absolute_damping(kernel, relative))


def transformer(report, settings) -> None:
    """Exact scores and 2,048 dimensions for one layer on modular addition."""
    task = as_task("classification")
    torch.manual_seed(0)
    data = modular_data(4000)
    train, test = part(data, slice(0, 3000)), part(data, slice(3000, None))
    model = trained(GrokkingTransformer(), train, task, 100, 256)
    base = floor(model, task, data, 500)
    name = "transformer, 3,000 x 1,000"
    attributor = TRAKAttributor(model, batch_size=500)

    def features():
        return attributor.compute_train_features(train), attributor.compute_test_features(test)

    (a, b), seconds = timed(features)
    _, more = timed(lambda: gram(b.models[0][0], a.models[0][0]))
    report(name, "exact gradients and kernel", (seconds + more) / base, "x floor", "<= 10 (5)")
    probe = tuple(t[:12] for t in data.tensors)
    capture = attach(model, task, probe)
    g = explicit_gradients(model, task, probe, capture.parameters)
    g = torch.cat([x.flatten(1) for x in g.values()], 1).double()
    mine = gram(capture(probe).factors[0]).double()
    error = float((mine - g @ g.T).norm() / (g @ g.T).norm())
    report(name, "error of the kernel against autograd", error, "", "<= 1e-4")
    _, total = timed(lambda: attributor.unweighted(*features()))
    report(name, "exact scores, end to end", total / base, "x floor", "")
    memory = peak_over(lambda: attributor.attribute(train, test))
    report(name, "peak memory of exact scores", memory, "MB", "<= 400")
    projection = FactoredSketch(2048)
    sketch(capture, part(data, slice(0, 4)), projection, 4)  # draws the signs
    z, seconds = timed(lambda: sketch(capture, data, projection, 500))
    report(name, "2,048 dimensions", seconds / base, "x floor", "<= 3.5 (2.3)")
    few = part(data, slice(2400, 3200))  # a dense projection of all 4,000 takes minutes
    z, dense = z[2400:3200], sketch(capture, few, Projection(2048, "gaussian"), 400)
    kernel = gram(capture(few.tensors).factors[0]).double()
    for relative in (1.0, 0.01):
        found, other = (fidelity(x, kernel, 600, relative) for x in (z, dense))
        quantity = f"row Pearson with exact, ridge {relative:g}"
        report(name, quantity, found, f"({other:.3f} dense)", "within .02")
    if settings.peer:
        ratio = traker_seconds(model, train, test) / total
        report(name, "traker 0.3.2 (200 examples, scaled) / exact", ratio, "x", ">= 12 (20)")


def part(data, index) -> TensorDataset:
    return TensorDataset(*(t[index] for t in data.tensors))


def fidelity(z: torch.Tensor, kernel: torch.Tensor, n_train: int, relative: float) -> float:
    """Row correlation of a sketch's scores with exact ones; the first `n_train` are trained on."""
    scores = []
    for k in ((z @ z.T).double(), kernel):
        train = k[:n_train, :n_train]
        added = absolute_damping(train, relative)
        scores.append(damped_solve(train, k[n_train:, :n_train], added))
    return row_correlation(*scores)


def traker_seconds(model, train, test) -> float:
    """traker at its defaults; its gradients are of the model it is given, on this processor."""
    from tempfile import TemporaryDirectory

    from trak import TRAKer
    from trak.projectors import BasicProjector, ProjectionType

    size = sum(p.numel() for p in model.parameters())
    with TemporaryDirectory() as folder:
        projector = BasicProjector(
            size, 2048, 0, ProjectionType.rademacher, "cpu", dtype=torch.float32, block_size=512
        )
        peer = TRAKer(
            model, "image_classification", len(train), save_dir=folder, device="cpu",
            projector=projector, use_half_precision=False, logging_level=40,
        )  # fmt: skip
        state = {k: v.clone() for k, v in model.state_dict().items()}
        peer.load_checkpoint(state, model_id=0)
        part = tuple(t[:100] for t in train.tensors)
        peer.featurize(batch=part, num_samples=100)
        _, seconds = timed(
            lambda: peer.featurize(batch=tuple(t[100:300] for t in train.tensors), num_samples=200)
        )
    return seconds / 200 * (len(train) + len(test))


def resnet(report, settings) -> None:
    """2,048 dimensions of a ResNet-18 on 128 images."""
    del settings
    task = as_task("classification")
    torch.manual_seed(0)
    data = image_data(128)
    model = trained(resnet18(), image_data(256, 1), task, 4, 32)
    base = floor(model, task, part(data, slice(0, 64)), 16) * 2
    name = "ResNet-18, 128 images of 32 x 32"
    capture, projection = attached(model, task, data), FactoredSketch(2048)
    z, seconds = timed(lambda: sketch(capture, data, projection, 16))
    report(name, "2,048 dimensions", seconds / base, "x floor", "<= 1.0")
    memory = peak_over(lambda: sketch(capture, part(data, slice(0, 32)), projection, 16))
    report(name, "peak memory, batches of 16", memory, "MB", "<= 350")
    few = part(data, slice(0, 48))
    found = fidelity(z[:48], exact_kernel(capture, few, 8), 32, 1.0)
    report(name, "row Pearson with exact, ridge 1, 32 x 16", found, "", ">= .98")


def exact_kernel(capture, data, size) -> torch.Tensor:
    """Kernel of a dataset whose gradients do not fit into memory together, by blocks."""
    blocks = list(DataLoader(data, size))
    out = torch.zeros(len(data), len(data), dtype=torch.float64)
    for i, left in enumerate(blocks):
        a = [f.flat() for f in capture(left).factors[0]]
        for j in range(i + 1):
            b = a if i == j else [f.flat() for f in capture(blocks[j]).factors[0]]
            tile = sum((x @ y.T).double() for x, y in zip(a, b))
            out[i * size : i * size + len(tile), j * size : j * size + tile.shape[1]] = tile
    return out.tril() + out.tril(-1).T


def gpt(report, settings) -> None:
    """2,048 and 65,536 dimensions of a small GPT."""
    del settings
    task = as_task("language_modeling")
    torch.manual_seed(0)
    data = text_data(256)
    model = trained(SmallGPT(), text_data(256, 1), task, 10, 16)
    base = floor(model, task, part(data, slice(0, 64)), 16) * 4
    name = "GPT, 4M parameters, 256 x 128 tokens"
    capture = attached(model, task, data)
    few = part(data, slice(0, 96))
    exact = exact_kernel(capture, few, 32)
    for width, level in ((2048, "<= 1.0"), (65536, "<= 1.1")):
        projection = FactoredSketch(width)
        sketch(capture, part(data, slice(0, 4)), projection, 4)  # draws the signs
        z, seconds = timed(lambda p=projection: sketch(capture, data, p, 16))
        report(name, f"{width:,} dimensions", seconds / base, "x floor", level)
        for relative in (1.0, 0.01):
            found = fidelity(z[:96], exact, 64, relative)
            quantity = f"row Pearson with exact, ridge {relative:g}, 64 x 32"
            report(name, quantity, found, "", ">= .70" if width > 2048 else "")


def digits(report, settings) -> None:
    """LDS on scikit-learn's digits with defaults only, from one checkpoint and from ten."""
    training = digits_training()
    truth = digits_truth(settings.cache, n_subsets=settings.subsets)
    models, held = [], truth.isel(subset=slice(settings.subsets // 2, None))
    for seed in range(10):
        model = training.model(seed)
        model.load_state_dict(full_training(training, seed))
        models.append(model)
    train = TensorDataset(training.inputs, training.labels)
    test = TensorDataset(training.test_inputs, training.test_labels)
    for method, one, ten in (
        (TRAKAttributor, ">= .46", ">= .60"),
        (InfluenceFunctionAttributor, ">= .58 (.65)", ">= .68"),
    ):
        alone, times = [], []
        for model in models:
            found, seconds = timed(lambda f=method, m=model: f(m).attribute(train, test))
            alone.append(_lds(found, held))
            times.append(seconds)
        found = method(models[0], checkpoints=models).attribute(train, test)
        name = f"digits LDS, {method.__name__}"[:38]
        report(name, "one checkpoint, mean of ten", np.mean(alone), "", one)
        report(name, "one checkpoint, seconds", np.median(times), "s", "<= 5")
        report(name, "ten checkpoints", _lds(found, held), "", ten)


def full_training(training, seed: int) -> dict:
    """Weights after training on every example."""
    model = training.model(seed)
    everyone = torch.utils.data.TensorDataset(training.inputs, training.labels)
    generator = torch.Generator().manual_seed(1000 + seed)
    steps = training.n_epochs * (len(everyone) // training.batch_size)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    task, taken = as_task("classification"), 0
    for _ in range(training.n_epochs):
        order = torch.randperm(len(everyone), generator=generator)
        for chosen in order.split(training.batch_size):
            optimizer.param_groups[0]["lr"] = 0.1 * (1 - taken / steps)
            batch = tuple(t[chosen] for t in everyone.tensors)
            loss = task.loss(model(batch[0]), batch).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            taken += 1
    return model.state_dict()


def _lds(found: torch.Tensor, truth) -> float:
    return float(
        linear_datamodeling_score(
            found.numpy(), truth["mask"].values, truth["output"].values, n_bootstrap=2
        )["lds"]
    )


def scores(report, settings) -> None:
    """From features to the top 100 of each query, never holding the matrix."""
    del settings
    generator = torch.Generator().manual_seed(0)
    shape = {"train": 50_000, "test": 1_000}
    z = {s: torch.randn(n, 2048, generator=generator) for s, n in shape.items()}
    name = "50,000 x 2,048 features, 1,000 tests"
    before = time.process_time()
    top_attributions(z["train"], z["test"], k=100)
    report(name, "top 100 of every test", time.process_time() - before, "s", "<= 5 (3.5)")
    row = np.zeros(50_000, np.float32)
    row[:] = z["train"][:, 0]
    _, seconds = timed(lambda: [torch.topk(torch.from_numpy(row), 100) for _ in range(100)])
    report(name, "top 100 of a row", seconds * 10, "ms", "<= 2")
    query = z["test"][0]
    _, seconds = timed(lambda: [torch.topk(z["train"] @ query, 100) for _ in range(10)])
    report(name, "a row on demand and its top 100", seconds * 100, "ms", "<= 30")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workloads", nargs="*", default=WORKLOADS, metavar="workload")
    parser.add_argument("--peer", action="store_true", help="time traker 0.3.2 too, if installed")
    parser.add_argument("--cache", default="digits-truth", help="folder for retrained digits")
    parser.add_argument(
        "--subsets", type=int, default=64, help="halves of the digits to retrain on"
    )
    settings = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'workload':38} {'quantity':46} {'measured':>10}  {'':18} level (aim)")

    def report(workload, quantity, value, unit, level):
        print(f"{workload:38} {quantity:46} {value:10.3g}  {unit:18} {level}", flush=True)

    for name in settings.workloads:
        if name not in WORKLOADS:
            parser.error(f"no workload {name!r}; there are {', '.join(WORKLOADS)}")
        globals()[name](report, settings)


if __name__ == "__main__":
    main()
