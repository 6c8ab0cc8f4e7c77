"""What has golden numbers: a name each, and how its scores are made.

Everything goes through public names, so that moving files changes nothing here.
"""

import tempfile
from functools import cache

import numpy as np
import torch
from digits_retrained import lds
from fixed_training import (
    BATCH,
    EPOCHS,
    N_TEST,
    N_TRAIN,
    TEST,
    TRAIN,
    network,
    recorded,
    waves,
    with_waves,
)
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import dg_explorer as dg
from dg_explorer import attribution as at

IDS = dg.with_ids(TRAIN)
FLOAT32 = "in float32"  # in the name of a case whose arithmetic is
WIDTH = 12  # of projections: fewer than the examples, so that a projection shows


@cache
def run():
    return recorded()


# ----------------------------------------------------------------------- scores of a recorded run


def by_name(method, **settings):
    """Scores of `attribute` at two epochs."""
    found = dg.attribute(
        run(),
        network(),
        IDS,
        TEST,
        method=method,
        epochs=[1, 5],
        progress=False,
        **settings,
    )
    return found["score"].values


def over_the_training(method, **settings):
    found = dg.attribute_trajectory(
        run(),
        network(),
        IDS,
        TEST,
        method=method,
        n_checkpoints=4,
        name=f"{method} over the training",
        **settings,
    )
    return found["score"].values


@cache
def training():
    return dg.training_of_run(run(), network(), train=IDS, test=TEST)


@cache
def unrolled():
    last = [1, EPOCHS - 1]
    return dg.UnrolledAttributor(training(), dtype=torch.float64).attribute(epochs=last)["score"]


def exposures():
    attributor = dg.UnrolledAttributor(training(), dtype=torch.float64)
    return attributor.exposures(epoch=EPOCHS - 1, windows=3)["score"].values


def added_to_the_record():
    dg.add_unrolled_scores(run(), training(), epochs=[EPOCHS - 1], windows=2)
    return run()["scores/unrolled"]["score"].values


def mixed():
    dot = dg.attribute(
        run(), network(), IDS, TEST, method="gradient_dot", epochs=[1, 5], progress=False
    )
    return dg.mixed_scores(unrolled(), dot["score"].astype(np.float64)).values


def descent(kind):
    """The exact derivative of a full-batch training with another optimizer."""
    settings = {
        "sgd": {"kind": "sgd", "lr": 0.3, "weight_decay": 0.01},
        "momentum": {
            "kind": "momentum",
            "lr": lambda step, n_steps: 0.2 * (1 - step / n_steps),
            "momentum": 0.9,
        },
        "adam": {"kind": "adam", "lr": 0.03, "eps": 1e-3},
    }[kind]
    short = at.Training(
        model=lambda seed: network(),
        inputs=TRAIN.tensors[0],
        labels=TRAIN.tensors[1],
        test_inputs=TEST.tensors[0],
        test_labels=TEST.tensors[1],
        optimizer=at.OptimizerSettings(**settings),
        n_epochs=7,
    )
    return dg.UnrolledAttributor(short, dtype=torch.float64).attribute()["score"].values


# ------------------------------------------------------------------- scores of one set of weights


def attributor(cls, **settings):
    return cls(network(0.3), **settings).attribute(TRAIN, TEST)


def ensemble(cls, **settings):
    checkpoints = [network(phase).state_dict() for phase in (0.0, 0.3, 0.6)]
    return cls(network(), checkpoints=checkpoints, **settings).attribute(TRAIN, TEST)


def of_itself(cls, **settings):
    made = cls(network(0.3), **settings)
    return made.self_influence(made.compute_train_features(TRAIN))[None]


def asked(cls, **settings):
    """Two questions of the test examples: their mean, and two answers of all of them."""
    questions = {"mean": dg.Query.mean(TEST), "answers": dg.Query.answers(TEST, 1, 0)}
    made = cls(network(0.3), **settings)
    served = dg.QuerySet("golden", questions).served(model=made.model)
    train = made.compute_train_features(TRAIN)
    return made.compute_attributions(train, made.compute_query_features(served))


