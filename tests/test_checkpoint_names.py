"""Which number of a checkpoint's name is its moment: a table of names, and what comes of each."""

import pytest
import torch

import dg_explorer as dg
from dg_explorer.checkpoints.moments import Entry, moments_of
from dg_explorer.checkpoints.reading import counters_in
from dg_explorer.errors import CheckpointError, SettingError

# names -> their numbers, in order, and what they count
READ = {
    "3.pth 20.pth 100.pth": ([3, 20, 100], "number"),
    "000050.pt 000100.pt": ([50, 100], "number"),
    "model_epoch_3.pt model_epoch_20.pt": ([3, 20], "epoch"),
    "net_30_acc0.71.pt net_40_acc0.69.pt": ([30, 40], "number"),
    "net_30_acc71.pt net_40_acc69.pt": ([30, 40], "number"),
    "03-2.50.ckpt 04-2.25.ckpt 05-2.75.ckpt": ([3, 4, 5], "number"),
    "epoch=2-val_loss=-0.50.ckpt epoch=3-val_loss=nan.ckpt": ([2, 3], "epoch"),
    "epoch=1-loss=1e-05.ckpt epoch=2-loss=0.0123.ckpt": ([1, 2], "epoch"),
    "w_1,500.pt w_900.pt w_12,000.pt": ([900, 1500, 12_000], "number"),
    "w_5k.pt w_500.pt w_1.5M.pt": ([500, 5_000, 1_500_000], "number"),
    "checkpoint_0001.pth.tar checkpoint_0002.pth.tar model_best.pth.tar": ([1, 2], "number"),
    "epoch=9-step=1000.ckpt epoch=19-step=2000.ckpt last.ckpt best.ckpt": ([9, 19], "epoch"),
    "epoch=0-step=2.ckpt epoch=0-step=4.ckpt epoch=1-step=6.ckpt": ([2, 4, 6], "step"),
    "iter_2000.pth iter_4000.pth best_mIoU_iter_4000.pth": ([2000, 4000], "step"),
    "rl_model_12_steps.zip rl_model_8_steps.zip": ([8, 12], "step"),
    "step-0001000-of-0005000 step-0002000-of-0005000": ([1000, 2000], "step"),
    "ep0-ba100-rank0.pt ep1-ba200-rank0.pt": ([0, 1], "epoch"),
    "run_seed42_2024-05-01_ep3.pt run_seed42_2024-05-02_ep4.pt": ([3, 4], "epoch"),
    "m_2024-05-01_12-30-11_100.pt m_2024-05-01_13-30-11_200.pt": ([100, 200], "number"),
    "m_20240501_12.pt m_20240502_13.pt": ([12, 13], "number"),
    "step_20200101.pt step_20200202.pt": ([20200101, 20200202], "step"),
    "resnet50_epoch3.pth resnet50_epoch6.pth": ([3, 6], "epoch"),
    "llama-7b-step200 llama-7b-step400": ([200, 400], "step"),
    "gpt2-124M-step200.pt gpt2-124M-step300.pt": ([200, 300], "step"),
    "net_v2_3.pt net_v2_4.pt": ([3, 4], "number"),
    "checkpoint-500 checkpoint-1000": ([500, 1000], "step"),
    "w_1.weights.h5 w_2.weights.h5": ([1, 2], "number"),
    "10epochs_loss0.3.pt 20epochs_loss0.2.pt": ([10, 20], "epoch"),
    "epochs_07.pt": ([7], "epoch"),
    "best_model_3_loss=0.30.pt best_model_5_loss=0.20.pt": ([3, 5], "number"),
}
# names -> what the question says, and a pattern that answers it
ASKED = {
    "a_5.pt b_5.pt": ("a_5.pt and b_5.pt carry the same number 5", "a_{epoch}.pt"),
    "a_5.pt b_6.pt": ("2 kinds", "b_{epoch}.pt"),
    "net_30_71.pt net_40_69.pt": ("several numbers", "net_{epoch}_*.pt"),
    "epoch=0-step=4.ckpt epoch=0-step=4-v1.ckpt": ("-v1", "epoch={epoch}-step={step}-v1.ckpt"),
    "5_net_G.pth 5_net_D.pth 10_net_G.pth 10_net_D.pth": ("same number", "{epoch}_net_G.pth"),
    "seed1_ep3.pt seed2_ep3.pt": ("tells trainings apart", "seed2_ep{epoch}.pt"),
    "fold1_3.pt fold2_4.pt": ("tells trainings apart", "fold1_{epoch}.pt"),
    "w_lr0.1_3.pt w_lr0.01_4.pt": ("tells trainings apart", "w_lr0.1_{epoch}.pt"),
    "ep0-rank0.pt ep0-rank1.pt": ("tells trainings apart", "ep{epoch}-rank1.pt"),
    "resnet50_epoch3.pth resnet101_epoch6.pth": ("differs too", "resnet*_epoch{epoch}.pth"),
    "resnet50_epoch3.pth resnet101_epoch3.pth": ("differs too", "resnet{epoch}_epoch3.pth"),
    "2024-05-01_ep3.pt 2024-05-02_ep3.pt": ("only once", "2024-05-02_ep{epoch}.pt"),
}


def entries(names, counters=None):
    return [Entry(name, (counters or {}).get(name, {})) for name in names.split()]


@pytest.mark.parametrize("names", READ)
def test_the_moment_is_read_from_a_name(names):
    numbers, unit = READ[names]
    found = moments_of(entries(names), "ckpts")
    assert (sorted(found.labels.values()), found.unit) == (numbers, unit)


