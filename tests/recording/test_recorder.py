"""The record says what really happened, and recording changes nothing of it."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from dg_explorer import Recorder, Run
from dg_explorer.checkpoints.store import load_checkpoint, load_weights
from dg_explorer.errors import (
    CheckpointError,
    DataError,
    SettingError,
    ShuffledLoaderError,
    UnknownExampleError,
)
from dg_explorer.recording import table
from dg_explorer.recording.evaluation_pass import feature_row, in_half
from dg_explorer.tasks import ClassificationTask


def recorded(task, path=None, *, seen=None, epochs=3, **settings):
    run, model = task.run(path), task.model()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    with Recorder(run, model, optimizer, test=task.test, **settings) as rec:
        task.fit(model, optimizer, rec, epochs=epochs, seen=seen)
    return run, model


def test_each_example_gets_its_own_loss_under_a_shuffled_loader(task):
    seen = []
    run, _ = recorded(task, seen=seen)
    dynamics = run["dynamics/train"].load()
    for epoch, ids, logits, labels in seen:
        losses = F.cross_entropy(logits, labels, reduction="none")
        for i, loss, right in zip(ids.tolist(), losses, logits.argmax(1) == labels):
            cell = dynamics.sel(epoch=epoch, train=i)
            assert float(cell.loss) == pytest.approx(float(loss), rel=1e-5, abs=1e-6)
            assert bool(cell.correct) == bool(right)


def test_metrics_are_the_means_of_the_dynamics(task):
    run, _ = recorded(task)
    for split in ("train", "test"):
        dynamics = run[f"dynamics/{split}"]
        metrics = run["metrics"]
        assert np.allclose(metrics[f"{split}_loss"], dynamics.loss.mean(split))
        assert np.allclose(metrics[f"{split}_accuracy"], dynamics.correct.mean(split))
    assert run["metrics"].steps_taken.values.tolist() == [4, 8, 12]


def test_the_test_set_is_evaluated_with_the_checkpoint_of_the_epoch(task):
    run, model = recorded(task)
    inputs, labels = task.test.tensors
    for epoch in run.epochs():
        model.load_state_dict(load_weights(run, epoch))
        losses = F.cross_entropy(model(inputs), labels, reduction="none")
        assert np.allclose(run["dynamics/test"].loss.sel(epoch=epoch), losses.detach(), atol=1e-6)


def test_recording_everything_changes_no_bit_of_the_training(task):
    def trained(record):
        model = task.model(dropout=0.3)
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        torch.manual_seed(5)
        recorder = None
        if record:
            loader = DataLoader(task.train, 7, shuffle=True)  # draws from the global generator
            everything = {"train": loader, "test": task.test, "layers": ["1", "3"], "replay": True}
            recorder = Recorder(task.run(), model, optimizer, gradient_every=1, **everything)
        task.fit(model, optimizer, recorder)
        assert model.training
        return model.state_dict()

    for a, b in zip(trained(False).values(), trained(True).values()):
        assert torch.equal(a, b)


def test_frozen_modules_stay_in_evaluation_mode(task):
    model = task.model(dropout=0.5)
    model[2].eval()
    rec = Recorder(task.run(), model, test=task.test)
    rec.epoch(0)
    assert [m.training for m in model] == [True, True, False, True]


def test_words_of_ones_own_under_task_stand_beside_the_recorded_task(task):
    run, model = task.run(), task.model()
    run.set_attrs(task="clouds")
    with Recorder(run, model, test=task.test) as rec:
        rec.epoch(0)
    assert run.attrs["task"]["note"] == "clouds"
    assert run.attrs["task"]["digest"] == rec.task.described()["digest"]


def test_training_examples_are_evaluated_when_no_batches_are_handed_over(task):
    run, model = task.run(), task.model()
    Recorder(run, model, train=task.loader(), test=task.test).epoch(0)
    losses = F.cross_entropy(model(task.x), task.y, reduction="none").detach()
    dynamics = run["dynamics/train"]
    assert np.allclose(dynamics.loss.sel(epoch=0, train=task.ids.numpy()), losses, atol=1e-6)
    assert "weights of this epoch" in dynamics.attrs["measured"]


def test_features_are_the_outputs_of_the_layer_for_the_ids_they_name(task):
    run, model = task.run(), task.model()
    settings = {"layers": ["1"], "feature_examples": 20}
    with Recorder(run, model, train=task.loader(), test=task.test, **settings) as rec:
        rec.epoch(0)
    features = run["features/1"].load()
    assert features["split"].values.tolist() == ["train"] * 20 + ["test"] * 20
    hidden = {"train": model[:2](task.x), "test": model[:2](task.test.tensors[0])}
    where = {"train": {int(i): k for k, i in enumerate(task.ids)}, "test": range(30)}
    for example in range(40):
        split, name = str(features["split"][example].item()), int(features["id"][example])
        expected = hidden[split][where[split][name]].detach()
        assert np.allclose(features.activation[0, example], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("unit", "kept_as"),
    [
        (lambda z: z, "float16"),
        (lambda z: 0 * z, "float16"),
        (lambda z: 1e-3 * z, "float16"),
        (lambda z: 100 + 0.01 * z, "float32"),
        (lambda z: 1e5 * z, "float32"),
        (lambda z: 1e-7 * z, "float32"),
        (lambda z: np.where(z > 1, np.nan, z), "float32"),
    ],
)
def test_a_unit_that_half_precision_would_blur_keeps_single_precision(unit, kept_as):
    z = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    z[:, 1] = unit(z[:, 1])
    run, ids = Run.create(name="half"), {"train": np.arange(200)}
    run.append("features/a", feature_row(0, {"train": z}, ids, "half"))
    assert in_half(z).dtype == kept_as
    read = run["features/a"].activation
    assert read.dtype == read.values.dtype == read[0, 3:5, [0, 2]].values.dtype == np.float32
    off = (read.values[0] - z).std(0)
    fine = ~np.isnan(z).any(0)
    assert (off <= z.std(0) / 256)[fine].all()
    assert np.array_equal(np.isnan(read.values[0]), np.isnan(z))


def test_a_layer_that_the_next_one_writes_into_keeps_its_own_output(task):
    first, last = torch.nn.Linear(5, 4), torch.nn.Linear(4, 3)
    model = torch.nn.Sequential(first, torch.nn.ReLU(inplace=True), last)
    run = task.run()
    with Recorder(run, model, test=task.test, layers=["0"]) as recorder:
        recorder.epoch(0)
    found = run["features/0"]["activation"].values[0]
    inputs = torch.stack([task.test[i][0] for i in range(len(task.test))])
    assert np.allclose(found, first(inputs).detach().numpy(), atol=1e-6)


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_compiled_model_is_recorded_as_the_model_itself(task, wrapped):
    found = []
    for compiled in (False, True):
        run, model = task.run(), task.model()
        if compiled and wrapped:
            model = torch.compile(model, backend="eager")
        elif compiled:
            model.compile(backend="eager")
        layer = "_orig_mod.1" if compiled and wrapped else "1"
        with Recorder(run, model, test=task.test, layers=[layer]) as recorder:
            model(task.x)
            recorder.epoch(0)
        features = run[f"features/{layer}"]["activation"].values
        found.append((features, run["dynamics/test"]["loss"].values))
    for plain, other in zip(*found, strict=True):
        assert np.array_equal(plain, other)


def test_rows_in_half_and_in_single_precision_stand_in_one_layer():
    z = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    run, ids = Run.create(name="half"), {"train": np.arange(50)}
    for epoch, values in enumerate((z, 1e5 * z, z)):
        run.append("features/a", feature_row(epoch, {"train": values}, ids, "half"))
    read = run["features/a"].activation.values
    assert np.array_equal(read[1], 1e5 * z)
    assert np.array_equal(read[0], z.astype(np.float16).astype(np.float32))


def test_with_replay_the_optimizer_stays_with_every_nth_checkpoint_and_with_the_newest(task):
    run, _ = recorded(task, epochs=6, replay=True, state_every=4)
    holds = {epoch: load_checkpoint(run, epoch).holds for epoch in range(6)}
    every = ("weights", "optimizer", "rng")
    assert holds == {e: every if e in (0, 4, 5) else ("weights",) for e in range(6)}
    with pytest.raises(CheckpointError, match=r"Recorder\(..., state_every=1\)"):
        load_checkpoint(run, 2).restore(task.model(), torch.optim.Adam(task.model().parameters()))
    whole, _ = recorded(task, epochs=6)
    for epoch in (4, 5):
        one, other = (load_checkpoint(r, epoch).optimizer_state() for r in (run, whole))
        for name, state in one.items():
            assert all(torch.equal(v, other[name][k]) for k, v in state.items())


def test_an_example_not_seen_differs_from_one_with_nan_logits(task):
    run, model = task.run(), task.model()
    rec = Recorder(run, model)
    logits = torch.tensor([[torch.nan, 0, 0], [1.0, 0, 0]])
    rec.batch(logits, task.y[:2], task.ids[:2])
    rec.epoch(0)
    first = run["dynamics/train"].sel(epoch=0)
    nan, fine, unseen = (first.sel(train=int(i)) for i in task.ids[:3])
    assert np.isnan(nan.loss)
    assert nan.prediction >= 0
    assert np.isfinite(fine.loss)
    assert np.isnan(unseen.loss)
    assert unseen.prediction == -1


def test_an_autocast_that_spans_the_training_does_not_reach_what_is_evaluated(task):
    with torch.autocast("cpu", torch.bfloat16):
        run, model = recorded(task, epochs=2, train=task.train)
    x, y = next(iter(DataLoader(task.test, len(task.test))))[:2]
    with torch.no_grad():
        losses = F.cross_entropy(model(x), y, reduction="none")
    np.testing.assert_allclose(run["dynamics/test"]["loss"][-1], losses, rtol=1e-5)


def test_an_interrupted_recording_resumes_to_the_same_record(task, tmp_path):
    whole, model = recorded(task, epochs=5, replay=True, layers=["1"], train=task.train)
    path = tmp_path / "run"
    settings = {"test": task.test, "replay": True, "layers": ["1"], "train": task.train}
    first = task.model()
    optimizer = torch.optim.Adam(first.parameters(), 1e-2)
    with Recorder(task.run(path), first, optimizer, checkpoint_every=2, **settings) as rec:
        task.fit(first, optimizer, rec, epochs=4)  # checkpoints at 0 and 2, rows up to 3
    again = task.model(seed=9)
    optimizer = torch.optim.Adam(again.parameters(), 1e-2)
    with Recorder(Run.open(path), again, optimizer, checkpoint_every=2, **settings) as rec:
        assert rec.resume() == 2
        task.fit(again, optimizer, rec, first=3, epochs=2)
    resumed = Run.open(path)
    groups = ("metrics", "dynamics/train", "dynamics/test", "features/1", "gradients", "replay")
    for group in groups:
        assert whole[group].load().drop_attrs().equals(resumed[group].load().drop_attrs()), group
    for a, b in zip(model.state_dict().values(), again.state_dict().values()):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("batch_size", "gradient_every", "checkpoint_every"),
    [(60, 250, 1), (60, 1, 2), (16, 3, 1), (16, 5, 2), (16, 1, 1)],
)
def test_after_a_resumption_the_gradients_are_those_of_a_training_never_interrupted(
    task, tmp_path, batch_size, gradient_every, checkpoint_every
):
    task.loader = partial(task.loader, batch_size=batch_size)
    settings = {"gradient_every": gradient_every, "checkpoint_every": checkpoint_every}
    whole, _ = recorded(task, epochs=7, **settings)
    path, first = tmp_path / "run", task.model()
    optimizer = torch.optim.Adam(first.parameters(), 1e-2)
    with Recorder(task.run(path), first, optimizer, test=task.test, **settings) as rec:
        task.fit(first, optimizer, rec, epochs=4)
    again = task.model(seed=9)
    optimizer = torch.optim.Adam(again.parameters(), 1e-2)
    with Recorder(Run.open(path), again, optimizer, test=task.test, **settings) as rec:
        begin = rec.resume() + 1
        task.fit(again, optimizer, rec, first=begin, epochs=7 - begin)
    found = Run.open(path)["gradients"].load()
    assert whole["gradients"].load().equals(found)
    assert found["sampled_steps"].values[1:].min() >= 1
    assert np.isfinite(found["cosine_to_previous"].values[1:]).all()


@pytest.mark.parametrize("cut", [0, 1, 2, 4])
def test_an_epoch_cut_short_before_its_metrics_is_recorded_again(task, tmp_path, cut):
    settings = {"layers": ["1"], "train": task.train, "checkpoint_every": 2, "feature_every": 3}
    whole, model = recorded(task, epochs=7, **settings)
    run, first = task.run(tmp_path / "run"), task.model()
    optimizer = torch.optim.Adam(first.parameters(), 1e-2)
    rec = Recorder(run, first, optimizer, test=task.test, **settings)
    metrics = rec._metrics

    def cut_short():
        if rec._calls == cut:
            raise KeyboardInterrupt
        return metrics()

    rec._metrics = cut_short
    with pytest.raises(KeyboardInterrupt), rec:
        task.fit(first, optimizer, rec, epochs=7)
    again = task.model()
    optimizer = torch.optim.Adam(again.parameters(), 1e-2)
    run = Run.open(tmp_path / "run")
    with Recorder(run, again, optimizer, test=task.test, **settings) as rec:
        at = rec.resume()
        assert at == {0: None, 1: 0, 2: 0, 4: 2}[cut]
        begin = 0 if at is None else at + 1
        task.fit(again, optimizer, rec, first=begin, epochs=7 - begin)
    for group in ("metrics", "dynamics/train", "dynamics/test", "features/1", "checkpoints"):
        for name, expected in whole[group].load().data_vars.items():
            found = run[group][name].load()
            assert np.array_equal(found["epoch"], expected["epoch"]), (group, name)
            if group != "checkpoints":
                assert np.array_equal(found, expected, equal_nan=True), (group, name)
    for a, b in zip(model.state_dict().values(), again.state_dict().values()):
        assert torch.equal(a, b)


def test_logits_are_measured_many_steps_at_a_time(task, monkeypatch):
    sizes, measures = [], ClassificationTask.measures

    def counted(task, logits, batch):
        sizes.append(len(logits))
        return measures(task, logits, batch)

    monkeypatch.setattr(ClassificationTask, "measures", counted)
    rec = Recorder(task.run(), task.model())
    n = table.STEPS
    for step in range(2 * n + 3):
        rec.batch(torch.zeros(4, 3), task.y[:4].clone(), task.ids[:4].clone())
        assert len(sizes) == (step + 1) // n
    rec.epoch(0)
    assert sizes == [4 * n, 4 * n, 12]


def test_a_full_batch_served_again_is_kept_once(task):
    rec = Recorder(task.run(), task.model())
    for k in range(200):
        rec.batch(torch.full((60, 3), float(k)) * torch.arange(3.0), task.y, task.ids)
    assert len(rec._buffer._kept) == 1
    rec.epoch(0)
    losses = F.cross_entropy(199.0 * torch.arange(3.0).expand(60, 3), task.y, reduction="none")
    assert np.allclose(rec.run["dynamics/train"].loss.sel(train=task.ids.numpy())[0], losses)


# ---------------------------------------------------------------- bad input


def test_a_shuffled_loader_without_ids_is_refused(task):
    loader = DataLoader(task.test, 8, shuffle=True)
    with pytest.raises(ShuffledLoaderError, match=r"with_ids\(dataset\)"):
        Recorder(task.run(), task.model(), test=loader)


def test_ids_of_another_order_are_noticed_by_their_labels(task):
    rec = Recorder(task.run(), task.model())
    rec.batch(torch.zeros(60, 3), task.y, task.ids.roll(1))
    with pytest.raises(DataError, match=r"another label than the record's.*with_ids"):
        rec.epoch(0)


def test_an_unknown_id_is_named(task):
    rec = Recorder(task.run(), task.model())
    rec.batch(torch.zeros(1, 3), task.y[:1], torch.tensor([5]))
    with pytest.raises(UnknownExampleError, match=r"no train example 5; it has 60"):
        rec.epoch(0)


@pytest.mark.parametrize("epoch", [1, 0])
def test_epochs_out_of_order_or_repeated_are_refused(task, epoch):
    rec = Recorder(task.run(), task.model(), test=task.test)
    rec.epoch(1)
    with pytest.raises(SettingError, match=r"Epoch . comes (again|after 1)"):
        rec.epoch(epoch)


def test_logits_changed_in_place_are_noticed(task):
    rec = Recorder(task.run(), task.model())
    logits = torch.zeros(2, 3)
    rec.batch(logits, task.y[:2], task.ids[:2])
    logits += 1
    with pytest.raises(DataError, match="changed in place"):
        rec.epoch(0)


def test_a_layer_that_does_not_exist_lists_the_closest_names(task):
    model = torch.nn.ModuleDict({"fc1": torch.nn.Linear(5, 3), "head": torch.nn.Linear(3, 3)})
    with pytest.raises(SettingError, match=r"no layer 'fc2'; closest are 'fc1'"):
        Recorder(task.run(), model, layers=["fc2"])


@pytest.mark.parametrize("setting", ["checkpoint_every", "gradient_every", "feature_every"])
def test_a_negative_count_is_refused(task, setting):
    with pytest.raises(SettingError, match=setting):
        Recorder(task.run(), task.model(), **{setting: -1})


def test_a_layer_without_a_shape_yet_is_refused_with_what_to_do(task):
    model = torch.nn.Sequential(torch.nn.LazyLinear(3))
    with pytest.raises(SettingError, match="Call the model once"):
        Recorder(task.run(), model, torch.optim.SGD(model.parameters(), lr=0.1))


def test_an_empty_dataset_is_refused(task):
    empty = torch.utils.data.TensorDataset(torch.zeros(0, 5), torch.zeros(0))
    with pytest.raises(DataError, match="no examples"):
        Recorder(task.run(), task.model(), test=empty)


def test_a_new_recorder_takes_over_from_one_that_a_crashed_cell_left(task):
    model = task.model()
    optimizer = torch.optim.Adam(model.parameters())
    Recorder(task.run(), model, optimizer)
    hooks = len(optimizer._optimizer_step_pre_hooks)
    rec = Recorder(task.run(), model, optimizer)
    assert len(optimizer._optimizer_step_pre_hooks) == hooks
    rec.close()
    assert not optimizer._optimizer_step_pre_hooks


@pytest.mark.parametrize(
    "give",
    [
        lambda z, y, i: (z.detach().numpy(), y.numpy(), i.tolist()),
        lambda z, y, i: ((z, None), y.tolist(), i.numpy()),
        lambda z, y, i: ({"logits": z, "hidden": z[:, :1]}, y, i),
    ],
    ids=["arrays", "tuple", "dict"],
)
def test_a_batch_is_taken_as_arrays_or_as_all_that_the_model_returns(task, give):
    rows = []
    for given in (give, lambda *tensors: tensors):
        run, model = task.run(), task.model()
        with Recorder(run, model, torch.optim.SGD(model.parameters(), 0.1)) as recorder:
            logits = model(task.x)
            F.cross_entropy(logits, task.y).backward()
            recorder.batch(*given(logits, task.y, task.ids))
            recorder.epoch(0)
        rows.append(run["dynamics/train"].load())
    assert rows[0].equals(rows[1])


@pytest.mark.parametrize(
    ("give", "words"),
    [
        (lambda z, y, i: (z.argmax(1), y, i), "argmax"),
        (lambda z, y, i: (z, y, i.float()), "whole numbers, and was given torch.float32"),
        (lambda z, y, i: (z, ["a"] * len(y), i), "and list"),
        (lambda z, y, i: (None, y, i), "NoneType"),
    ],
)
def test_what_is_no_batch_is_refused_in_words(task, give, words):
    model = task.model()
    recorder = Recorder(task.run(), model, torch.optim.SGD(model.parameters(), 0.1))
    with pytest.raises(DataError, match=words):
        recorder.batch(*give(model(task.x), task.y, task.ids))
