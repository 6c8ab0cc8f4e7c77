"""Exact influence on a device: both directions against the processor, and a LoRA run's *when*.

Part of ``python -m benchmarks.check_gpu``; ``--size tiny`` takes a model of a few hundred numbers
in place of one of GPT-2's size, so that the same code runs where there is no GPU.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from dg_explorer.attribution.unrolled.attributor import UnrolledAttributor
from dg_explorer.demos.modular_addition import modular_addition
from dg_explorer.training.many import outputs_of, train_many
from dg_explorer.training.step.by_hand import OptimizerSettings
from dg_explorer.training.step.choose import step_from_torch
from dg_explorer.training.training import Training


@dataclass(frozen=True)
class Size:
    """A GPT-2 with adapters of rank 4 on its attention, and how it is trained and asked."""

    layers: int
    width: int
    heads: int
    vocabulary: int
    length: int
    n_train: int
    batch: int
    n_steps: int
    queries: int
    dtype: torch.dtype
    film_steps: int


SIZES = {
    "gpt2": Size(12, 768, 12, 50257, 64, 256, 8, 500, 8, torch.float32, 100),
    "tiny": Size(1, 16, 2, 30, 6, 12, 4, 12, 2, torch.float64, 4),
}


class LowRank(nn.Module):
    """A frozen layer and a product of two small matrices beside it (Hu et al. 2022)."""

    def __init__(self, layer: nn.Module, n_in: int, n_out: int, rank: int = 4):
        super().__init__()
        self.layer = layer
        self.down = nn.Parameter(torch.randn(n_in, rank) / n_in**0.5)
        self.up = nn.Parameter(torch.zeros(rank, n_out))

    def forward(self, x):
        return self.layer(x) + x @ self.down @ self.up


def adapted_gpt2(size: Size, device: str) -> nn.Module:
    """GPT-2 as transformers has it, drawn at random; its adapters alone are to train."""
    import transformers

    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            n_layer=size.layers,
            n_embd=size.width,
            n_head=size.heads,
            vocab_size=size.vocabulary,
            n_positions=size.length,
            attn_implementation="eager",
            use_cache=False,
        )
    )
    model.requires_grad_(False)
    for block in model.transformer.h:
        block.attn.c_attn = LowRank(block.attn.c_attn, size.width, 3 * size.width)
    return model.eval().to(device, size.dtype)


def token_loss(answers: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean over the next tokens of each sequence, in nats."""
    flat = F.cross_entropy(answers[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="none")
    return flat.view(len(labels), -1).mean(1)


def log_likelihood(answers: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return -token_loss(answers, labels)


def lora_training(size: Size, device: str) -> Training:
    """Sequences that repeat a short pattern, learned by the adapters of a frozen GPT-2."""
    generator = torch.Generator().manual_seed(0)
    n = size.n_train + size.queries
    pattern = torch.randint(0, size.vocabulary, (n, 3), generator=generator)
    tokens = pattern.repeat(1, -(-size.length // 3))[:, : size.length].to(device)
    start = adapted_gpt2(size, device)
    steps_an_epoch = size.n_train // size.batch
    return Training(
        model=lambda seed: start,
        inputs=tokens[: size.n_train],
        labels=tokens[: size.n_train],
        test_inputs=tokens[size.n_train :],
        test_labels=tokens[size.n_train :],
        optimizer=OptimizerSettings(kind="adamw", lr=1e-3, eps=1e-3, weight_decay=0.01),
        n_epochs=-(-size.n_steps // steps_an_epoch),
        batch_size=size.batch,
        loss=token_loss,
        output=log_likelihood,
        carried=frozenset(n for n, p in start.named_parameters() if p.requires_grad),
    )


def on_device(training: Training, device: str) -> Training:
    """The same training with its data and its model on a device."""
    names = ("inputs", "labels", "test_inputs", "test_labels")
    moved = {name: getattr(training, name).to(device) for name in names}
    return training.with_changes(model=lambda seed: training.model(seed).to(device), **moved)


def directions_agree(device: str, n_steps: int):
    """Yield (what, how far apart): film and reverse on the device, and reverse on the processor."""
    small = modular_addition(
        "smooth", n_steps=n_steps, p=5, share=0.8, width=8, dtype=torch.float64
    )
    model = small.model(small.seed).to(device)
    adam = torch.optim.Adam(model.parameters(), 1e-2, eps=1e-3, amsgrad=True)
    own = step_from_torch(adam, list(model.named_parameters()))
    for name, training in (
        ("AdamW by hand", on_device(small, device)),
        ("Adam's own step", on_device(small.with_changes(optimizer=own), device)),
    ):
        found = {mode: _scores(training, mode) for mode in ("forward", "reverse")}
        yield f"film against reverse, {name}", _apart(found["forward"], found["reverse"])
        if name == "AdamW by hand":
            here = _scores(small, "reverse")
            yield "reverse against the processor", _apart(found["reverse"], here)


def _scores(training: Training, mode: str) -> torch.Tensor:
    found = UnrolledAttributor(training, mode=mode, dtype=torch.float64).attribute()
    return torch.as_tensor(found["score"].values)


def lora_when(device: str, size: Size):
    """Yield (what, found): a LoRA run's exposures, against its scores and a finite difference."""
    training = lora_training(size, device)
    start = time.perf_counter()
    attributor = UnrolledAttributor(
        training, memory=20_000_000_000, mode="reverse", dtype=size.dtype
    )
    when = attributor.exposures(windows=10)["score"]
    took = time.perf_counter() - start
    generator = torch.Generator().manual_seed(1)
    v = torch.randn(training.n_train, generator=generator).to(training.start().theta)
    h = 1e-4 if size.dtype == torch.float64 else 3e-2
    outputs = []
    for sign in (1, -1):
        theta = training.start().theta[None]
        end = train_many(training, (1 + sign * h * v)[None], theta)[0]
        outputs.append(outputs_of(training, end)[0])
    finite = ((outputs[0] - outputs[1]) / (2 * h)).double().cpu()
    predicted = torch.as_tensor(when.sum("window").values) @ v.double().cpu()
    yield "LoRA: exposures against a central difference", _apart(predicted, finite)
    yield f"LoRA: seconds for {len(list(training.steps()))} steps, {size.queries} queries", took


def _apart(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())
