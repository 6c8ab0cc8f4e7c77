"""Trainings that other libraries' trainers took are replayed, and their scores are exact."""

import json
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

import dg_explorer as dg
from dg_explorer.attribution.unrolled.attributor import UnrolledAttributor
from dg_explorer.errors import SettingError
from dg_explorer.training.step.clipping import Clipping
from dg_explorer.training.training import margin

N, M, BATCH, EPOCHS = 13, 4, 3, 2  # five batches an epoch, the last of one example
G = torch.Generator().manual_seed(3)
X = torch.randn(N, 5, generator=G).double()
Y = torch.randint(0, 3, (N,), generator=G)
XT = torch.randn(M, 5, generator=G).double()
YT = torch.randint(0, 3, (M,), generator=G)


class Rows(Dataset):
    """Rows of a dict with a weight, which scales an example's loss wherever it is trained on."""

    def __init__(self, x, y, weights=None):
        self.x, self.y = x, y
        self.weights = torch.ones(len(x)).double() if weights is None else weights

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return {"inputs": self.x[i], "labels": self.y[i], "weight": self.weights[i]}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(5, 6), nn.Tanh())
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 3)
        self.double()

    def logits(self, inputs):
        return self.head(self.norm(self.body(inputs)))

    def forward(self, inputs, labels=None, weight=None):
        logits = self.logits(inputs)
        if labels is None:
            return logits
        losses = F.cross_entropy(logits, labels, reduction="none")
        return {"loss": (losses * weight).mean(), "logits": logits}


class Undivided(Net):
    """Takes keywords and ignores them, as transformers' own classifier heads do."""

    def forward(self, inputs, labels=None, weight=None, **kwargs):
        return super().forward(inputs, labels, weight)


def new_run():
    return dg.Run.create(name="run", train_examples={"label": Y}, test_examples={"label": YT})


TRAIN, TEST = dg.with_ids(Rows(X, Y)), dg.with_ids(Rows(XT, YT))
HOW = {"forward": ["inputs"], "label": "labels"}


def by_transformers(folder, make=Net, weights=None, run=None, resume=None, by=None, **arguments):
    import transformers

    transformers.logging.set_verbosity_error()
    model = make()
    optimizers = (by(model), None) if by else (None, None)
    callbacks = []
    if run is not None:
        callbacks = [dg.HuggingFaceRecorder(run, train=TRAIN, test=TEST, replay=True, **HOW)]
    settings = {
        "num_train_epochs": EPOCHS,
        "per_device_train_batch_size": BATCH,
        "gradient_accumulation_steps": 2,
        "learning_rate": 0.02,
        "adam_epsilon": 1e-3,
        "weight_decay": 0.1,
        "max_grad_norm": 0.3,
        "save_strategy": "no",
    }
    trainer = transformers.Trainer(
        model,
        transformers.TrainingArguments(
            output_dir=str(folder),
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            **(settings | arguments),
        ),
        train_dataset=Rows(X, Y, weights),
        callbacks=callbacks,
        optimizers=optimizers,
    )
    trainer.train(resume_from_checkpoint=resume)
    model.logged = trainer.state.log_history
    return model


def differences(train, examples, h=1e-5):
    """Central differences of the margins by the weight of single examples of the same trainer."""
    columns = []
    for i in examples:
        ends = []
        for sign in (1, -1):
            weights = torch.ones(N).double()
            weights[i] += sign * h
            ends.append(margin(train(weights).logits(XT), YT).detach())
        columns.append((ends[0] - ends[1]) / (2 * h))
    return torch.stack(columns, 1).numpy()


def scores(training, mode):
    attributor = UnrolledAttributor(training, dtype=torch.float64, mode=mode)
    return attributor.attribute(epochs=[training.recorded_epochs()[-1]]).score.values[0]