def candidates(cls, **settings):
    return cls(network(0.3), **settings).fit(TRAIN).score(TEST, candidates=TEST)


def of_a_layer(cls, **settings):
    return cls(network(0.3), **settings).attribute_by_layer(TRAIN, TEST)["2"]


def delayed():
    model = network()
    trak = dg.DelayedGeneralizationTRAK(model)
    for epoch in (0, 100):
        model.load_state_dict(network(0.1 + epoch).state_dict())
        trak.compute_epoch_features(DataLoader(TRAIN, 5), epoch, "train")
        trak.compute_epoch_features(DataLoader(TEST, 5), epoch, "test")
    return trak.run["scores/trak"]["score"].values


def traker(proj_type):
    with tempfile.TemporaryDirectory() as folder:
        made = dg.TRAKer(
            network().float(),
            train_set_size=N_TRAIN,
            save_dir=folder,
            device="cpu",
            proj_dim=WIDTH,
            proj_type=proj_type,
            lambda_reg=1e-3,
        )
        train, test = (TensorDataset(d.tensors[0].float(), d.tensors[1]) for d in (TRAIN, TEST))
        states = [network(phase).float().state_dict() for phase in (0.0, 0.3)]
        for model_id, state in enumerate(states):
            made.load_checkpoint(state, model_id=model_id)
            for batch in DataLoader(train, BATCH):
                made.featurize(batch=batch, num_samples=len(batch[0]))
        made.finalize_features()
        for model_id, state in enumerate(states):
            made.start_scoring_checkpoint("golden", state, model_id, N_TEST)
            for batch in DataLoader(test, BATCH):
                made.score(batch=batch, num_samples=len(batch[0]))
        return np.array(made.finalize_scores("golden")).T


def best(part):
    features = waves(40, 8), waves(5, 8, phase=0.4)
    return at.top_attributions(*features, k=6, damping=0.5)[part]


# ------------------------------------------------------------------------- other models and tasks


def on_images(cls, **settings):
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(3 * 16, 3)
    )
    labels = torch.arange(12) % 3
    train = TensorDataset(waves(12, 2, 4, 4), labels)
    test = TensorDataset(waves(4, 2, 4, 4, phase=0.5), labels[:4])
    return cls(with_waves(model), **settings).attribute(train, test)


class Language(nn.Module):
    """Two-token memory, a layer over positions, and a head."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.mix = nn.Linear(4, 4)
        self.head = nn.Linear(4, 7)

    def forward(self, input_ids):
        now = self.embed(input_ids)
        before = nn.functional.pad(now, (0, 0, 1, 0))[:, :-1]
        return self.head(torch.tanh(self.mix(now + before)))


class Sequences(Dataset):
    """Items as a Hugging Face dataset has them."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return {"input_ids": self.rows[i]}


def on_text(cls, each_token=False, **settings):
    def tokens(n, shift):
        return (torch.arange(n)[:, None] * 5 + torch.arange(6) ** 2 + shift) % 7

    train, test = (Sequences(tokens(n, n)) for n in (9, 4))
    if each_token:
        train, test = at.EachToken(train), at.EachToken(test)
    made = cls(with_waves(Language()), task="language_modeling", **settings)
    return made.attribute(train, test)


def on_numbers(cls, **settings):
    model = with_waves(nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 1)))
    train = TensorDataset(waves(10, 5), waves(10, 1, phase=0.2))
    test = TensorDataset(waves(4, 5, phase=0.5), waves(4, 1, phase=0.7))
    return cls(model, task="regression", **settings).attribute(train, test)


def on_an_own_task(cls, **settings):
    def loss(logits, batch):
        return nn.functional.cross_entropy(logits, batch[1], reduction="none", label_smoothing=0.2)

    def output(logits, batch):
        return logits.gather(1, batch[1][:, None])[:, 0]

    return attributor(cls, task=(loss, output), **settings)


