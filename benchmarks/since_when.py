"""Which optimizers can be asked *since when*: exact and predictive influence on runs that grok.

``python -m benchmarks.since_when`` prints a row for each optimizer; ``--only radam muon`` some;
``--curves`` only when each one memorizes and generalizes.

The training is modular addition (p = 13, 143 of 169 sums, full batch, float64, one thread). The
first columns are the steps after which all training sums are right and 8 of 10 others, and how many
of the others are at the end.

- *exact*: relative error of influence against central differences (+-1e-5 of one weight).
- *smooth*: metasmoothness, weights changed by 5 % and 10 % of themselves.
- *predicts*: rank correlation, over eight random changes of all weights by 5 %, of the change of a
  margin that influence gives with the one that training again gives; mean over 8 questions.

A step by signs has a derivative of exactly 0: where all scores are 0 the row says so.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor
from torch.optim import Optimizer

from dg_explorer.attribution.unrolled.attributor import UnrolledAttributor
from dg_explorer.demos.modular_addition import modular_addition
from dg_explorer.errors import DGExplorerError
from dg_explorer.evaluation.smoothness import sign_agreement
from dg_explorer.training.many import train_many
from dg_explorer.training.step.choose import step_from_torch
from dg_explorer.training.step.clipping import Clipping
from dg_explorer.training.training import Training

SIZE = {"p": 13, "share": 0.85, "dtype": torch.float64}
WIDTH, QUESTIONS, CHANGES, SMALL, TINY = 64, 8, 8, 0.05, 1e-5


class SAM(Optimizer):
    """Steps with the gradient at the worst point nearby (Foret et al. 2021), by momentum SGD."""

    def __init__(self, params, lr, rho=0.05, momentum=0.9, weight_decay=0.0):
        settings = {"lr": lr, "rho": rho, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(params, settings)

    def step(self, closure):
        """One step, with the gradients there; the closure takes them at the other point."""
        away = self.first_step()
        with torch.enable_grad():
            closure()
        self.second_step(away)

    @torch.no_grad()
    def first_step(self) -> list[Tensor]:
        """Go to the worst point, and say how far it is."""
        (group,) = self.param_groups
        norm = torch.stack([p.grad.square().sum() for p in group["params"]]).sum().sqrt()
        away = [p.grad * (group["rho"] / norm) for p in group["params"]]
        for p, e in zip(group["params"], away, strict=True):
            p.add_(e)
        return away

    @torch.no_grad()
    def second_step(self, away: list[Tensor]) -> None:
        """Come back, and step with the gradient found there."""
        (group,) = self.param_groups
        for p, e in zip(group["params"], away, strict=True):
            p.sub_(e)
            state = self.state[p]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(p)
            state["momentum"].mul_(group["momentum"]).add_(p.grad + group["weight_decay"] * p)
            p.sub_(group["lr"] * state["momentum"])


class ScheduleFree(Optimizer):
    """Schedule-free AdamW (Defazio et al. 2024), at the weights that gradients are taken at."""

    def __init__(self, params, lr, beta=0.9, beta2=0.98, eps=1e-3, weight_decay=0.0):
        settings = {"lr": lr, "beta": beta, "beta2": beta2, "eps": eps}
        super().__init__(params, settings | {"weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        """One step: the base point moves, and the average follows."""
        group = self.param_groups[0]
        beta = group["beta"]
        for p in group["params"]:
            state = self.state[p]
            if "step" not in state:
                state["step"] = 0
                state["base"], state["square"] = p.clone(), torch.zeros_like(p)
            state["step"] += 1
            k, z, square = state["step"], state["base"], state["square"]
            square.mul_(group["beta2"]).addcmul_(p.grad, p.grad, value=1 - group["beta2"])
            root = (square / (1 - group["beta2"] ** k)).sqrt() + group["eps"]
            average = (p - (1 - beta) * z) / beta
            z.sub_(group["lr"] * (p.grad / root + group["weight_decay"] * p))
            average = average + (z - average) / k
            p.copy_(beta * average + (1 - beta) * z)


class Sign(Optimizer):
    """Steps by the sign of the gradient."""

    def __init__(self, params, lr, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        """One step."""
        for group in self.param_groups:
            for p in group["params"]:
                p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(group["lr"] * p.grad.sign())


def grokfast(gradients: dict, theta: dict, memory: dict) -> dict:
    """Gradients with their slow part made stronger (Lee et al. 2024)."""
    slow = memory.get("slow", gradients)
    memory["slow"] = {name: 0.9 * slow[name] + 0.1 * g for name, g in gradients.items()}
    return {name: g + 2 * memory["slow"][name] for name, g in gradients.items()}


@dataclass(frozen=True)
class Case:
    """An optimizer, as it is set so that the training groks."""

    name: str
    make: Callable[[list[Tensor]], Optimizer | list[Optimizer]]
    n_steps: int
    changes: dict = field(default_factory=dict)
    width: int = WIDTH


def _adamw(eps: float, lr: float = 1e-2, weight_decay: float = 0.7):
    settings = {"betas": (0.9, 0.98), "eps": eps, "weight_decay": weight_decay}
    return lambda p: torch.optim.AdamW(p, lr, **settings)


CASES = {
    "sgd": Case(
        "SGD, momentum .9",
        lambda p: torch.optim.SGD(p, 1.0, momentum=0.9, weight_decay=1e-3),
        400,
        width=128,
    ),
    "radam": Case(
        "RAdam",
        lambda p: torch.optim.RAdam(
            p, 2e-2, (0.9, 0.98), 1e-3, weight_decay=0.5, decoupled_weight_decay=True
        ),
        400,
    ),
    "muon": Case("Muon", lambda p: torch.optim.Muon(p, 0.1, weight_decay=0.3), 500),
    "muon_adamw": Case(
        "Muon, AdamW for the last layer",
        lambda p: [torch.optim.Muon(p[:1], 0.1, weight_decay=0.3), _adamw(1e-3)(p[1:])],
        500,
    ),
    "clipped": Case("AdamW, clipped", _adamw(1e-3), 400, {"change_gradient": Clipping(norm=0.05)}),
    "schedule_free": Case(
        "schedule-free AdamW", lambda p: ScheduleFree(p, 2e-2, weight_decay=0.7), 400
    ),
    "grokfast": Case("AdamW, Grokfast", _adamw(1e-3), 400, {"change_gradient": grokfast}),
    "sam": Case("SAM on SGD", lambda p: SAM(p, 1.0, weight_decay=1e-3), 400, width=128),
    "adamw": Case("AdamW, eps 1e-3", _adamw(1e-3), 400),
    "adamw_usual": Case("AdamW, eps 1e-8", _adamw(1e-8), 400),
    "sign": Case("by sign", lambda p: Sign(p, 3e-3, weight_decay=1.0), 600),
    "lion": Case("Lion", lambda p: type("Lion", (Sign,), {})(p, 3e-3), 400),
}


def training_by(case: Case, n_steps: int | None = None, every: int = 0) -> Training:
    """Modular addition by the optimizer of a case."""
    n_steps = n_steps or case.n_steps
    moments = tuple(range(every, n_steps, every)) if every else ()
    plain = modular_addition(
        "smooth", n_steps=n_steps, record_at=(*moments, n_steps), width=case.width, **SIZE
    )
    model = plain.model(plain.seed)
    named = list(model.named_parameters())
    rule = step_from_torch(case.make([p for _, p in named]), named, **case.changes)
    return plain.with_changes(optimizer=rule)


def curve(training: Training) -> list[tuple[int, float, float]]:
    """(step, train accuracy, test accuracy) at the recorded epochs."""
    flat, rows = training.start(), []

    def measure(step, theta):
        with torch.no_grad():
            train = flat(theta[0], training.inputs).argmax(1) == training.labels
            test = flat(theta[0], training.test_inputs).argmax(1) == training.test_labels
        rows.append((step, float(train.double().mean()), float(test.double().mean())))

    theta = training.start().theta
    train_many(training, torch.ones(1, training.n_train).to(theta), theta[None], on_epoch=measure)
    return rows


def figures(training: Training) -> dict[str, float]:
    """The figures of a training at its end; where all scores are 0 there are no others."""
    generator = np.random.default_rng(0)
    n, theta = training.n_train, training.start().theta
    v = torch.as_tensor(generator.choice([-1.0, 1.0], size=(CHANGES, n)))
    one = torch.ones(1, n, dtype=torch.float64)
    tiny = TINY * torch.eye(n, dtype=torch.float64)[:2]
    weights = torch.cat([one, 1 + SMALL * v, 1 + 2 * SMALL * v[:2], 1 + tiny, 1 - tiny])
    ends = train_many(training, weights, theta.expand(len(weights), -1))[0]
    flat, few = training.start(), slice(QUESTIONS)
    with torch.no_grad():
        answers = torch.stack([flat(t, training.test_inputs[few]) for t in ends])
    outputs = torch.stack([training.output(a, training.test_labels[few]) for a in answers])
    base, changed, _, up, down = outputs.split([1, CHANGES, 2, 2, 2])
    found = UnrolledAttributor(training, mode="reverse", dtype=torch.float64)
    scores = torch.as_tensor(found.attribute(training.test_ids[few])["score"].values[-1])
    if not float(scores.abs().max()):
        return {"largest": 0.0}
    finite = ((up - down) / (2 * TINY)).T
    predicted, seen = (SMALL * v @ scores.T).numpy(), (changed - base).numpy()
    first, once, twice = ends[0], ends[1:3], ends[1 + CHANGES : 3 + CHANGES]
    return {
        "largest": float(scores.abs().max()),
        "exact": float((scores[:, :2] - finite).norm() / finite.norm()),
        "smooth": float(sign_agreement(first, once, twice).mean()),
        "predicts": float(
            np.mean([spearmanr(p, s).statistic for p, s in zip(predicted.T, seen.T)])
        ),
    }


def main() -> None:
    """Print a row for each optimizer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--curves", action="store_true")
    settings = parser.parse_args()
    torch.set_num_threads(1)
    for name in settings.only:
        case, start = CASES[name], time.process_time()
        try:
            rows = curve(training_by(case, every=20))
        except DGExplorerError as error:
            print(f"| {case.name} | refused: {error} |", flush=True)
            continue
        fitted = next((step for step, train, _ in rows if train == 1), None)
        general = next((step for step, _, test in rows if test > 0.8), None)
        row = f"| {case.name} | {fitted} | {general} | {rows[-1][2]:.2f} |"
        if not settings.curves:
            try:
                found = figures(training_by(case))
                if not found["largest"]:
                    print(f"{row} all scores are 0: the light is red |", flush=True)
                    continue
                row += f" {found['exact']:.0e} | {found['smooth']:.2f} | {found['predicts']:.2f} |"
            except DGExplorerError as error:
                row += f" refused: {error} |"
        print(f"{row} {time.process_time() - start:.0f} CPU s", flush=True)


if __name__ == "__main__":
    main()