def replayed(run, model):
    """The recorded training again, proved to the bit."""
    training = dg.training_of_run(run, model, train=TRAIN, test=TEST, **HOW)
    assert str(training.proof) == f"{EPOCHS} of {EPOCHS} segments proved"
    assert training.proof.all_bits
    return training


def assert_exact(training, train, examples, mode="reverse"):
    wanted = differences(train, examples)
    found = scores(training, mode)[:, examples]
    assert np.abs(found - wanted).max() < 1e-6 * np.abs(wanted).max()


def test_transformers_trainer_is_replayed_to_the_bit_and_scores_are_its_differences(tmp_path):
    run = new_run()
    model = by_transformers(tmp_path, run=run, logging_steps=1)
    norms = [row["grad_norm"] for row in model.logged if "grad_norm" in row]
    factors = np.minimum(1, 0.3 / (np.array(norms) + 1e-6))
    assert factors.max() < 0.9  # all are clipped
    assert np.allclose(run["replay"].clip_factor, factors, rtol=1e-6)
    assert_exact(
        replayed(run, model), lambda w: by_transformers(tmp_path, weights=w, logging_steps=1), [5]
    )


@pytest.mark.second_ring(sample=1)
@pytest.mark.parametrize("mode", ["reverse", "forward"])
@pytest.mark.parametrize("rate", ["linear", "constant"])
def test_a_loss_that_accumulation_does_not_divide_is_replayed_as_it_was(tmp_path, mode, rate):
    run = new_run()
    how = {"make": Undivided, "lr_scheduler_type": rate}
    training = replayed(run, by_transformers(tmp_path, run=run, **how))
    assert_exact(training, lambda w: by_transformers(tmp_path, weights=w, **how), [0, 12], mode)


class Both(torch.optim.Optimizer):
    """Leaves its steps, groups and states to two optimizers, so that a schedule reaches them."""

    def __init__(self, *optimizers):
        self.optimizers = optimizers

    @property
    def param_groups(self):
        return [group for one in self.optimizers for group in one.param_groups]

    def state_dict(self):
        return {str(k): one.state_dict() for k, one in enumerate(self.optimizers)}

    def load_state_dict(self, state):
        for k, one in enumerate(self.optimizers):
            one.load_state_dict(state[str(k)])

    def step(self, closure=None):
        for one in self.optimizers:
            one.step()


def sgd_and_adamw(model):
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim == 1]
    return Both(torch.optim.SGD(matrices, 0.2), torch.optim.AdamW(others, 0.02, eps=1e-3))


@pytest.mark.second_ring(sample=1)
def test_an_optimizer_of_two_others_that_is_given_to_transformers_is_replayed_as_those(tmp_path):
    run, how = new_run(), {"by": sgd_and_adamw}
    training = replayed(run, by_transformers(tmp_path, run=run, **how))
    rates = run["replay"].load()
    assert np.allclose(rates.learning_rate, [0.2 * (6 - k) / 6 for k in range(6)])
    assert_exact(training, lambda w: by_transformers(tmp_path, weights=w, **how), [5])


