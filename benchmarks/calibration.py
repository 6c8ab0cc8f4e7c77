"""How good are expected removals? Lift of scores over retrainings alone, intervals, time.

``python -m benchmarks.calibration FOLDER [--seeds 0] [--parts this any time] [--light]``

`this`: the smooth recipe, from its own start, exact scores, judged on held-out retrainings that
lack 1, 5 and 10 %, and on removals of the best 16 and 50 helpers of a test example.
`more`: against four times as many retrainings without scores.
`priors`: exact scores, TRAK's, and both, as what 32 retrainings begin from, at 5 %.
`digits`: 1,000 examples, which 100 retrainings cannot identify, exact scores of a few test ones.
`any`: digits, TRAK with default settings against the mean over other starts.
`time`: an answer, and the true curve. All that was trained is kept in FOLDER.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from scipy.stats import spearmanr
from torch.utils.data import TensorDataset

import dg_explorer as dg
from benchmarks.smooth_truth import RECORD_AT, smooth_training, smooth_truth
from dg_explorer.demos.digits_training import digits_training
from dg_explorer.evaluation.retrainings.again import outputs_and_accuracy, train_again
from dg_explorer.evaluation.retrainings.kept import THIS, add_rows
from dg_explorer.evaluation.retrainings.lds_over_time import lds_over_time
from dg_explorer.evaluation.retrainings.posterior import RemovalModel, choose_settings
from dg_explorer.evaluation.retrainings.removals import random_removals
from dg_explorer.training.training import Training

SHARES = (0.01, 0.05, 0.1)
HELPERS = (16, 50)
QUERIES = 12  # whose best helpers are removed, at an early and at a late moment
LATE = (150, 515)
LIGHT = (150, 265)  # moments of a lighter look, which also takes fewer test examples
LIGHT_TESTS = 40
PRIORS_AT = (75, 100, 200)  # moments of which the demo's run has TRAK scores too


class Made:
    """What was trained for one data seed, from a folder where it is there."""

    def __init__(self, folder: Path, seed: int, light: bool = False):
        self.folder = folder / f"smooth{seed}{'-light' if light else ''}"
        self.seed = seed
        self.folder.mkdir(parents=True, exist_ok=True)
        training: Training = smooth_training(seed)
        self.epochs = np.array(LIGHT if light else RECORD_AT)
        truth = {share: smooth_truth(seed, share).sel(epoch=self.epochs) for share in (0.01, 0.05)}
        self.helped_at = np.flatnonzero(np.isin(self.epochs, LATE)).tolist()
        if light:
            some = np.random.default_rng(seed).choice(len(training.test_ids), LIGHT_TESTS, False)
            training = training.with_changes(
                n_epochs=LIGHT[-1],
                record_at=LIGHT,
                test_inputs=training.test_inputs[some],
                test_labels=training.test_labels[some],
                test_ids=training.test_ids[some],
            )
            truth = {share: t.sel(test=training.test_ids) for share, t in truth.items()}
            self.helped_at = [len(LIGHT) - 1]
        self.training = training
        self.full = truth[0.05]["full"].values
        self.held_out = {
            share: (~t["mask"].values, t["output"].values - self.full) for share, t in truth.items()
        }
        if not light:
            self.held_out[0.1] = self.random(0.1, 64, seed=99)

    def scores(self) -> np.ndarray:
        """Exact scores (epoch, test, train)."""
        file = self.folder / "film.npy"
        if not file.exists():
            film = dg.UnrolledAttributor(self.training).attribute()["score"]
            np.save(file, film.transpose("epoch", "test", "train").values)
        return np.load(file).astype(float)

    def random(self, share: float, n: int, *, seed: int = 7) -> tuple[np.ndarray, np.ndarray]:
        """Random removals and the change (retraining, epoch, test) that they make."""
        weights = random_removals(n, self.training.train_ids, share, seed=seed)
        return self._trained(f"random{share}-{seed}-{n}", weights)

    def of_helpers(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The best helpers of some test examples removed; (count, epoch, test) of each."""
        tests = np.random.default_rng(3).choice(scores.shape[1], QUERIES, replace=False)
        asked = np.array([(k, e, t) for k in HELPERS for e in self.helped_at for t in tests])
        weights = np.ones((len(asked), scores.shape[2]), np.float32)
        for row, (k, epoch, test) in zip(weights, asked, strict=True):
            row[np.argsort(-scores[epoch, test])[:k]] = 0
        return (*self._trained("helpers", weights), asked)

    def _trained(self, name: str, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        outputs = []
        for first in range(0, len(weights), 32):
            file, part = self.folder / f"{name}-{first}.npz", weights[first : first + 32]
            if not file.exists():
                output, _ = outputs_and_accuracy(self.training, part)
                np.savez(file, weights=part, output=output)
            with np.load(file) as there:
                assert np.array_equal(there["weights"], part), f"{file} is of other removals"
                outputs.append(there["output"])
        return weights == 0, np.concatenate(outputs) - self.full


def this_start(made: Made) -> None:
    """Lift, coverage and interval score, averaged over moments."""
    scores, full = made.scores(), made.full
    rows = {share: made.random(share, 32) for share in made.held_out}
    mixed = tuple(np.concatenate([part[i] for part in rows.values()]) for i in (0, 1))
    removed_helpers, change_of_helpers, asked = made.of_helpers(scores)
    for name, (removed, change) in {"32 of 5 %": rows[0.05], "32 a size": mixed}.items():
        found: dict[str, list[float]] = {}
        for epoch in range(len(made.epochs)):
            models = {}
            for which, prior in (("both", scores[epoch][None]), ("alone", scores[epoch][None] * 0)):
                settings = choose_settings(removed, change[:, epoch], prior)
                models[which] = RemovalModel(removed, change[:, epoch], prior, settings)
            for share, (held, truth) in made.held_out.items():
                for key, value in _judged(
                    models, held, truth[:, epoch], rows[share][1][:, epoch]
                ).items():
                    found.setdefault(f"{share:.0%} {key}", []).append(value)
            for k in HELPERS:
                mine = np.flatnonzero((asked[:, 0] == k) & (asked[:, 1] == epoch))
                if not len(mine):
                    continue
                mean, deviation = models["both"].predict(removed_helpers[mine])
                test, i = asked[mine, 2], np.arange(len(mine))
                off = change_of_helpers[mine, epoch, test] - mean[i, test]
                inside = np.abs(off) < models["both"].reach(0.9) * deviation[i, test]
                found.setdefault(f"best {k} helpers: covered (level .80)", []).append(inside.mean())
        print(f"\nsmooth, data seed {made.seed}, {name} retrainings, {full.shape[0]} moments:")
        for key, values in found.items():
            spread = f"{np.min(values):.2f} to {np.max(values):.2f}"
            print(f"  {key}: {np.mean(values):.2f} ({spread})")
        names = [f"{share:.0%} interval score / quantiles" for share in made.held_out]
        ratios = [np.mean(found[name]) for name in names]
        print(f"  interval score over the sizes (level .75): {np.mean(ratios):.3f}")


def _judged(models: dict, held: np.ndarray, truth: np.ndarray, plain: np.ndarray) -> dict:
    """What held-out removals say; `plain` is what as many random ones did, for quantiles."""
    mean, deviation = models["both"].predict(held)
    reach = models["both"].reach(0.9) * deviation
    low, high = np.quantile(plain, [0.05, 0.95], axis=0)
    both, alone = (rank_agreement(models[which].predict(held)[0], truth) for which in models)
    return {
        "LDS of both": both,
        "lift over retrainings alone (level .15)": both - alone,
        "covered (level .85 to .95)": (np.abs(truth - mean) < reach).mean(),
        "covered by quantiles": ((low <= truth) & (truth <= high)).mean(),
        "interval score / quantiles": interval_score(mean - reach, mean + reach, truth)
        / interval_score(low, high, truth),
    }


def more(made: Made) -> None:
    """32 retrainings and scores against those alone and four times as many, at 5 %."""
    scores, (removed, change) = made.scores(), made.random(0.05, 128)
    held, truth = made.held_out[0.05]
    print(f"\nsmooth, data seed {made.seed}, 5 %, {len(held)} held out, mean over moments:")
    compare(scores, removed, change, held, truth, (32, 128))


def priors(made: Made) -> None:
    """LDS and R^2 of 32 retrainings with exact scores, with TRAK's and with both, at 5 %."""
    demo = dg.demos.make("grokking-smooth", seed=made.seed, progress=False)
    dg.complete(demo.run, demo.model(), demo.train, demo.test, progress=False)
    trak = demo.run["scores/trak"]["score"]
    trak = trak.sel(test=made.training.test_ids, train=made.training.train_ids).load()
    (removed, change), (held, truth) = made.random(0.05, 32), made.held_out[0.05]
    print(f"\nsmooth, data seed {made.seed}, 5 %, 32 retrainings, {len(held)} held out:")
    for i, epoch in enumerate(made.epochs):
        if epoch not in PRIORS_AT:
            continue
        exact, ours = made.scores()[i], trak.sel(epoch=epoch).values.astype(float)
        for name, prior in (("exact", [exact]), ("TRAK", [ours]), ("both", [exact, ours])):
            settings = choose_settings(removed, change[:, i], np.array(prior))
            mean, _ = RemovalModel(removed, change[:, i], np.array(prior), settings).predict(held)
            lds, r2 = rank_agreement(mean, truth[:, i]), _r2(mean, truth[:, i])
            print(f"  step {epoch}, {name}: LDS {lds:.2f}, R^2 {r2:.2f}")


def digits(folder: Path) -> None:
    """Exact scores of 1,000 digits, 100 retrainings, 64 held out, from the training's own start."""
    training = digits_training()
    some = np.arange(0, len(training.test_ids), 12)
    training = training.with_changes(
        test_inputs=training.test_inputs[some],
        test_labels=training.test_labels[some],
        test_ids=training.test_ids[some],
    )
    weights = random_removals(164 + 1, training.train_ids, 0.05, seed=7)
    weights[0] = 1
    file = folder / "digits-this.npz"
    if not file.exists():
        output = np.concatenate(
            [outputs_and_accuracy(training, part)[0] for part in np.split(weights, 5)]
        )
        scores = dg.UnrolledAttributor(training).attribute()["score"]
        scores = scores.transpose("epoch", "test", "train").values
        np.savez(file, weights=weights, output=output, scores=scores)
    with np.load(file) as there:
        assert np.array_equal(there["weights"], weights), f"{file} is of other removals"
        output, scores = there["output"], there["scores"].astype(float)
    removed, change = weights[1:] == 0, output[1:] - output[0]
    print(f"\ndigits, {training.n_train} examples, 5 %, 64 held out, {len(some)} test examples:")
    compare(scores, removed[:100], change[:100], removed[100:], change[100:], (100,))


def compare(scores, removed, change, held, truth, numbers: tuple[int, ...]) -> None:
    """LDS and R^2 on held-out removals, of each number of retrainings, with scores and without."""
    said = -np.einsum("mn,eqn->emq", held.astype(float), scores)
    lds = np.mean([rank_agreement(said[e], truth[:, e]) for e in range(len(scores))])
    print(f"  scores alone: LDS {lds:.2f}")
    for n in numbers:
        for name, prior in (("with scores", scores), ("alone", scores * 0)):
            found = []
            for e in range(len(scores)):
                settings = choose_settings(removed[:n], change[:n, e], prior[e][None])
                model = RemovalModel(removed[:n], change[:n, e], prior[e][None], settings)
                mean, deviation = model.predict(held)
                inside = np.abs(truth[:, e] - mean) < model.reach(0.9) * deviation
                found.append((rank_agreement(mean, truth[:, e]), _r2(mean, truth[:, e]), inside))
            lds, r2 = (np.mean([row[i] for row in found]) for i in (0, 1))
            covered = np.mean([row[2] for row in found])
            print(f"  {n} {name}: LDS {lds:.2f}, R^2 {r2:.2f}, 90 % interval covers {covered:.2f}")


def _r2(mean: np.ndarray, truth: np.ndarray) -> float:
    """Share of the variance explained, mean over test examples."""
    return float(np.mean(1 - ((truth - mean) ** 2).mean(0) / truth.var(0)))


def rank_agreement(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Mean Spearman correlation over test examples."""
    return float(np.mean([spearmanr(p, t)[0] for p, t in zip(predicted.T, truth.T, strict=True)]))


def interval_score(low, high, truth, missed: float = 0.1) -> float:
    """Mean width, and what lies outside times 2 / missed (Gneiting & Raftery 2007, eq. 43)."""
    outside = (low - truth).clip(0) + (truth - high).clip(0)
    return float((high - low + 2 / missed * outside).mean())


def any_start(folder: Path, subsets: int, starts: int, checkpoints: int) -> None:
    """LDS of default TRAK on digits against the mean over other starts."""
    training = digits_training()
    models = [training.model(100 + i) for i in range(checkpoints)]
    began = time.perf_counter()
    for i, model in enumerate(models):
        one = training.with_changes(seed=100 + i)
        theta = _trained_parameters(one)
        model.load_state_dict(theta)
    train = TensorDataset(training.inputs, training.labels)
    test = TensorDataset(training.test_inputs, training.test_labels)
    scores = dg.TRAKAttributor(models[0], checkpoints=models).attribute(train, test).numpy()
    epoch = training.recorded_epochs()[-1:]
    labelled = xr.DataArray(
        scores[None],
        {"epoch": epoch, "test": training.test_ids, "train": training.train_ids},
        ("epoch", "test", "train"),
    )
    found = lds_over_time(
        scores={"trak": labelled},
        training=training,
        start="any",
        drop=0.05,
        n_subsets=subsets,
        starts=starts,
        models_at_once=64,
        path=folder / "digits",
    ).isel(epoch=-1, method=0)
    print(
        f"\ndigits, {subsets} subsets x {starts} starts, 5 % removed, TRAK of {checkpoints} "
        f"checkpoints: any-start LDS {float(found.lds):.2f} ({float(found.low):.2f} to "
        f"{float(found.high):.2f}), level .4; {time.perf_counter() - began:.0f} s"
    )


def _trained_parameters(training: Training) -> dict[str, torch.Tensor]:
    from dg_explorer.training.many import train_many

    flat = training.start()
    state = train_many(training, torch.ones(1, training.n_train).to(flat.theta), flat.theta[None])
    return flat.unflatten(state[0][0])


def times(made: Made) -> None:
    """How long an answer takes, and the true curve, on a run with 96 retrainings."""
    training, scores = made.training, made.scores()
    names = {"epoch": training.recorded_epochs(), "test": training.test_ids}
    run = dg.Run.create(
        name="smooth",
        train_examples={"train": training.train_ids, "label": training.labels.numpy()},
        test_examples={"test": training.test_ids, "label": training.test_labels.numpy()},
    )
    margin = ("epoch", "test"), made.full
    run.add("dynamics/test", xr.Dataset({"margin": margin, "loss": margin}, names))
    score = (("epoch", "test", "train"), scores)
    run.add("scores/unrolled", xr.Dataset({"score": score}, names | {"train": training.train_ids}))
    rows = [made.random(share, 32) for share in SHARES]
    weights = 1 - np.concatenate([[np.zeros(scores.shape[2])], *(removed for removed, _ in rows)])
    output = np.concatenate([[made.full * 0], *(change for _, change in rows)]) + made.full
    like = next(train_again(training, weights[:1], np.array([THIS])))
    row = like.isel(retraining=0, drop=True)
    kept = row.expand_dims(retraining=np.arange(len(weights))).copy(deep=True)
    kept["weight"][:], kept["output"][:] = weights, output
    kept["why"] = "retraining", np.array(["whole"] + ["random"] * (len(weights) - 1), dtype=object)
    add_rows(run, kept)
    test = int(training.test_ids[0])
    gone = training.train_ids[np.argsort(-scores[-1, 0])[:16]]
    for which in ("first", "second"):
        wall, cpu = time.perf_counter(), time.process_time()
        answer = dg.what_if(run, train=gone, test=test)
        print(
            f"\n{which} answer: {time.perf_counter() - wall:.2f} s, "
            f"{time.process_time() - cpu:.2f} s of CPU (level 1 s)"
        )
    print(answer)
    wall, cpu = time.perf_counter(), time.process_time()
    truth = answer.retrain(training)
    print(
        f"true curve, {training.n_epochs} steps: {time.perf_counter() - wall:.1f} s, "
        f"{time.process_time() - cpu:.1f} s of CPU (level 15 s)"
    )
    print(f"at the end: now {truth.now[-1]:.2f}, expected {truth.expected[-1]:.2f} "
          f"({truth.low[-1]:.2f} to {truth.high[-1]:.2f}), true {truth.true[-1]:.2f}")  # fmt: skip


def main() -> None:
    """Run the parts asked for, and print the figures beside their levels."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="data seeds, 0 to 2")
    parser.add_argument("--parts", nargs="+", default=["this", "any", "time"])
    parser.add_argument("--light", action="store_true", help="two moments, 40 test examples")
    parser.add_argument("--subsets", type=int, default=64)
    parser.add_argument("--starts", type=int, default=8)
    parser.add_argument("--checkpoints", type=int, default=1)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    for seed in settings.seeds:
        if {"this", "time", "more", "priors"} & set(settings.parts):
            made = Made(settings.folder, seed, settings.light)
        if "this" in settings.parts:
            this_start(made)
        if "more" in settings.parts:
            more(made)
        if "priors" in settings.parts:
            priors(made)
        if "time" in settings.parts:
            times(made)
    if "digits" in settings.parts:
        digits(settings.folder)
    if "any" in settings.parts:
        any_start(settings.folder, settings.subsets, settings.starts, settings.checkpoints)


if __name__ == "__main__":
    main()
