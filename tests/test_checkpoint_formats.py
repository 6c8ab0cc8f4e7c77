"""Every format of DESIGN.md is read, sorted by number, and nothing is unpickled."""

import argparse
import json
import os

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dg_explorer.checkpoints.formats import model_checkpoints
from dg_explorer.errors import CheckpointError, UnsafeCheckpointError


def net(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("key", [None, "model", "state_dict", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model.", "module._orig_mod."])
@pytest.mark.parametrize("name", ["{}.pth", "model_epoch_{}.pt", "run2_epoch={}-step=9{}.ckpt"])
def test_numbered_files_are_sorted_by_number_and_stripped(tmp_path, key, prefix, name):
    for epoch in (100, 20, 3):
        state = {prefix + k: v for k, v in net(epoch).state_dict().items()}
        torch.save(
            {key: state, "epoch": epoch} if key else state, tmp_path / name.format(epoch, epoch)
        )
    found = model_checkpoints(tmp_path)
    assert list(found) == [3, 20, 100]
    assert all(same(found[e], net(e).state_dict()) for e in found)


def test_files_without_a_number_are_set_aside_and_named(tmp_path):
    for name in ("1.pth", "best.pth", "notes.txt"):
        torch.save(net(1).state_dict(), tmp_path / name)
    found = model_checkpoints(tmp_path)
    assert list(found) == [1]
    assert found.skipped == ["best.pth"]


def test_several_checkpoints_of_one_epoch_are_told_apart_by_step(tmp_path):
    for step in (50, 100, 150):
        torch.save(net(step).state_dict(), tmp_path / f"epoch=0-step={step}.ckpt")
    assert list(model_checkpoints(tmp_path)) == [50, 100, 150]


def test_two_files_with_one_number_are_refused_by_name(tmp_path):
    for name in ("a_5.pt", "b_5.pt"):
        torch.save(net(5).state_dict(), tmp_path / name)
    with pytest.raises(CheckpointError, match=r"a_5.pt and b_5.pt"):
        model_checkpoints(tmp_path)


def test_a_list_of_state_dicts_in_one_file_uses_the_epochs_it_brings(tmp_path):
    states = [net(e).state_dict() for e in (0, 100, 200)]
    torch.save({"state_dicts": states, "epochs": [0, 100, 200]}, tmp_path / "full_run.pth")
    torch.save(states, tmp_path / "bare.pth")
    assert list(model_checkpoints(tmp_path / "full_run.pth")) == [0, 100, 200]
    assert list(model_checkpoints(tmp_path / "bare.pth")) == [0, 1, 2]
    named = model_checkpoints(tmp_path / "bare.pth", epochs=[5, 6, 7])
    assert same(named[6], net(100).state_dict())


def test_hugging_face_folders_whole_and_sharded_give_the_same_weights(tmp_path):
    for step in (1000, 500):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        state = net(step).state_dict()
        torch.save({"state": 1}, folder / "optimizer.pt")
        if step == 500:
            save_file(state, folder / "model.safetensors")
            continue
        names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
        where = {k: names[i % 2] for i, k in enumerate(state)}
        for name in names:
            save_file({k: state[k] for k in state if where[k] == name}, folder / name)
        index = {"metadata": {}, "weight_map": where}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    found = model_checkpoints(tmp_path)
    assert list(found) == [500, 1000]
    assert same(found[500], net(500).state_dict())
    assert {k: v.tolist() for k, v in found[1000].items()} == {
        k: v.tolist() for k, v in net(1000).state_dict().items()
    }
    assert list(model_checkpoints(tmp_path / "checkpoint-500")) == [500]
    (tmp_path / "checkpoint-1000" / names[1]).unlink()
    with pytest.raises(CheckpointError, match="model-00002-of-00002"):
        found[1000]


def test_a_folder_of_safetensors_is_read(tmp_path):
    for epoch in (10, 9):
        save_file(net(epoch).state_dict(), tmp_path / f"weights_{epoch}.safetensors")
    assert same(model_checkpoints(tmp_path)[9], net(9).state_dict())


def test_a_mapping_takes_models_state_dicts_and_paths(tmp_path):
    torch.save(net(3).state_dict(), tmp_path / "any.pt")
    found = model_checkpoints({7: net(7), 3: tmp_path / "any.pt", 5: net(5).state_dict()})
    assert list(found) == [3, 5, 7]
    assert all(same(found[e], net(e).state_dict()) for e in found)


def test_nothing_is_read_before_it_is_asked_for(tmp_path):
    torch.save(net(1).state_dict(), tmp_path / "1.pt")
    (tmp_path / "2.pt").write_bytes(b"broken")
    found = model_checkpoints(tmp_path)
    assert same(found[1], net(1).state_dict())
    with pytest.raises(CheckpointError, match=r"2\.pt cannot be read|2\.pt needs unpickling"):
        found[2]


def test_what_needs_unpickling_is_refused_and_never_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    torch.save({"model": net(0).state_dict(), "args": argparse.Namespace(lr=1)}, tmp_path / "1.pt")
    torch.save({"model": net(0).state_dict(), "x": Bomb()}, tmp_path / "2.pt")
    found = model_checkpoints(tmp_path)
    with pytest.raises(UnsafeCheckpointError, match=r"argparse\.Namespace.*save_file"):
        found[1]
    with pytest.raises(UnsafeCheckpointError, match="mkdir"):
        found[2]
    assert not (tmp_path / "exploded").exists()


def test_what_is_no_checkpoint_says_what_it_is_instead(tmp_path):
    with pytest.raises(CheckpointError, match="no file or folder"):
        model_checkpoints(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="no numbered checkpoint"):
        model_checkpoints(tmp_path)
    torch.save({"losses": [1.0], "note": "hello"}, tmp_path / "1.pt")
    with pytest.raises(CheckpointError, match="keys are losses, note"):
        model_checkpoints(tmp_path)[1]


@pytest.mark.parametrize("key", [0.5, "late", None, float("nan")])
def test_a_key_that_is_no_whole_number_is_refused_and_not_rounded(key):
    with pytest.raises(CheckpointError, match="no moment"):
        model_checkpoints({key: net(0), 1: net(1)})


def test_names_in_capitals_and_an_empty_file_are_read_as_any_other(tmp_path):
    torch.save(net(1).state_dict(), tmp_path / "Epoch_1.PTH")
    (tmp_path / "Epoch_2.PTH").write_bytes(b"")
    found = model_checkpoints(tmp_path)
    assert same(found[1], net(1).state_dict())
    with pytest.raises(CheckpointError, match="0 bytes"):
        found[2]
