"""Folders as trainers leave them are read whole, or refused with what to pass."""

import argparse
import io
import json
import os
import pickle
import sys
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as distributed
from safetensors.torch import save_file
from torch import nn

from dg_explorer.checkpoints import model_checkpoints
from dg_explorer.checkpoints.foreign import pickled_data
from dg_explorer.checkpoints.reading import CheckpointWarning
from dg_explorer.errors import CheckpointError, SettingError, UnsafeCheckpointError


def net(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def state(seed, prefix=""):
    return {prefix + k: v for k, v in net(seed).state_dict().items()}


def seeds_of(found):
    """Number -> the seed of the weights read for it."""
    firsts = {net(s)[0].weight[0, 0].item(): s for s in range(20)}
    return {e: firsts[float(found[e]["0.weight"][0, 0])] for e in found}


def transformers_folder(folder, steps=(4, 8)):
    for seed, step in enumerate(steps):
        inside = folder / f"checkpoint-{step}"
        inside.mkdir(parents=True)
        save_file(state(seed), inside / "model.safetensors")
        for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"):
            torch.save({"state": {}}, inside / name)
        (inside / "trainer_state.json").write_text(json.dumps({"global_step": step, "epoch": 0.5}))


def test_a_final_model_does_not_hide_the_moments_below_it(tmp_path):
    transformers_folder(tmp_path)
    save_file(state(9), tmp_path / "model.safetensors")
    found = model_checkpoints(tmp_path)
    assert seeds_of(found) == {4: 0, 8: 1}
    assert (found.unit, found.steps) == ("step", {4: 4, 8: 8})
    assert found.skipped == ["model.safetensors"]
    assert "final one" in repr(found)


def test_the_modules_of_one_model_are_no_moments(tmp_path):
    transformers_folder(tmp_path)
    save_file(state(9), tmp_path / "model.safetensors")
    (tmp_path / "2_Dense").mkdir()
    save_file(state(3), tmp_path / "2_Dense" / "model.safetensors")
    (tmp_path / "modules.json").write_text(json.dumps([{"path": ""}, {"path": "2_Dense"}]))
    assert seeds_of(model_checkpoints(tmp_path)) == {4: 0, 8: 1}


def test_what_trainers_write_beside_the_weights_is_no_moment(tmp_path):
    for epoch in (1, 2):
        torch.save(state(epoch), tmp_path / f"params_{epoch}.pt")
        for name in ("rng_state", "optimizer", "lr_scheduler", "random_states", "grad_scaler"):
            torch.save({"a": torch.zeros(1)}, tmp_path / f"{name}_{epoch}.pth")
    assert seeds_of(model_checkpoints(tmp_path)) == {1: 1, 2: 2}


def test_an_outer_folder_is_read_where_one_training_is_in_it(tmp_path):
    inner = tmp_path / "lightning_logs" / "version_0" / "checkpoints"
    inner.mkdir(parents=True)
    for epoch in (0, 1):
        torch.save(state(epoch), inner / f"epoch={epoch}-step={4 * epoch + 4}.ckpt")
    found = model_checkpoints(tmp_path)
    assert seeds_of(found) == {0: 0, 1: 1}
    assert (found.unit, found.counts_from, found.steps) == ("epoch", 0, {0: 4, 1: 8})
    assert str(inner) in found.notes[0]
    other = tmp_path / "lightning_logs" / "version_1" / "checkpoints"
    other.mkdir(parents=True)
    torch.save(state(5), other / "epoch=0-step=4.ckpt")
    with pytest.raises(CheckpointError, match=r"more than one training.*version_1"):
        model_checkpoints(tmp_path)


def test_a_counter_of_saves_keeps_the_optimizers_steps(tmp_path):
    for save in (0, 1):
        inside = tmp_path / "checkpoints" / f"checkpoint_{save}"
        inside.mkdir(parents=True)
        save_file(state(save), inside / "model.safetensors")
        optimizer = {"state": {0: {"step": torch.tensor(6.0 * (save + 1))}}, "param_groups": []}
        torch.save(optimizer, inside / "optimizer.bin")
        (inside / "random_states_0.pkl").write_bytes(b"never opened")
    found = model_checkpoints(tmp_path)
    assert seeds_of(found) == {0: 0, 1: 1}
    assert (found.unit, found.counts_from, found.steps) == ("number", 0, {0: 6, 1: 12})


@pytest.mark.parametrize("suffix", ["model{}.safetensors", "pytorch_model{}.bin"])
def test_of_two_models_in_a_checkpoint_the_one_that_is_named_is_read(tmp_path, suffix):
    write = save_file if "safetensors" in suffix else torch.save
    for save in (0, 1):
        inside = tmp_path / f"checkpoint_{save}"
        inside.mkdir()
        write(state(save), inside / suffix.format(""))
        write(state(save + 5), inside / suffix.format("_1"))
        (inside / "random_states_0.pkl").write_bytes(b"never opened")
    second = Path(suffix.format("_1")).stem
    for folder in (tmp_path, tmp_path / "checkpoint_0"):
        with pytest.raises(CheckpointError, match=rf"holds 2 models.*key='{second}'"):
            model_checkpoints(folder)
    assert seeds_of(model_checkpoints(tmp_path, key=second)) == {0: 5, 1: 6}
    assert seeds_of(model_checkpoints(tmp_path, key=suffix.format(""))) == {0: 0, 1: 1}
    with pytest.raises(SettingError, match="is one checkpoint"):
        model_checkpoints(tmp_path / "checkpoint_0", pattern=suffix.format("_1"))


def test_one_file_without_a_number_says_what_to_pass(tmp_path):
    torch.save(state(1), tmp_path / "params.pt")
    (tmp_path / "history.json").write_text(json.dumps([{}, {}, {}]))
    with pytest.raises(CheckpointError, match=r"\{3: '.*params\.pt'\}; history\.json has 3 rows"):
        model_checkpoints(tmp_path)


AVERAGED = {
    "lightning": {"state_dict": state(1), "current_model_state": state(0)},
    "timm": {"state_dict": state(0), "state_dict_ema": state(1)},
    "ema_pytorch": {
        **state(0, "online_model."),
        **state(1, "ema_model."),
        "initted": torch.tensor(True),
        "step": torch.tensor(4),
    },
    "mmengine": {
        "state_dict": state(1),
        "ema_state_dict": {"steps": torch.tensor(4), **state(0, "module.")},
        "meta": {"mmengine_version": "0.10.7", "epoch": 3},
    },
}


@pytest.mark.parametrize("trainer", AVERAGED)
def test_trained_weights_are_read_and_averaged_ones_offered(tmp_path, trainer):
    torch.save(AVERAGED[trainer], tmp_path / "epoch_3.pt")
    with pytest.warns(CheckpointWarning, match="trained ones are read"):
        found = model_checkpoints(tmp_path)
    assert seeds_of(found) == {3: 0}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert seeds_of(model_checkpoints(tmp_path, weights="averaged")) == {3: 1}


def test_averaged_weights_alone_are_read_only_when_asked_for(tmp_path):
    averaged = torch.optim.swa_utils.AveragedModel(net(2))
    torch.save(averaged.state_dict(), tmp_path / "epoch_1.pt")
    with pytest.raises(CheckpointError, match="weights='averaged'"):
        model_checkpoints(tmp_path)[1]
    assert seeds_of(model_checkpoints(tmp_path, weights="averaged")) == {1: 2}


def test_averages_that_are_not_there_are_refused(tmp_path):
    torch.save({"optim": [], "note": "x"}, tmp_path / "1.pt")
    with pytest.raises(CheckpointError, match="no averaged weights"):
        model_checkpoints(tmp_path, weights="averaged")[1]


def test_of_several_networks_one_is_named(tmp_path):
    torch.save({"netG": state(0), "netD": state(1)}, tmp_path / "1.pt")
    with pytest.raises(CheckpointError, match="key='netG' or key='netD'"):
        model_checkpoints(tmp_path)[1]
    assert seeds_of(model_checkpoints(tmp_path, key="netD")) == {1: 1}


def test_distributed_checkpoints_are_read_without_the_model(tmp_path):
    for seed, step in enumerate((4, 8)):
        held = {"model": state(seed), "step": step, "ids": torch.arange(3)}
        distributed.save(held, checkpoint_id=str(tmp_path / f"at_{step}"), no_dist=True)
    found = model_checkpoints(tmp_path)
    assert seeds_of(found) == {4: 0, 8: 1}
    assert found.steps == {4: 4, 8: 8}
    assert all(torch.equal(found[8][k], v) for k, v in state(1).items())
    (tmp_path / "at_8" / "__0_0.distcp").unlink()
    with pytest.raises(CheckpointError, match=r"__0_0\.distcp"):
        model_checkpoints({8: tmp_path / "at_8"})[8]


def test_the_index_of_a_distributed_checkpoint_is_never_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    folder = tmp_path / "step_1"
    distributed.save({"model": state(0)}, checkpoint_id=str(folder), no_dist=True)
    (folder / ".metadata").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match="not an index"):
        model_checkpoints({1: folder})[1]
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("protocol", range(2, 6))
def test_plain_data_in_a_pickle_is_what_pickle_reads(protocol):
    shared = [1, 2**70, -3]
    data = {
        "a": (1.5, None, True),
        "b": {"c": shared, "d": shared},
        "e": {1, 2},
        "f": b"x",
        "": "ü",
    }
    if protocol < 4:
        del data["e"]  # sets are calls there
    if protocol < 3:
        del data["f"]
    assert pickled_data(pickle.dumps(data, protocol), "here") == data