TRAK, INFLUENCE, DOT = (
    at.TRAKAttributor,
    at.InfluenceFunctionAttributor,
    at.GradientDotAttributor,
)

CASES = {
    # every name that `attribute` knows
    **{f"attribute, {method}": (by_name, method) for method in at.METHODS},
    "trajectory, source": (over_the_training, "source"),
    "trajectory, trak": (over_the_training, "trak"),
    # training itself
    "unrolled, recorded AdamW": (lambda: unrolled().values,),
    "unrolled, exposures by window": (exposures,),
    f"unrolled, in the record {FLOAT32}": (added_to_the_record,),
    "unrolled, mixed with gradients": (mixed,),
    **{f"unrolled, {kind}": (descent, kind) for kind in ("sgd", "momentum", "adam")},
    # settings of the methods
    **{
        f"trak, {kind}": (attributor, TRAK, {"proj_dim": WIDTH, "projection": kind})
        for kind in ("factored", "nystrom", "rademacher", "gaussian", "sparse")
    },
    "trak, ensemble": (ensemble, TRAK),
    "trak, one layer, given damping": (attributor, TRAK, {"layers": ["2"], "damping": 0.5}),
    **{
        f"influence, {solver}": (attributor, INFLUENCE, {"solver": solver})
        for solver in ("exact", "cg", "lissa", "arnoldi", "ekfac", "kfac")
    },
    "influence, hessian": (attributor, INFLUENCE, {"curvature": "hessian"}),
    "influence, projected": (attributor, INFLUENCE, {"proj_dim": WIDTH}),
    "influence, absolute damping": (attributor, INFLUENCE, {"damping": ("absolute", 0.2)}),
    "influence, candidates": (candidates, INFLUENCE),
    "gradient_dot, projected": (attributor, DOT, {"proj_dim": WIDTH}),
    "asked, influence": (asked, INFLUENCE),
    "asked, trak": (asked, TRAK),
    "one layer, influence": (of_a_layer, INFLUENCE),
    "one layer, trak": (of_a_layer, TRAK),
    "source, three segments": (
        ensemble,
        at.SourceAttributor,
        {"time": [0.5, 0.4, 0.3], "weight_decay": 0.01},
    ),
    "tracin, learning rates": (ensemble, at.TracInAttributor, {"learning_rates": [0.3, 0.2, 0.1]}),
    "self-influence, trak": (of_itself, TRAK),
    "self-influence, influence": (of_itself, INFLUENCE),
    "delayed": (delayed,),
    **{
        f"TRAKer, {kind} {FLOAT32}": (traker, kind)
        for kind in ("factored", "rademacher", "normal", "sparse")
    },
    "top attributions, which": (best, 0),
    "top attributions, scores": (best, 1),
    # other models and tasks
    "images, gradient_dot": (on_images, DOT),
    "images, trak": (on_images, TRAK, {"proj_dim": WIDTH}),
    "text, gradient_dot": (on_text, DOT),
    "text, trak": (on_text, TRAK),
    "text, each token": (on_text, DOT, {"each_token": True}),
    "numbers, gradient_dot": (on_numbers, DOT),
    "numbers, influence": (on_numbers, INFLUENCE),
    "own task, gradient_dot": (on_an_own_task, DOT),
    "own task, trak": (on_an_own_task, TRAK, {"damping": 1.0}),
    # how well scores predict retraining: the LDS, then that of each query
    **{
        f"digits, LDS of {cls.__name__}": (lds, cls)
        for cls in (TRAK, INFLUENCE, DOT, at.RepresentationSimilarityAttributor)
    },
}


def scores_of(name):
    """All scores of a case, float64."""
    make, *given = CASES[name]
    settings = given.pop() if given and isinstance(given[-1], dict) else {}
    return np.asarray(make(*given, **settings), dtype=np.float64)
