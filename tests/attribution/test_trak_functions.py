"""The functions around TRAK: stability, sanity checks, chunks, and what grokked examples share."""

import numpy as np
import pytest
import torch
from attribution_models import examples, mlp, normed
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dg_explorer import with_ids
from dg_explorer.attribution import (
    TRAKAttributor,
    analyze_grokking_attributions,
    analyze_grokking_examples,
    compute_attribution_stability,
    compute_features_chunked,
    create_dummy_loader,
    validate_trak_setup,
)
from dg_explorer.attribution.over_epochs.grokking import parse_arithmetic
from dg_explorer.errors import CheckpointError, DataError, SettingError, ShuffledLoaderError


@pytest.fixture
def loaders():
    return DataLoader(examples(40), 8), DataLoader(examples(6, seed=1), 3)


# ------------------------------------------------------------------ stability


def test_wider_projections_are_more_stable(loaders):
    narrow, wide = (
        compute_attribution_stability(TRAKAttributor(mlp(), proj_dim=k), *loaders[:1], 3)
        for k in (16, 1024)
    )
    assert narrow["stability_varied"] == "projection seed"
    assert wide["stability_mean"] > 0.95 > narrow["stability_mean"]
    assert wide["stability_min"] <= wide["stability_mean"]


def test_stability_of_projections_agrees_with_a_slow_count(loaders):
    train, test = loaders
    attributor = TRAKAttributor(mlp(), proj_dim=64)
    found = compute_attribution_stability(attributor, train, 2, test_loader=test, top_k=5)
    runs = [
        TRAKAttributor(mlp(), proj_dim=64, projection_seed=s).attribute(train, test) for s in (1, 2)
    ]
    rows = list(zip(*(r.numpy() for r in runs)))
    expected = np.mean([np.corrcoef(a, b)[0, 1] for a, b in rows])
    assert found["stability_mean"] == pytest.approx(expected)
    tops = [len(set(np.argsort(-a)[:5]) & set(np.argsort(-b)[:5])) / 5 for a, b in rows]
    assert found["stability_top_k_overlap"] == pytest.approx(np.mean(tops))
    assert attributor.projection.seed == 0  # left as it was


def test_checkpoints_of_an_ensemble_are_split_between_runs(loaders):
    same = [mlp(1).state_dict()] * 4
    other = [mlp(seed).state_dict() for seed in range(4)]
    found = [
        compute_attribution_stability(TRAKAttributor(mlp(), checkpoints=c), loaders[0], 2)
        for c in (same, other)
    ]
    assert found[0]["stability_varied"] == "checkpoints"
    assert found[0]["stability_mean"] == pytest.approx(1)
    assert found[1]["stability_mean"] < 0.99


def test_an_exact_attributor_is_asked_with_other_training_examples(loaders):
    train, test = loaders
    found = compute_attribution_stability(TRAKAttributor(mlp()), train, 3, test_loader=test)
    assert found["stability_varied"] == "training examples"
    assert 0.5 < found["stability_mean"] < 1


def test_one_run_agrees_with_nothing(loaders):
    with pytest.raises(SettingError, match="at least 2"):
        compute_attribution_stability(TRAKAttributor(mlp()), loaders[0], 1)


# ------------------------------------------------------------------ sanity checks


@pytest.mark.parametrize("settings", [{}, {"proj_dim": 64}, {"layers": "4"}])
def test_a_good_setup_passes(loaders, capsys, settings):
    assert validate_trak_setup(TRAKAttributor(normed(), **settings), *loaders)
    assert "All checks passed." in capsys.readouterr().out


def test_examples_that_see_each_other_do_not_pass(loaders, capsys):
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8, track_running_stats=False)).double()
    model.append(nn.Linear(8, 4).double())
    assert not validate_trak_setup(TRAKAttributor(model), *loaders)
    assert "failed" in capsys.readouterr().out


def test_a_model_whose_output_is_constant_does_not_pass(loaders):
    model = mlp()
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    dead = TRAKAttributor(model, layers="0")
    assert not validate_trak_setup(dead, *loaders, verbose=False)


# ------------------------------------------------------------------ chunks


def test_chunks_are_the_whole_and_are_not_computed_twice(loaders, tmp_path):
    attributor = TRAKAttributor(mlp(), proj_dim=32)
    whole = attributor.compute_train_features(loaders[0])
    chunked = compute_features_chunked(attributor, loaders[0], 15, folder=tmp_path)
    torch.testing.assert_close(chunked, whole, rtol=1e-5, atol=1e-6)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"features_chunk_{a}.safetensors" for a in ("0_15", "15_30", "30_40")]
    attributor.compute_train_features = None  # would fail if asked
    again = compute_features_chunked(attributor, loaders[0], 15, folder=tmp_path)
    assert torch.equal(again, chunked)


@pytest.mark.parametrize("change", ["weights", "seed", "ids"])
def test_chunks_of_another_origin_are_computed_anew(loaders, tmp_path, change):
    compute_features_chunked(TRAKAttributor(mlp(), proj_dim=32), loaders[0], folder=tmp_path)
    model = mlp(1) if change == "weights" else mlp()
    attributor = TRAKAttributor(model, proj_dim=32, projection_seed=int(change == "seed"))
    loader = loaders[0]
    if change == "ids":
        loader = with_ids(TensorDataset(*(t.flip(0) for t in examples(40).tensors)), range(40, 80))
    found = compute_features_chunked(attributor, loader, folder=tmp_path)
    torch.testing.assert_close(
        found, attributor.compute_train_features(loader), rtol=1e-5, atol=1e-6
    )


