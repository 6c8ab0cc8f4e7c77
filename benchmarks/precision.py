"""Exact scores of trainings in bfloat16 autocast, against the same trainings in single precision.

``python -m benchmarks.precision mlp`` 200 steps of three optimizers, three seeds each;
``python -m benchmarks.precision transformers`` tiny GPT-2 and BERT in Hugging Face's Trainer.
Printed: the relative difference of all scores, each the last epoch, test x train, and their rank
correlation, by products in single precision (what is shown) and through autocast's casts; of the
MLP how far forwards is from backwards, and with ``--again 12`` how far both precisions are from
training again with all weights changed by 5 %, in as many random ways as that number.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import nn
from torch.utils.data import Dataset, TensorDataset

import dg_explorer as dg
from dg_explorer.attribution.unrolled.attributor import UnrolledAttributor
from dg_explorer.training.flat_model import FlatModel
from dg_explorer.training.training import margin

N, N_TEST = 60, 8


@contextmanager
def through_casts() -> Iterator[None]:
    """Products of the derivative go through autocast, which is the choice that was not taken."""
    plain = FlatModel.__call__

    def cast(self, theta, inputs):
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            return plain(self, theta, inputs).float()

    FlatModel.__call__ = cast
    try:
        yield
    finally:
        FlatModel.__call__ = plain


def scores(training, mode: str = "reverse") -> np.ndarray:
    epoch = training.recorded_epochs()[-1]
    return UnrolledAttributor(training, mode=mode).attribute(epochs=[epoch]).score.values[0]


def against(found: np.ndarray, truth: np.ndarray) -> str:
    apart = np.linalg.norm(found - truth) / np.linalg.norm(truth)
    return f"{apart:.1e} (rank {spearmanr(found.ravel(), truth.ravel()).statistic:.4f})"


def compare(what: str, half, single) -> None:
    """Print how scores of a training in bfloat16 differ from those in single precision."""
    shown, truth = scores(half), scores(single)
    try:
        with through_casts():
            casts = against(scores(half), truth)
    except RuntimeError as error:
        casts = f"none: {str(error).splitlines()[0]}"
    print(f"{what}: single precision {against(shown, truth)}, through autocast {casts}", flush=True)


# ----------------------------------------------------------------------- mlp


@dataclass
class Mlp:
    """A training of a small network by batches of 20, with or without a recorder."""

    seed: int
    optimizer: str
    eps: float
    bf16: bool
    steps: int

    def __post_init__(self):
        g = torch.Generator().manual_seed(self.seed)
        self.x, w = torch.randn(N + N_TEST, 10, generator=g), torch.randn(10, 4, generator=g)
        noise = 0.5 * torch.randn(N + N_TEST, 4, generator=g)
        self.y = (torch.tanh(self.x) @ w + noise).argmax(1)

    def take(self, weights=None, recorder=None) -> nn.Module:
        """Train; examples count by `weights`, `recorder` is a function of model and optimizer."""
        torch.manual_seed(self.seed)
        layers = nn.Linear(10, 32), nn.GELU(), nn.Linear(32, 32), nn.GELU(), nn.Linear(32, 4)
        model = nn.Sequential(*layers)
        if self.optimizer == "AdamW":
            rule = torch.optim.AdamW(model.parameters(), 3e-3, eps=self.eps, weight_decay=0.1)
        else:
            rule = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
        order = torch.Generator().manual_seed(self.seed + 1)
        weights = torch.ones(N) if weights is None else weights
        with recorder(model, rule) if recorder else nullcontext() as record:
            for step in range(1, self.steps + 1):
                batch = torch.randperm(N, generator=order)[:20]
                rule.zero_grad()
                with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
                    logits = model(self.x[batch])
                    each = F.cross_entropy(logits, self.y[batch], reduction="none")
                    loss = (each * weights[batch]).mean()
                loss.backward()
                if record:
                    record.batch(logits, self.y[batch], batch)
                rule.step()
                if record and step % (self.steps // 4) == 0:
                    record.epoch(4 * step // self.steps)
        return model

    def recorded(self):
        """The training of a record of it."""
        parts = slice(N), slice(N, None)
        train, test = (dg.with_ids(TensorDataset(self.x[k], self.y[k])) for k in parts)
        labels = [{"label": self.y[k].numpy()} for k in parts]
        run = dg.Run.create(name="mlp", train_examples=labels[0], test_examples=labels[1])
        given = {"train": train, "test": test}
        model = self.take(recorder=lambda *of: dg.Recorder(run, *of, **given, replay=True))
        return dg.training_of_run(run, model, **given)

    def changes(self, directions: np.ndarray, h: float = 0.05) -> np.ndarray:
        """What training again gives with weights 1 + h and 1 - h times each direction."""
        found = []
        for way in torch.as_tensor(directions, dtype=torch.float32):
            up, down = (self.take(1 + sign * h * way) for sign in (1, -1))
            x, y = self.x[N:], self.y[N:]
            found.append(((margin(up(x), y) - margin(down(x), y)) / (2 * h)).detach().numpy())
        return np.array(found)


def mlp(steps: int, again: int) -> None:
    directions = np.random.default_rng(0).choice([-1.0, 1.0], (again, N))
    for optimizer, eps in (("SGD", 0.0), ("AdamW", 1e-3), ("AdamW", 1e-8)):
        for seed in range(3):
            half, single = (Mlp(seed, optimizer, eps, bf16, steps) for bf16 in (True, False))
            of_half, of_single = half.recorded(), single.recorded()
            compare(f"{optimizer} eps {eps:g}, seed {seed}", of_half, of_single)
            shown = scores(of_half)
            print("  forwards against backwards", against(scores(of_half, "forward"), shown))
            if again:
                for what, training, found in (
                    ("bfloat16", half, shown),
                    ("single precision", single, scores(of_single)),
                ):
                    real = training.changes(directions)
                    print(
                        f"  against training again in {what}:", against(directions @ found.T, real)
                    )


# -------------------------------------------------------------- transformers


class Rows(Dataset):
    def __init__(self, tokens, labels):
        self.tokens, self.labels = tokens, labels

    def __len__(self):
        return len(self.tokens)

    def __getitem__(self, i):
        return {"input_ids": self.tokens[i], "labels": self.labels[i]}


def tiny(kind: str, seed: int):
    import transformers

    torch.manual_seed(seed)
    if kind == "GPT-2":
        sizes = {"vocab_size": 32, "n_positions": 16, "n_embd": 32, "n_layer": 2, "n_head": 2}
        return transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes))
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"vocab_size": 32, "intermediate_size": 64, "max_position_embeddings": 16}
    config = transformers.BertConfig(**sizes, num_labels=3)
    return transformers.BertForSequenceClassification(config)


def trained_transformer(kind: str, seed: int, epochs: int, bf16: bool):
    import transformers

    g = torch.Generator().manual_seed(seed + 10)
    tokens = torch.randint(1, 32, (28, 8), generator=g)
    labels = tokens.clone() if kind == "GPT-2" else (tokens[:, 0] + tokens[:, 1]) % 3
    train, test = Rows(tokens[:24], labels[:24]), Rows(tokens[24:], labels[24:])
    sizes = {"train_examples": {"id": np.arange(24)}, "test_examples": {"id": np.arange(4)}}
    run, model = dg.Run.create(name=kind, **sizes), tiny(kind, seed)
    how = {"task": "language_modeling"} if kind == "GPT-2" else {}
    given = {"train": dg.with_ids(train), "test": dg.with_ids(test)}
    recorder = dg.HuggingFaceRecorder(run, **given, replay=True, **how)
    settings = {"learning_rate": 3e-3, "adam_epsilon": 1e-3, "weight_decay": 0.1}
    settings |= {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    settings |= {"save_strategy": "no", "report_to": [], "disable_tqdm": True, "use_cpu": True}
    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            folder, num_train_epochs=epochs, bf16=bf16, seed=seed, **settings
        )
        trainer = {"train_dataset": train, "callbacks": [recorder]}
        transformers.Trainer(model, arguments, **trainer).train()
    return dg.training_of_run(run, tiny(kind, seed), **given, **how)


def transformers_(epochs: int) -> None:
    for kind in ("GPT-2", "BERT"):
        half, single = (trained_transformer(kind, 0, epochs, b) for b in (True, False))
        compare(f"tiny {kind}, {3 * epochs} steps", half, single)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("mlp", "transformers"))
    parser.add_argument("--steps", type=int, default=200, help="of the MLP")
    parser.add_argument("--epochs", type=int, default=10, help="of three steps, of transformers")
    parser.add_argument("--again", type=int, default=0, help="random changes, of the MLP")
    given = parser.parse_args()
    mlp(given.steps, given.again) if given.what == "mlp" else transformers_(given.epochs)