def in_lightning(
    folder, weights=None, run=None, ids=True, drop=0.0, manual=None, resume=None, **settings
):
    import lightning.pytorch as lightning

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            net = Net()
            self.body, self.norm, self.head = net.body, net.norm, net.head
            self.drop = nn.Dropout(drop)
            self.automatic_optimization = manual is None

        def forward(self, inputs):
            return self.head(self.drop(self.norm(self.body(inputs))))

        logits = forward

        def training_step(self, batch, batch_idx):
            rows = batch[0] if ids else batch
            losses = F.cross_entropy(self(rows["inputs"]), rows["labels"], reduction="none")
            loss = (losses * rows["weight"]).mean()
            if manual is None:
                return loss
            manual(self, loss, batch_idx)

        def configure_optimizers(self):
            if manual is not None:
                parts = [[*self.body.parameters(), *self.norm.parameters()], self.head.parameters()]
                kinds = torch.optim.SGD, torch.optim.AdamW
                both = [k(p, 0.05) for k, p in zip(kinds, map(list, parts), strict=True)]
                rates = [torch.optim.lr_scheduler.ExponentialLR(one, 0.8) for one in both]
                return both, rates
            optimizer = torch.optim.SGD(
                [
                    {"params": [*self.body.parameters(), *self.norm.parameters()]},
                    {"params": self.head.parameters(), "lr": 0.2, "weight_decay": 0.01},
                ],
                lr=0.1,
                momentum=0.5,
            )
            return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)]

    callbacks = []
    if run is not None:
        callbacks = [dg.LightningRecorder(run, train=TRAIN, test=TEST, replay=True, **HOW)]
    how = {"precision": "64-true", "accumulate_grad_batches": 2, "gradient_clip_val": 0.3}
    trainer = lightning.Trainer(
        max_epochs=settings.pop("max_epochs", EPOCHS),
        accelerator="cpu",
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=resume is not None,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **(how | settings),
    )
    rows = Rows(X, Y, weights)
    module = Module()
    torch.manual_seed(5)
    loader = DataLoader(dg.with_ids(rows) if ids else rows, BATCH, shuffle=resume is None)
    trainer.fit(module, loader, ckpt_path=resume or None, weights_only=True)
    return module


def test_lightning_is_replayed_to_the_bit_and_scores_are_its_differences(tmp_path):
    run = new_run()
    training = replayed(run, in_lightning(tmp_path, run=run))
    # the last group of an epoch has one batch of two, and is divided by two all the same
    assert json.loads(run["replay"].attrs["weight_rules"]) == ["1/(A n)"]
    assert_exact(training, lambda w: in_lightning(tmp_path, w), [5])


@pytest.mark.second_ring(sample=1)
@pytest.mark.parametrize(
    "settings",
    [
        {"gradient_clip_val": 0.05, "gradient_clip_algorithm": "value"},
        {"gradient_clip_val": None, "accumulate_grad_batches": 1},
        {"accumulate_grad_batches": 3, "gradient_clip_val": 1e-2},
    ],
)
def test_lightnings_clipping_and_last_smaller_group_are_followed(tmp_path, settings):
    run = new_run()
    training = replayed(run, in_lightning(tmp_path, run=run, **settings))
    assert_exact(training, lambda w: in_lightning(tmp_path, w, **settings), [0, 12])


BY_HAND = {"gradient_clip_val": None, "accumulate_grad_batches": 1}


def by_hand(module, loss, k):
    """As Lightning's manual has it; the second optimizer steps at every other batch."""
    first, second = module.optimizers()
    first.zero_grad()
    second.zero_grad()
    module.manual_backward(loss)
    nn.utils.clip_grad_norm_(module.parameters(), 0.3)
    first.step()
    if k % 2 == 0:
        second.step()
    for rate in module.lr_schedulers():
        rate.step()


def in_turn(module, loss, k):
    """A gradient for each optimizer, from one pass."""
    for one in module.optimizers():
        one.zero_grad()
        module.manual_backward(loss, retain_graph=True)
        one.step()
        loss = F.cross_entropy(module(X[:3]), Y[:3])


def test_several_optimizers_stepped_by_hand_in_lightning_are_one_replay(tmp_path):
    run = new_run()
    module = in_lightning(tmp_path, run=run, manual=by_hand, **BY_HAND)
    assert run["metrics"].steps_taken.values.tolist() == [5, 10]  # 16 by Lightning's own count
    training = dg.training_of_run(
        run, module, train=TRAIN, test=TEST, change_gradient=Clipping(norm=0.3), **HOW
    )
    assert training.proof.all_bits
    assert_exact(training, lambda w: in_lightning(tmp_path, w, manual=by_hand, **BY_HAND), [5])


