"""The workloads of the attribution benchmark: each yields what it measured, one row at a time."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.measures import (
    against,
    attached,
    exact_kernel,
    fidelity,
    one_pass,
    part,
    peak_over,
    sketch,
    timed,
)
from benchmarks.models import (
    GrokkingTransformer,
    SmallGPT,
    image_data,
    modular_data,
    resnet18,
    text_data,
    trained,
)
from dg_explorer.attribution.gradients.explicit import explicit_gradients
from dg_explorer.attribution.methods.trak import TRAKAttributor
from dg_explorer.attribution.projections.dense import Projection
from dg_explorer.attribution.projections.kernel import gram
from dg_explorer.attribution.projections.sketches import FactoredSketch
from dg_explorer.attribution.top.best import best_of_row
from dg_explorer.attribution.top.row_scores import RowScores
from dg_explorer.attribution.top.top_scores import top_attributions
from dg_explorer.schema import SIGN
from dg_explorer.tasks import as_task

CLASSES = as_task("classification")
TOKENS = as_task("language_modeling")


@dataclass
class Measured:
    """One row of the table: `level` and `aim` are bounds from above unless they say otherwise."""

    workload: str
    quantity: str
    value: float
    unit: str
    level: str = ""


Rows = Iterator[Measured]


def grokking(steps: int):
    """The one-layer transformer, its 3,000 training examples and 1,000 test examples."""
    torch.manual_seed(0)
    data = modular_data(4000)
    model = GrokkingTransformer()
    if steps:
        model = trained(model, part(data, slice(0, 3000)), CLASSES, steps, 256)
    return model, data, part(data, slice(0, 3000)), part(data, slice(3000, None))


def transformer() -> Rows:
    """Exact scores of 1,000 tests and 3,000 training examples of modular addition."""
    name = "transformer, exact, 3,000 x 1,000"
    model, data, train, test = grokking(100)
    capture, floor = attached(model, CLASSES, data), one_pass(model, CLASSES, data, 500)
    attributor = TRAKAttributor(model, batch_size=500)

    def kernel():
        a = attributor.compute_train_features(train)
        b = attributor.compute_test_features(test)
        return gram(b.models[0][0], a.models[0][0])

    ratio, base = against(floor, kernel, 1)
    yield Measured(name, "gradients and kernel", ratio, "x floor", "<= 10 (5)")
    _, seconds = timed(lambda: attributor.attribute(train, test))
    yield Measured(name, "scores end to end", seconds / base, "x floor")
    yield Measured(name, "scores end to end", seconds, "s")
    probe = tuple(t[:12] for t in data.tensors)
    g = explicit_gradients(model, CLASSES, probe, capture.parameters)
    g = torch.cat([x.flatten(1) for x in g.values()], 1).double()
    mine = gram(capture(probe).factors[0]).double()
    error = float((mine - g @ g.T).norm() / (g @ g.T).norm())
    yield Measured(name, "kernel against autograd", error, "relative", "<= 1e-4")


def transformer_peak() -> Rows:
    model, _, train, test = grokking(0)
    memory = peak_over(lambda: TRAKAttributor(model, batch_size=500).attribute(train, test))
    yield Measured("transformer, exact, 3,000 x 1,000", "peak memory", memory, "MB", "<= 400")


def transformer_features() -> Rows:
    """2,048 dimensions of the same, and how near their scores are to exact ones."""
    name = "transformer, 2,048 features"
    model, data, *_ = grokking(100)
    capture, floor = attached(model, CLASSES, data), one_pass(model, CLASSES, data, 500)
    projection = FactoredSketch(2048)
    ratio, base = against(floor, lambda: sketch(capture, data, projection, 500))
    yield Measured(name, "4,000 examples", ratio, "x floor", "<= 3.5 (2.3)")
    yield Measured(name, "an example", 1e3 * ratio * base / len(data), "ms")
    few = part(data, slice(2400, 3200))  # a dense projection of all 4,000 takes minutes
    mine = sketch(capture, few, projection, 400)
    dense = sketch(capture, few, Projection(2048, "gaussian"), 800)
    kernel = gram(capture(few.tensors).factors[0]).double()
    for relative in (1.0, 0.01):
        found, other = (fidelity(x, kernel, 600, relative) for x in (mine, dense))
        what = f"row Pearson with exact, ridge {relative:g}"
        yield Measured(name, what, found, f"({other:.3f} dense)", f">= {other - 0.02:.3f}")


def images(n: int, steps: int):
    torch.manual_seed(0)
    model = resnet18().eval()
    if steps:
        model = trained(model, image_data(256, 1), CLASSES, steps, 32)
    return model, image_data(n)


def resnet() -> Rows:
    """2,048 dimensions of a ResNet-18 on 128 images; ratios from 64 of them."""
    name = "ResNet-18, 128 images of 32 x 32"
    model, data = images(128, 4)
    capture, projection, few = attached(model, CLASSES, data), FactoredSketch(2048), slice(0, 64)
    floor = one_pass(model, CLASSES, part(data, few), 16)
    ratio, base = against(floor, lambda: sketch(capture, part(data, few), projection, 16), 2)
    yield Measured(name, "2,048 dimensions", ratio, "x floor", "<= 1.0")
    yield Measured(name, "an example", 1e3 * ratio * base / 64, "ms")
    # under autocast the model runs in bfloat16; the floor it is held to is float32's
    _, seconds = timed(lambda: autocast_sketch(capture, part(data, few), projection, 16))
    yield Measured(name, "2,048 dimensions, autocast", seconds / base, "x floor", "(.55)")
    few = part(data, slice(0, 48))
    exact = exact_kernel(capture, few, 8)
    for what, make in (("", sketch), (", autocast", autocast_sketch)):
        found = fidelity(make(capture, few, projection, 16).float(), exact, 32, 1.0)
        yield Measured(name, f"row Pearson, ridge 1, 32 x 16{what}", found, "", ">= .98")


def autocast_sketch(capture, data, projection, batch_size: int) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return sketch(capture, data, projection, batch_size)


def resnet_peak() -> Rows:
    model, data = images(64, 0)
    capture = attached(model, CLASSES, data)
    memory = peak_over(lambda: sketch(capture, data, FactoredSketch(2048), 16))
    yield Measured(
        "ResNet-18, 128 images of 32 x 32", "peak memory, batches of 16", memory, "MB", "<= 350"
    )


def gpt() -> Rows:
    """2,048 and 65,536 dimensions of a small GPT; ratios from 64 of 256 sequences."""
    name = "GPT, 4M, 256 x 128 tokens"
    torch.manual_seed(0)
    data, few = text_data(256), slice(0, 64)
    model = trained(SmallGPT(), text_data(256, 1), TOKENS, 10, 16)
    capture = attached(model, TOKENS, data)
    floor = one_pass(model, TOKENS, part(data, few), 16)
    exact = exact_kernel(capture, part(data, slice(0, 96)), 32)
    for width, level in ((2048, "<= 1.0"), (65536, "<= 1.1")):
        projection = FactoredSketch(width)
        ratio, base = against(
            floor, lambda p=projection: sketch(capture, part(data, few), p, 16), 2
        )
        yield Measured(name, f"{width:,} dimensions", ratio, "x floor", level)
        yield Measured(name, f"{width:,} dimensions, an example", 1e3 * ratio * base / 64, "ms")
        z = sketch(capture, part(data, slice(0, 96)), projection, 16)
        for relative in (1.0, 0.01):
            found = fidelity(z, exact, 64, relative)
            what = f"{width:,}: row Pearson, ridge {relative:g}, 64 x 32"
            yield Measured(name, what, found, "", ">= .70" if width > 2048 else "")


def random_features(n: int, seed: int) -> torch.Tensor:
    return torch.randn(n, 2048, generator=torch.Generator().manual_seed(seed))


def scores() -> Rows:
    """From features to the top 100 of each query, never holding the matrix."""
    name = "50,000 x 2,048 features, 1,000 tests"
    train, test = random_features(50_000, 0), random_features(1000, 1)
    memory = peak_over(lambda: top_attributions(train[:20_000], test, k=100))
    _, seconds = timed(lambda: top_attributions(train, test, k=100))
    yield Measured(name, "top 100 of every test", seconds, "s", "<= 5 (3.5)")
    yield Measured(name, "peak memory (the matrix: 200 MB)", memory, "MB")
    rows = RowScores(train)
    rows.top(test[0])
    _, seconds = timed(lambda: [(rows.row(test[i]), rows.top(test[i])) for i in range(10)])
    yield Measured("one click", "a row from 50,000 x 2,048 features", 50 * seconds, "ms", "<= 30")


def click() -> Rows:
    """A stored row of a record and its top 100, read from the disk's cache by its labels."""
    from dg_explorer import Run

    for n_train, n_test, level in ((50_000, 64, "<= 2"), (1_000_000, 16, "<= 10")):
        with tempfile.TemporaryDirectory() as folder:
            run = Run.create(f"{folder}/run", name="benchmark")
            run.append("scores/trak", _scores(n_train, n_test))
            run.flush()
            stored = Run.open(f"{folder}/run")["scores/trak"]["score"]
            times = []
            for test in range(n_test):
                start = time.process_time()
                best_of_row(torch.from_numpy(stored.sel(epoch=0, test=test).values), 100)
                times.append(time.process_time() - start)
        what = f"a stored row of {n_train:,} and its top 100"
        yield Measured("one click", what, 1e3 * float(np.median(times)), "ms", level)


def _scores(n_train: int, n_test: int):
    import xarray as xr

    values = np.random.default_rng(0).standard_normal((1, n_test, n_train), dtype=np.float32)
    labels = {"epoch": [0], "test": np.arange(n_test), "train": np.arange(n_train)}
    return xr.Dataset({"score": (("epoch", "test", "train"), values)}, labels, {"sign": SIGN})


WORKLOADS = {
    "transformer": (transformer, transformer_peak),
    "features": (transformer_features,),
    "resnet": (resnet, resnet_peak),
    "gpt": (gpt,),
    "scores": (scores,),
    "click": (click,),
}