@pytest.mark.parametrize("names", ASKED)
def test_an_unclear_name_is_asked_about_and_the_shown_pattern_answers(names):
    says, pattern = ASKED[names]
    with pytest.raises(CheckpointError, match=says) as asked:
        moments_of(entries(names), "ckpts")
    assert repr(pattern) in str(asked.value)
    assert moments_of(entries(names), "ckpts", pattern).labels


@pytest.mark.parametrize("names", ["2024-05-01.pt 2024-05-02.pt", "net_v1.pt net_v2.pt", "a.pt"])
def test_dates_and_versions_are_no_moments(names):
    assert moments_of(entries(names), "ckpts") is None


def test_counters_inside_the_files_decide_the_order():
    inside = {"w_10.pt": {"step": 500}, "w_20.pt": {"step": 100}}
    found = moments_of(entries("w_10.pt w_20.pt", inside), "ckpts")
    assert found.labels == {"w_10.pt": 500, "w_20.pt": 100}
    assert found.unit == "step"
    assert "another order" in found.notes[0]


def test_counters_that_agree_leave_the_names_and_are_kept_as_steps():
    inside = {f"m_{e}.pt": {"step": 8 * (e + 1)} for e in range(3)}
    found = moments_of(entries("m_0.pt m_1.pt m_2.pt", inside), "ckpts")
    assert found.labels == {"m_0.pt": 0, "m_1.pt": 1, "m_2.pt": 2}
    assert found.steps == {"m_0.pt": 8, "m_1.pt": 16, "m_2.pt": 24}


@pytest.mark.parametrize("begin", [0, 1])
def test_steps_tell_whether_epochs_are_counted_from_nought_or_from_one(begin):
    names = [f"epoch_{e}_step_{4 * (e + 1 - begin)}.pt" for e in (3, 5)]
    assert moments_of(entries(" ".join(names)), "ckpts").counts_from == begin


def test_two_validations_an_epoch_are_told_apart_by_the_steps_inside():
    names = "epoch=0.ckpt epoch=0-v1.ckpt epoch=1.ckpt epoch=1-v1.ckpt"
    inside = {n: {"epoch": i // 2, "step": 2 * i + 2} for i, n in enumerate(names.split())}
    found = moments_of(entries(names, inside), "ckpts")
    assert list(found.labels.values()) == [2, 4, 6, 8]


@pytest.mark.parametrize("names", ["a.pt b.pt c.pt", "ckpt1.pt ckpt_1_50.pt ckpt2.pt"])
def test_counters_order_names_of_several_kinds_and_it_is_said(names):
    inside = {n: {"step": 10 * i} for i, n in enumerate(names.split(), 1)}
    found = moments_of(entries(names, inside), "ckpts")
    assert sorted(found.labels.values()) == [10, 20, 30]
    assert "kinds" in found.notes[0]


def test_counters_do_not_join_trainings_that_the_names_tell_apart():
    names = "seed1_ep3.pt seed2_ep3.pt"
    inside = {n: {"step": 10 * i} for i, n in enumerate(names.split(), 1)}
    with pytest.raises(CheckpointError, match="tells trainings apart"):
        moments_of(entries(names, inside), "ckpts")


def test_the_last_checkpoint_is_one_moment_and_not_two():
    names = "epoch=0-step=4.ckpt epoch=1-step=8.ckpt last.ckpt best.ckpt"
    inside = {
        "epoch=0-step=4.ckpt": {"epoch": 0, "step": 4},
        "epoch=1-step=8.ckpt": {"epoch": 1, "step": 8},
        "last.ckpt": {"epoch": 2, "step": 12},
        "best.ckpt": {"epoch": 1, "step": 8},
    }
    found = moments_of(entries(names, inside), "ckpts")
    assert found.labels["last.ckpt"] == 2
    assert "epoch=1-step=8.ckpt" in found.left_out["best.ckpt"]


def test_a_pattern_says_where_the_number_is():
    found = moments_of(entries("a_3_7.pt a_4_2.pt x.pt"), "ckpts", "a_*_{step}.pt")
    assert found.labels == {"a_3_7.pt": 7, "a_4_2.pt": 2}
    assert found.unit == "step"
    assert list(found.left_out) == ["x.pt"]


@pytest.mark.parametrize("pattern", ["a_*.pt", "{epoch}_{epoch}.pt"])
def test_a_pattern_without_one_place_for_the_number_is_refused(pattern):
    with pytest.raises(SettingError, match="once each"):
        moments_of(entries("a_3.pt"), "ckpts", pattern)


def test_a_pattern_that_fits_nothing_shows_the_names():
    with pytest.raises(CheckpointError, match=r"fits nothing in ckpts: a_3\.pt"):
        moments_of(entries("a_3.pt"), "ckpts", "b_{epoch}.pt")


def test_what_was_saved_before_the_first_step_is_a_moment(tmp_path):
    states = {n: {"w": torch.full((2,), float(n))} for n in (-1, 0, 1)}
    for name, number in (("initial", -1), ("first", 0), ("second", 1)):
        torch.save({"model": states[number], "step": number}, tmp_path / f"{name}.pt")
    found = dg.model_checkpoints(tmp_path)
    assert list(found) == [-1, 0, 1]
    assert found.counts_from == 0 or found.unit == "step"
    assert torch.equal(found[-1]["w"], states[-1]["w"])


@pytest.mark.parametrize("number", [float("inf"), float("nan"), -7, "x", "-", True, None, "²"])
def test_a_counter_that_counts_nothing_is_none(number):
    assert counters_in({"model": {}, "step": number}) == {}