@pytest.mark.second_ring(sample=1)
def test_manual_optimization_goes_on_from_a_checkpoint_of_lightnings(tmp_path):
    run, how = new_run(), {"manual": by_hand, **BY_HAND}
    in_lightning(tmp_path, run=run, resume="", max_epochs=1, **how)
    (checkpoint,) = tmp_path.rglob("*.ckpt")
    module = in_lightning(tmp_path, run=run, resume=str(checkpoint), **how)
    assert run["metrics"].steps_taken.values.tolist() == [5, 10]
    changed = {"change_gradient": Clipping(norm=0.3)}
    assert dg.training_of_run(run, module, train=TRAIN, test=TEST, **changed, **HOW).proof.all_bits


@pytest.mark.second_ring(sample=1)
def test_two_gradients_in_one_batch_of_lightnings_are_named(tmp_path):
    run = new_run()
    with pytest.warns(UserWarning, match="one gradient for a batch: after SGD had stepped"):
        in_lightning(tmp_path, run=run, manual=in_turn, **BY_HAND)


@pytest.mark.second_ring(sample=1)
@pytest.mark.parametrize("drop", [0.0, 0.3])
def test_a_training_that_lightning_goes_on_with_is_replayed_whole(tmp_path, drop):
    run, how = new_run(), {"drop": drop}
    in_lightning(tmp_path, run=run, resume="", max_epochs=1, **how)
    (checkpoint,) = tmp_path.rglob("*.ckpt")
    module = in_lightning(tmp_path, run=run, resume=str(checkpoint), **how)
    training = replayed(run, module)
    assert len(training.recorded_epochs()) == EPOCHS
    if not drop:  # trained without a break it is the same training
        assert_exact(training, lambda w: in_lightning(tmp_path, w, resume=""), [0, 12])