def test_the_policy_of_stable_baselines_is_read_and_nothing_else(tmp_path):
    for seed, steps in enumerate((8, 12)):
        buffer = io.BytesIO()
        torch.save(state(seed), buffer)
        with zipfile.ZipFile(tmp_path / f"rl_model_{steps}_steps.zip", "w") as archive:
            archive.writestr("policy.pth", buffer.getvalue())
            archive.writestr("data", json.dumps({"num_timesteps": steps}))
            archive.writestr("policy.optimizer.pth", b"never opened")
    found = model_checkpoints(tmp_path)
    assert seeds_of(found) == {8: 0, 12: 1}
    assert found.steps == {8: 8, 12: 12}


def test_keras_files_are_read_by_their_own_names(tmp_path):
    import h5py

    with h5py.File(tmp_path / "w_2.weights.h5", "w") as file:
        file["layers/dense/vars/0"] = net(1)[0].weight.detach().numpy()
        file["optimizer/vars/0"] = 7
    found = model_checkpoints(tmp_path)
    assert list(found[2]) == ["layers/dense/vars/0"]
    assert torch.equal(found[2]["layers/dense/vars/0"], net(1)[0].weight)


def test_keras_files_without_h5py_say_how_to_read_them(tmp_path, monkeypatch):
    (tmp_path / "w_2.weights.h5").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(CheckpointError, match=r"pip install.*keras.*load_weights.*torch\.save"):
        model_checkpoints(tmp_path)[2]