def test_exact_features_are_chunked_without_files(loaders, tmp_path):
    attributor = TRAKAttributor(mlp())
    chunked = compute_features_chunked(attributor, loaders[0], 15, folder=tmp_path)
    queries = attributor.compute_test_features(loaders[1])
    torch.testing.assert_close(
        attributor.compute_attributions(chunked, queries), attributor.attribute(*loaders)
    )
    assert not list(tmp_path.iterdir())
    with pytest.raises(SettingError, match="proj_dim="):
        compute_features_chunked(attributor, loaders[0], save_intermediate=True)


def test_chunks_of_a_shuffled_loader_are_refused():
    loader = DataLoader(examples(9), shuffle=True)
    with pytest.raises(ShuffledLoaderError):
        compute_features_chunked(TRAKAttributor(mlp()), loader)


def test_dummy_loaders_are_the_same_each_time():
    first, second = (create_dummy_loader(50, batch_size=20) for _ in range(2))
    assert [len(x) for x, _ in first] == [20, 20, 10]
    assert first.dataset[0][0].shape == (3, 32, 32)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first, second))


# ------------------------------------------------------------------ grokking


class Sums(torch.utils.data.Dataset):
    def __len__(self):
        return 30

    def __getitem__(self, i):
        return {"text": f"{i} + {i + 1} = {2 * i + 1}"}


def test_properties_of_examples_agree_with_a_count_by_hand(capsys):
    found = analyze_grokking_examples([20, 2, 29], Sums())
    assert found["operand_ranges"] == [(20, 21), (2, 3), (29, 30)]
    assert found["result_ranges"] == [41, 5, 59]
    assert found["operation_types"] == ["+"] * 3
    assert found["difficulty_levels"] == [42, 6, 60]
    assert found["means"]["operand 1"] == pytest.approx(17)
    assert found["means_of_all"]["operand 1"] == pytest.approx(14.5)
    assert "mean operand 1: 17.00 (all: 14.50" in capsys.readouterr().out


def test_examples_chosen_for_their_size_differ_and_random_ones_do_not():
    large = analyze_grokking_examples(range(20, 30), Sums(), verbose=False)
    drawn = np.random.default_rng(1).choice(30, 10, replace=False)
    random = analyze_grokking_examples(drawn, Sums(), verbose=False)
    assert large["p_values"]["operand 1"] < 1e-4
    assert random["p_values"]["operand 1"] > 0.05


def test_ids_name_the_examples():
    pairs = TensorDataset(torch.tensor([[3, 4], [5, 6]]), torch.tensor([7, 11]))
    found = analyze_grokking_examples([108], with_ids(pairs, [107, 108]), verbose=False)
    assert found["operand_ranges"] == [(5, 6)]
    assert found["result_ranges"] == [11]
    with pytest.raises(DataError, match="No example 1 in"):
        analyze_grokking_examples([1], with_ids(pairs, [107, 108]))


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"text": "5 + 7 = 12"}, (5, "+", 7, 12)),
        (("12*3=36", 36), (12, "*", 3, 36)),
        ("5 + 30 (mod 31) = 4", (5, "+", 30, 4)),
        ((torch.tensor([2, 3, 99]), torch.tensor(5)), (2, "?", 3, 5)),
    ],
)
def test_arithmetic_is_read_from_texts_and_tokens(item, expected):
    assert parse_arithmetic(item) == expected


@pytest.mark.parametrize("item", [("a picture of a cat", 3), (torch.randn(4), torch.tensor(1))])
def test_what_is_no_arithmetic_is_refused(item):
    with pytest.raises(DataError):
        parse_arithmetic(item)


def test_grokking_is_compared_at_the_nearest_checkpoints_outside_the_window(loaders):
    states = {epoch: mlp(epoch).state_dict() for epoch in (0, 100, 900, 1400, 1600, 3000)}
    found = analyze_grokking_attributions(
        states, *loaders, grokking_epoch=1000, model=mlp(), verbose=False
    )
    assert (found["pre_epoch"], found["post_epoch"]) == (100, 1600)
    scores = found["run"]["scores/trak"]
    assert scores["epoch"].values.tolist() == [100, 1600]
    assert found["properties"] is None  # random inputs are no sums
    assert len(found["gained_influence_indices"]) + len(found["lost_influence_indices"]) == 40


def test_grokking_without_both_sides_or_an_architecture_is_refused(loaders):
    states = {0: mlp().state_dict(), 10: mlp(1).state_dict()}
    with pytest.raises(CheckpointError, match="before 0"):
        analyze_grokking_attributions(states, *loaders, 0, model=mlp())
    with pytest.raises(SettingError, match="model="):
        analyze_grokking_attributions(states, *loaders, 5)
    with_modules = analyze_grokking_attributions({0: mlp(), 10: mlp(1)}, *loaders, 5)
    assert with_modules["post_epoch"] == 10