def test_a_trainers_training_scores_as_the_same_training_by_a_plain_loop(tmp_path):
    run = new_run()
    model = by_transformers(tmp_path, run=run, max_grad_norm=0.0)
    replay = run["replay"].load()
    by_hand, plain = new_run(), Net()
    decay = [p for n, p in plain.named_parameters() if p.ndim > 1]
    others = [p for n, p in plain.named_parameters() if p.ndim == 1]
    groups = [{"params": decay, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, eps=1e-3, fused=True)  # as the trainer has it
    recorder = dg.Recorder(by_hand, plain, optimizer, train=TRAIN, test=TEST, replay=True, **HOW)
    with recorder:
        for step in range(replay.sizes["step"]):
            for group in optimizer.param_groups:
                group["lr"] = float(replay.learning_rate[step])
            optimizer.zero_grad()
            ids, micro = replay.train_id.values[step], replay.micro.values[step]
            for k in range(int(micro.max()) + 1):
                mine = torch.as_tensor(ids[micro == k].astype(int))
                logits = plain(X[mine])
                (F.cross_entropy(logits, Y[mine]) / (micro.max() + 1)).backward()
                recorder.batch(logits, Y[mine], mine)
            optimizer.step()
            if (step + 1) % 3 == 0:
                recorder.epoch(step // 3 + 1)
    for one, other in zip(model.state_dict().values(), plain.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    found = scores(replayed(run, model), "reverse")
    assert np.allclose(found, scores(replayed(by_hand, plain), "reverse"), rtol=1e-12, atol=1e-14)


class Adapted(Net):
    """A frozen net with a small matrix of low rank beside its first layer, which alone trains."""

    def __init__(self):
        super().__init__()
        for p in self.parameters():
            p.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(2, 5, generator=torch.manual_seed(1)).double())
        self.up = nn.Parameter(torch.zeros(6, 2).double())

    def logits(self, inputs):
        return self.head(self.norm(self.body(inputs) + inputs @ self.down.T @ self.up.T))


def test_a_training_that_goes_on_from_a_trainers_checkpoint_is_replayed_whole(tmp_path):
    run, how = new_run(), {"make": Dropping, "save_strategy": "epoch", "seed": 3}
    by_transformers(tmp_path, run=run, **how)
    order = run["replay"].train_id.values
    model = by_transformers(tmp_path, run=run, resume=f"{tmp_path}/checkpoint-3", **how)
    assert np.array_equal(run["replay"].train_id.values, order)
    replayed(run, model)


def test_only_what_trains_is_carried_and_clipped(tmp_path):
    run, how = new_run(), {"make": Adapted, "max_grad_norm": 0.05}
    training = replayed(run, by_transformers(tmp_path, run=run, **how))
    assert len(training.start().theta) == 2 * 5 + 6 * 2
    assert_exact(training, lambda w: by_transformers(tmp_path, weights=w, **how), [5])
    assert_exact(training, lambda w: by_transformers(tmp_path, weights=w, **how), [12], "forward")


def test_frozen_weights_in_the_optimizers_groups_stand_still():
    def train(weights, recorder=None):
        model = Adapted()
        optimizer = torch.optim.AdamW(model.parameters(), 0.05, eps=1e-3)  # the frozen ones too
        recording = recorder and recorder(model, optimizer)
        for step in range(4):
            places = torch.arange(step % 2, N, 2)
            logits = model(X[places])
            losses = F.cross_entropy(logits, Y[places], reduction="none")
            optimizer.zero_grad()
            (losses * weights[places]).mean().backward()
            if recording:
                recording.batch(logits, Y[places], places)
            optimizer.step()
            if recording:
                recording.epoch(step)
        return model

    def recorder(model, optimizer):
        return dg.Recorder(run, model, optimizer, train=TRAIN, test=TEST, replay=True, **HOW)

    run = new_run()
    training = dg.training_of_run(
        run, train(torch.ones(N).double(), recorder), train=TRAIN, test=TEST, **HOW
    )
    assert training.proof.all_bits
    assert_exact(training, train, [0, 5, 12])


def test_a_stream_of_examples_is_named_before_training(tmp_path):
    import transformers

    class Stream(IterableDataset):
        def __iter__(self):
            return iter(TRAIN)

    run = new_run()
    trainer = transformers.Trainer(
        Net(),
        transformers.TrainingArguments(str(tmp_path), max_steps=2, report_to=[], use_cpu=True),
        train_dataset=Stream(),
        callbacks=[dg.HuggingFaceRecorder(run, train=TRAIN, test=TEST, replay=True, **HOW)],
    )
    with pytest.raises(SettingError, match="an iterable dataset, which has no order to record"):
        trainer.train()
    assert "metrics" not in run


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("SFTConfig", {"packing": True}, "a row holds several examples"),
        ("SFTConfig", {"loss_type": "dft"}, "weights that follow the answers"),
        ("DPOConfig", {}, "a loss of its own"),
        ("", {"fp16": True}, "bf16=True is followed"),
    ],
)
def test_what_a_replay_cannot_follow_in_transformers_is_named_before_training(
    tmp_path, name, settings, words
):
    import transformers

    kind, own = transformers.TrainingArguments, {"__module__": "trl.trainer", **settings}
    kind = type(name, (kind,), own) if name else kind
    args = kind(output_dir=str(tmp_path), use_cpu=True)
    for setting, value in settings.items():
        setattr(args, setting, value)
    run = new_run()
    recorder = dg.HuggingFaceRecorder(run, train=TRAIN, test=TEST, replay=True, **HOW)
    with pytest.raises(SettingError, match=re.escape(words)):
        recorder.on_train_begin(args, None, None, model=Net())
    assert "metrics" not in run
    assert "replay" not in run


