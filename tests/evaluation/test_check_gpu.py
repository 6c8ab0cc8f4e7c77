"""The checks for a GPU tell right from wrong on the processor too, and say when there is none."""

import sys

import pytest
import torch
import xarray as xr

from benchmarks import check_gpu
from dg_explorer.attribution.projections import random_signs

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "check",
    [
        check_gpu.signs_of_the_definition,
        check_gpu.projected_where_it_is,
        check_gpu.best_of_the_processor,
    ],
)
def test_checks_hold(check, device):
    assert check(device).holds


def test_exact_influence_is_checked_by_code_that_runs_here(monkeypatch):
    found = {check.name: check for check in check_gpu.exact_influence("cpu", "tiny")}
    assert all(check.holds for check in found.values()), found
    assert len(found) == 5
    summed = xr.DataArray.sum

    def without_the_last_window(array, dim):
        return summed(array.isel(window=slice(-1)), dim)

    monkeypatch.setattr(xr.DataArray, "sum", without_the_last_window)
    (name, off), _ = check_gpu.gpu_influence.lora_when("cpu", check_gpu.gpu_influence.SIZES["tiny"])
    assert off > 100 * found[name].bound


def test_a_generator_with_one_wrong_sign_fails(monkeypatch):
    right = random_signs.signs

    def wrong(*arguments):
        made = right(*arguments).clone()
        made[17, 3] *= -1
        return made

    monkeypatch.setattr(random_signs, "signs", wrong)
    check = check_gpu.signs_of_the_definition("cpu")
    assert check.found == 1
    assert not check.holds


def test_without_a_gpu_the_command_says_so_and_does_not_pass(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["check_gpu"])
    with pytest.raises(SystemExit) as ended:
        check_gpu.main()
    assert ended.value.code == check_gpu.NO_GPU
    assert "No GPU" in capsys.readouterr().out