def test_the_state_of_a_whole_training_is_refused_with_the_way(tmp_path):
    inner = tmp_path / "global_step10"
    inner.mkdir()
    torch.save({"module": state(0)}, inner / "mp_rank_00_model_states.pt")
    with pytest.raises(CheckpointError, match=r"zero_to_fp32\.py"):
        model_checkpoints(tmp_path)[10]


def test_states_that_were_not_cloned_are_said():
    model, states = net(0), []
    for _ in range(3):
        states.append(model.state_dict())
    with pytest.warns(CheckpointWarning, match=r"0 and 1 are the same tensors.*clone"):
        model_checkpoints(states)


def test_equal_neighbours_among_files_are_said_once_when_read(tmp_path):
    for epoch, seed in enumerate((0, 1, 1)):
        torch.save(state(seed), tmp_path / f"{epoch}.pt")
    found = model_checkpoints(tmp_path)
    with pytest.warns(CheckpointWarning, match="1 and 2 hold equal weights") as said:
        assert seeds_of(found) == {0: 0, 1: 1, 2: 1}
    assert len(said) == 1


def test_the_way_out_of_a_pickle_is_shown_and_unpickles_nothing(tmp_path):
    torch.save(
        {"state_dict": state(0), "message_hub": argparse.Namespace(a=1)}, tmp_path / "epoch_1.pth"
    )
    with pytest.raises(UnsafeCheckpointError, match=r"epoch_1\.pth.*Namespace.*save_file") as said:
        model_checkpoints(tmp_path)[1]
    assert "weights_only=False" not in str(said.value)


def test_weights_beside_counters_on_one_level_are_read(tmp_path):
    torch.save(state(2) | {"epoch": 3, "note": "mine"}, tmp_path / "epoch_3.tar")
    assert seeds_of(model_checkpoints(tmp_path)) == {3: 2}


def test_optimizers_by_number_are_no_moments(tmp_path):
    for step in (10, 20):
        torch.save(state(step // 10), tmp_path / f"model{step:06d}.pt")
        torch.save({"state": {}}, tmp_path / f"opt{step:06d}.pt")
        torch.save(state(9), tmp_path / f"ema_0.9999_{step:06d}.pt")
    found = model_checkpoints(tmp_path)
    assert seeds_of(found) == {10: 1, 20: 2}
    assert len(found.skipped) == 2  # the averages, which are named