@pytest.fixture
def single(monkeypatch):
    """The data and the models of these tests in single precision."""
    rows = Rows(X.float(), Y), Rows(XT.float(), YT)
    for name, value in {
        "X": X.float(),
        "XT": XT.float(),
        "TRAIN": dg.with_ids(rows[0]),
        "TEST": dg.with_ids(rows[1]),
    }.items():
        monkeypatch.setitem(globals(), name, value)
    monkeypatch.setattr(nn.Module, "double", nn.Module.float)


def by_trainer(trainer, folder, bf16, run=None, **how):
    if trainer == "lightning":
        return in_lightning(folder, run=run, precision="bf16-mixed" if bf16 else "32-true", **how)
    return by_transformers(folder, run=run, bf16=bf16, **how)


@pytest.mark.parametrize("trainer", ["transformers", "lightning"])
def test_a_trainers_mixed_precision_is_replayed_to_the_bit_and_scored(tmp_path, single, trainer):
    mixed, plain = (
        new_run(),
        dg.Run.create(name="plain", train_examples={"label": Y}, test_examples={"label": YT}),
    )
    one = replayed(mixed, by_trainer(trainer, tmp_path, True, mixed))
    said = {"transformers": "bfloat16", "lightning": "bfloat16 uncached"}[trainer]
    assert set(mixed["replay"].autocast.values) == {said}
    other = replayed(plain, by_trainer(trainer, tmp_path, False, plain))
    wanted = scores(other, "reverse")
    for mode in ("reverse", "forward"):
        assert np.linalg.norm(scores(one, mode) - wanted) < 2e-2 * np.linalg.norm(wanted)


@pytest.mark.second_ring(sample=1)
@pytest.mark.parametrize("drop", [0.0, 0.3])
@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("kind", ["Undivided", "Dropping", "lightning"])
def test_mixed_precision_with_accumulation_and_dropout_is_replayed_to_the_bit(
    tmp_path, single, kind, accumulate, drop
):
    run = new_run()
    if kind == "lightning":
        how = {"accumulate_grad_batches": accumulate, "drop": drop}
    else:
        how = {"gradient_accumulation_steps": accumulate, "make": globals()[kind]}
    trainer = "lightning" if kind == "lightning" else "transformers"
    replayed(run, by_trainer(trainer, tmp_path, True, run, **how))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"ids": False}, "examples without ids"),
        ({"precision": "bf16-true"}, "'bf16-mixed' are followed"),
    ],
)
def test_what_a_replay_cannot_follow_in_lightning_is_named_before_training(
    tmp_path, settings, words
):
    run = new_run()
    with pytest.raises(SettingError, match=re.escape(words)):
        in_lightning(tmp_path, run=run, **settings)
    assert "replay" not in run


class Dropping(Net):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.3)

    def logits(self, inputs):
        return self.head(self.drop(self.norm(self.drop(self.body(inputs)))))


def evaluated(train):
    return lambda weights: train(weights).eval()


def test_dropout_is_replayed_to_the_bit_and_scores_are_the_differences_with_its_masks(tmp_path):
    run = new_run()

    def train(weights=None, run=None):
        torch.manual_seed(11)
        return by_transformers(tmp_path, Dropping, weights, run, seed=3)

    training = replayed(run, train(run=run))
    before = torch.get_rng_state()
    for mode in ("reverse", "forward"):
        assert_exact(training, evaluated(train), [5], mode)
        torch.set_rng_state(before)
        scores(training, mode)
        assert torch.equal(torch.get_rng_state(), before)


def test_lightnings_dropout_is_replayed_from_the_record_alone(tmp_path):
    run = new_run()
    module = in_lightning(tmp_path, run=run, drop=0.3)
    training = replayed(run, module)
    assert_exact(training, evaluated(lambda w: in_lightning(tmp_path, w, drop=0.3)), [0, 12])
    # a proof that is there already is not taken again; the masks follow from earlier steps
    again = dg.training_of_run(run, module, train=TRAIN, test=TEST, **HOW)
    assert np.array_equal(scores(again, "reverse"), scores(training, "reverse"))
