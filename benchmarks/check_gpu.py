"""Everything that has to hold on a GPU, checked and timed by one command.

``python -m benchmarks.check_gpu [--device cuda] [--size tiny]``

Each check compares the device with the processor or with the definition; its row says how far
apart they are and how far they may be. Then come times, as ratios to one plain forward and
backward pass on the same device, and memory at its peak. Where there is no GPU the command says
so and exits with 2; with ``--device cpu`` the same checks run there. Exact influence is checked in
both directions, and takes 500 steps of a LoRA run of GPT-2's size with 8 queries, in at most ten
minutes; ``--size tiny`` runs the same code on a small model.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass

import torch

from benchmarks import gpu_influence
from benchmarks.measures import attached, fidelity
from benchmarks.models import (
    GrokkingTransformer,
    SmallGPT,
    image_data,
    modular_data,
    resnet18,
    text_data,
)
from dg_explorer.attribution.methods.influence import InfluenceFunctionAttributor
from dg_explorer.attribution.methods.trak import TRAKAttributor
from dg_explorer.attribution.projections import random_entries, random_signs
from dg_explorer.attribution.projections.dense import Projection
from dg_explorer.attribution.projections.sketches import FactoredSketch
from dg_explorer.attribution.top.top_scores import top_attributions
from dg_explorer.tasks import as_task

NO_GPU = 2


@dataclass
class Check:
    """How far apart two ways are, and how far they may be; `least` for a lower bound."""

    name: str
    found: float
    bound: float
    least: bool = False

    @property
    def holds(self) -> bool:
        return self.found >= self.bound if self.least else self.found <= self.bound


def checks(device: str, size: str = "gpt2"):
    """Yield every check, the cheapest first."""
    yield signs_of_the_definition(device)
    yield projected_where_it_is(device)
    yield from scores_of_the_processor(device)
    yield best_of_the_processor(device)
    yield rounded_features(device)
    yield from exact_influence(device, size)


def signs_of_the_definition(device: str) -> Check:
    key = random_entries.stream(0, "weight", "rademacher")
    expected = random_entries.rademacher(key, 1000, 3000, 500)
    found = random_signs.signs(key, 1000, 3000, 500, device).cpu()
    wrong = float((found.numpy() != expected).sum())
    return Check("signs that differ from their definition", wrong, 0)


def projected_where_it_is(device: str) -> Check:
    """The kernel (Triton on a GPU) against a product with the matrix written out, in float64."""
    gradient = torch.randn(33, 5000, generator=torch.Generator().manual_seed(0))
    key = random_entries.stream(0, "weight", "rademacher")
    expected = gradient.double() @ random_signs.signs(key, 7, 5007, 321).double()
    out = torch.zeros(33, 321, device=device)
    random_signs.add_projected(gradient.to(device), key, 7, out)
    kernel = "Triton" if device == "cuda" and random_signs.has_triton() else "torch"
    off = relative(out.cpu().double(), expected)
    return Check(f"projection with signs made on the fly ({kernel})", off, 1e-5)


def scores_of_the_processor(device: str):
    """Scores of a transformer by TRAK, exact and projected, and by influence functions."""
    torch.manual_seed(0)
    data = modular_data(300)
    train, test = (torch.utils.data.Subset(data, range(*r)) for r in ((0, 200), (200, 300)))
    for name, method, settings in (
        ("exact scores", TRAKAttributor, {}),
        ("factored features", TRAKAttributor, {"proj_dim": 512}),
        ("Rademacher features", TRAKAttributor, {"proj_dim": 512, "projection": "rademacher"}),
        ("Gaussian features", TRAKAttributor, {"proj_dim": 512, "projection": "gaussian"}),
        ("sparse features", TRAKAttributor, {"proj_dim": 512, "projection": "sparse"}),
        ("Nystrom features", TRAKAttributor, {"proj_dim": 64, "projection": "nystrom"}),
        ("exact influence", InfluenceFunctionAttributor, {}),
        ("EK-FAC influence", InfluenceFunctionAttributor, {"solver": "ekfac"}),
    ):
        found = []
        for place in ("cpu", device):
            torch.manual_seed(0)
            model = GrokkingTransformer().to(place)
            found.append(method(model, **settings).attribute(train, test).cpu())
        yield Check(f"{name} against the processor", relative(found[1], found[0]), 1e-3)


def best_of_the_processor(device: str) -> Check:
    generator = torch.Generator().manual_seed(0)
    train, test = (torch.randn(n, 256, generator=generator) for n in (20_000, 64))
    expected = top_attributions(train.double(), test.double(), k=20)[1]
    found = top_attributions(train.to(device), test.to(device), k=20)[1].cpu()
    return Check("streamed top scores against float64", relative(found.double(), expected), 1e-4)


def rounded_features(device: str) -> Check:
    """Scores of features made under autocast against those made in float32."""
    torch.manual_seed(0)
    data, model = image_data(48), resnet18().eval().to(device)
    batches = [tuple(t[i : i + 16].to(device) for t in data.tensors) for i in (0, 16, 32)]
    capture = attached(model, as_task("classification"), moved(data, device))
    sketch = FactoredSketch(2048)
    full = features(capture, batches, sketch)
    with torch.autocast(torch.device(device).type, torch.bfloat16):
        rounded = features(capture, batches, sketch)
    found = fidelity(rounded, (full.double() @ full.double().T).cpu(), 32, 1.0)
    return Check("row Pearson of autocast with float32", found, 0.98, least=True)


def exact_influence(device: str, size: str):
    """Influence through training, in both directions, and *since when* of a LoRA run."""
    of = gpu_influence.SIZES[size]
    for name, apart in gpu_influence.directions_agree(device, of.film_steps):
        yield Check(name, apart, 1e-8)
    single = of.dtype == torch.float32  # so is the difference it is compared with
    for name, found in gpu_influence.lora_when(device, of):
        yield Check(name, found, 600 if "seconds" in name else 5e-2 if single else 1e-6)


def moved(data, device):
    return torch.utils.data.TensorDataset(*(t.to(device) for t in data.tensors))


def features(capture, batches, projection) -> torch.Tensor:
    return torch.cat([projection(capture(b).factors[0]).float() for b in batches]).cpu()


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


# --------------------------------------------------------------------------- times


def times(device: str):
    """Yield (what, ratio to the floor, MB at the peak) of features on the device."""
    for name, model, data, batch, task in (
        ("transformer, 4,000", GrokkingTransformer(), modular_data(4000), 500, "classification"),
        ("ResNet-18, 512", resnet18(), image_data(512), 128, "classification"),
        ("GPT, 256 x 128", SmallGPT(), text_data(256), 64, "language_modeling"),
    ):
        model, task = model.eval().to(device), as_task(task)
        whole = [t.to(device) for t in data.tensors]
        batches = [tuple(t[i : i + batch] for t in whole) for i in range(0, len(data), batch)]
        capture = attached(model, task, moved(data, device))

        def floor(model=model, task=task, batches=batches):
            for b in batches:
                loss = task.loss(task.predict(model, b), b).sum()
                torch.autograd.grad(loss, list(model.parameters()))

        base, _ = seconds(floor, device)
        for projection in (FactoredSketch(2048), Projection(2048, "rademacher")):
            if device == "cpu" and projection.kind == "rademacher":
                continue  # minutes
            took, peak = seconds(
                lambda c=capture, b=batches, p=projection: features(c, b, p), device
            )
            yield f"{name}: {projection}", took / base, peak


def seconds(work, device: str) -> tuple[float, float]:
    """Quickest of three, after a first that warms up; and MB at the peak, NaN off the GPU."""
    cuda = torch.device(device).type == "cuda"
    found = []
    for _ in range(4):
        if cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        work()
        if cuda:
            torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return min(found[1:]), torch.cuda.max_memory_allocated() / 2**20 if cuda else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--size", default="gpt2", choices=list(gpu_influence.SIZES))
    parser.add_argument("--no-times", action="store_true", help="checks only")
    settings = parser.parse_args()
    if settings.device == "cuda" and not torch.cuda.is_available():
        print("No GPU that torch can use: nothing was checked. --device cpu runs the checks here.")
        sys.exit(NO_GPU)
    if settings.device == "cuda":
        print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    failed = 0
    for check in checks(settings.device, settings.size):
        failed += not check.holds
        sign = ">=" if check.least else "<="
        verdict = "holds" if check.holds else "FAILS"
        print(f"{verdict}  {check.name:56} {check.found:10.3g}  {sign} {check.bound:g}", flush=True)
    if not settings.no_times:
        for name, ratio, peak in times(settings.device):
            print(f"time   {name:56} {ratio:10.3g}  x floor, peak {peak:.0f} MB", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
