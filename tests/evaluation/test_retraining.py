import numpy as np
import pytest
import torch
from torch import nn

from dg_explorer.evaluation import retraining as module
from dg_explorer.evaluation.retraining import ResumeMismatchError, random_subsets, subset_retraining
from dg_explorer.training.flat_model import NotDeterministicError
from dg_explorer.training.step.by_hand import OptimizerSettings
from dg_explorer.training.training import Training, margin


def linear(seed):
    torch.manual_seed(seed)
    return nn.Linear(4, 3).double()


def training(**changes):
    generator = torch.Generator().manual_seed(1)
    fields = dict(
        model=linear,
        inputs=torch.randn(20, 4, generator=generator, dtype=torch.float64),
        labels=torch.randint(0, 3, (20,), generator=generator),
        test_inputs=torch.randn(5, 4, generator=generator, dtype=torch.float64),
        test_labels=torch.randint(0, 3, (5,), generator=generator),
        optimizer=OptimizerSettings(kind="momentum", lr=0.2, momentum=0.9),
        n_epochs=4,
        batch_size=6,
        record_at=(2, 4),
        train_ids=np.arange(20) + 50,
    )
    return Training(**(fields | changes))


def train_alone(t, kept, seed):
    """One model by torch's own optimizer on the recorded batches."""
    model = linear(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    outputs = []
    for epoch in range(t.n_epochs):
        for batch in t.batches(epoch):
            there = batch[kept[batch]]
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(
                model(t.inputs[there]), t.labels[there], reduction="sum"
            )
            (loss / len(batch)).backward()
            optimizer.step()
        if epoch + 1 in t.record_at:
            with torch.no_grad():
                outputs.append(margin(model(t.test_inputs), t.test_labels).numpy())
    return np.stack(outputs)


def test_models_trained_at_once_equal_models_trained_alone():
    t = training()
    masks = random_subsets(5, t.train_ids, keep=0.7)
    together = subset_retraining(t, masks, models_at_once=2)
    alone = np.stack([train_alone(t, kept, 0) for kept in masks.values])
    np.testing.assert_allclose(together.output, alone, rtol=1e-4, atol=1e-5)


def test_a_plain_function_may_do_the_training():
    t = training()
    masks = random_subsets(3, t.train_ids, keep=0.7)
    by_function = subset_retraining(lambda kept, seed: train_alone(t, kept, seed), masks)
    at_once = subset_retraining(t, masks)
    np.testing.assert_allclose(by_function.output, at_once.output, rtol=1e-4, atol=1e-5)


def test_outputs_are_the_mean_over_seeds():
    t = training()
    masks = random_subsets(3, t.train_ids, keep=0.7)
    both = subset_retraining(t, masks, seeds=(0, 1))
    each = [subset_retraining(t, masks, seeds=(seed,)).output for seed in (0, 1)]
    np.testing.assert_allclose(both.output, (each[0] + each[1]) / 2, rtol=1e-5, atol=1e-6)


def test_every_model_starts_where_the_full_run_did():
    t = training(seed=3)
    masks = random_subsets(2, t.train_ids, keep=0.7)
    alone = np.stack([train_alone(t, kept, 3) for kept in masks.values])
    np.testing.assert_allclose(subset_retraining(t, masks).output, alone, rtol=1e-4, atol=1e-5)


def test_fresh_order_shows_each_model_only_its_own_subset():
    t = training()
    kept = np.ones((1, 20), bool)
    kept[0, :8] = False
    masks = random_subsets(1, t.train_ids).copy(data=kept)
    poisoned = t.with_changes(inputs=t.inputs.clone())
    poisoned.inputs[:8] = 1e6
    clean = subset_retraining(t, masks, order="fresh")
    np.testing.assert_array_equal(
        subset_retraining(poisoned, masks, order="fresh").output, clean.output
    )


def test_subsets_of_different_sizes_may_be_trained_in_fresh_order():
    t = training()
    masks = random_subsets(3, t.train_ids)
    kept = masks.values.copy()
    kept[1] = True
    whole = subset_retraining(t, masks.copy(data=kept), order="fresh")
    one = subset_retraining(t, masks.copy(data=kept).isel(subset=[0]), order="fresh")
    np.testing.assert_allclose(whole.output.isel(subset=0), one.output.isel(subset=0), rtol=1e-5)


def test_an_interrupted_retraining_resumes_with_equal_results(tmp_path, monkeypatch):
    t = training()
    masks = random_subsets(6, t.train_ids)
    wanted = subset_retraining(t, masks, models_at_once=2)
    trained = []
    original = module._train_chunk

    def stop_at_third(*arguments):
        trained.append(arguments[2])
        if len(trained) == 3:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(module, "_train_chunk", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        subset_retraining(t, masks, models_at_once=2, path=tmp_path)
    resumed = subset_retraining(t, masks, models_at_once=2, path=tmp_path)
    np.testing.assert_array_equal(resumed.output, wanted.output)
    assert len(trained) == 4


def test_a_folder_of_another_training_is_not_resumed(tmp_path):
    t = training()
    masks = random_subsets(2, t.train_ids)
    subset_retraining(t, masks, path=tmp_path)
    other = t.with_changes(optimizer=OptimizerSettings(kind="sgd", lr=0.2))
    with pytest.raises(ResumeMismatchError):
        subset_retraining(other, masks, path=tmp_path)


def test_active_dropout_is_refused():
    def model(seed):
        return nn.Sequential(linear(seed), nn.Dropout(0.5))

    with pytest.raises(NotDeterministicError, match="drops units at random"):
        subset_retraining(training(model=model), random_subsets(2, np.arange(20) + 50))


def test_random_subsets_keep_the_share_asked_for():
    masks = random_subsets(8, np.arange(100), keep=0.95)
    assert (masks.sum("train") == 95).all()
    assert len(np.unique(masks.values, axis=0)) == 8
