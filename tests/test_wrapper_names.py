"""Weights find their place whatever wrappers put into their names, or the choice is asked for."""

import inspect
import warnings
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import dg_explorer as dg
from dg_explorer.arguments import unwrapped
from dg_explorer.checkpoints import load_into, load_weights
from dg_explorer.checkpoints.reading import CheckpointWarning
from dg_explorer.errors import ArchitectureMismatchError, CheckpointError, SettingError


class Net(nn.Module):
    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.encoder = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        self.head = nn.Linear(4, 2)


class Holder(nn.Module):
    def __init__(self, seed=0):
        super().__init__()
        self.model = Net(seed)


def inside(word):
    return lambda name: name.replace("encoder.", f"encoder.{word}.")


# what a checkpoint calls a weight, from what the network calls it
NAMES = {
    "data parallel": lambda n: f"module.{n}",
    "compiled": lambda n: f"_orig_mod.{n}",
    "compiled in data parallel": lambda n: f"module._orig_mod.{n}",
    "data parallel in compiled": lambda n: f"_orig_mod.module.{n}",
    "an attribute in data parallel": lambda n: f"model.module.{n}",
    "data parallel in an attribute": lambda n: f"module.model.{n}",
    "an attribute of another name": lambda n: f"network.{n}",
    "two attributes": lambda n: f"system.net.{n}",
    "a compiled part": inside("_orig_mod"),
    "a part in data parallel": inside("module"),
    "a part with activation checkpointing": inside("_checkpoint_wrapped_module"),
    "fully sharded": lambda n: f"_fsdp_wrapped_module.{inside('_fsdp_wrapped_module')(n)}",
    "inside and outside": lambda n: f"module.model._orig_mod.{inside('_orig_mod')(n)}",
    "lightning's fabric": lambda n: f"_forward_module.{n}",
}


def same(model, source):
    own = model.state_dict()
    return all(torch.equal(own[k], v) for k, v in source.items())


@pytest.mark.parametrize("wrapped", NAMES)
@pytest.mark.parametrize("target", [Net, Holder])
def test_one_renaming_that_fits_is_used_and_said(wrapped, target):
    source, model = target(1).state_dict(), target(0)
    stored = {NAMES[wrapped](k): v for k, v in Net(1).state_dict().items()}
    told = load_into(model, stored)
    assert same(model, source)
    assert "of the checkpoint is" in told


def test_the_models_own_names_are_taken_as_they_are():
    model = Holder(0)
    assert load_into(model, Holder(1).state_dict()) == ""
    assert same(model, Holder(1).state_dict())


def test_a_wrapped_model_takes_the_weights_of_a_bare_one():
    model = nn.DataParallel(Net(0))
    load_into(model, Net(1).state_dict())
    assert same(model.module, Net(1).state_dict())


def test_data_parallel_wrappers_come_off_in_any_order():
    model = Net(0)
    data_parallel = type("DistributedDataParallel", (nn.DataParallel,), {})
    compiled = SimpleNamespace(_orig_mod=model)  # as torch.compile names what it holds
    assert unwrapped(nn.DataParallel(model)) is model
    assert unwrapped(SimpleNamespace(_orig_mod=data_parallel(model))) is model
    for alone in (model, compiled, None):
        assert unwrapped(alone) is alone


def test_whatever_takes_a_model_takes_the_one_in_the_wrapper(tmp_path):
    run = dg.Run.create(tmp_path / "run", name="wrapped")
    dg.save_checkpoint(run, 0, nn.DataParallel(Net(0)))
    assert load_weights(run, 0).keys() == Net(0).state_dict().keys()
    taken = 0
    for name in dg.__all__:
        public = getattr(dg, name)
        function = public.__init__ if inspect.isclass(public) else public
        if name == "Training" or not callable(function):
            continue  # which takes a function that makes models
        if "model" in inspect.signature(function).parameters:
            assert hasattr(function, "__wrapped__"), f"{name} does not take wrappers off"
            taken += 1
    assert taken > 10


def test_what_belongs_to_the_criterion_is_left_out_and_said():
    stored = {f"model.{k}": v for k, v in Net(1).state_dict().items()}
    stored |= {"criterion.weight": torch.ones(2), "n_averaged": torch.tensor(3)}
    model = Net(0)
    assert "left out: criterion.weight, n_averaged" in load_into(model, stored)
    assert same(model, Net(1).state_dict())


def test_two_networks_in_one_checkpoint_are_asked_about():
    stored = {f"student.{k}": v for k, v in Net(1).state_dict().items()}
    stored |= {f"teacher.{k}": v for k, v in Net(2).state_dict().items()}
    model = Net(0)
    with pytest.raises(CheckpointError, match=r"prefix='student\.' or prefix='teacher\.'"):
        load_into(model, stored)
    assert same(model, Net(0).state_dict())
    load_into(model, stored, prefix="teacher.")
    assert same(model, Net(2).state_dict())
    with pytest.raises(CheckpointError, match=r"begin with student\., teacher\."):
        load_into(model, stored, prefix="net.")


@pytest.mark.parametrize("word", ["", "module.", "_orig_mod."])
def test_a_copy_beside_a_network_of_the_models_own_names_is_left_out_and_said(word):
    trained, averaged = Net(1).state_dict(), Net(2).state_dict()
    both = {word + k: v for k, v in trained.items()}
    both |= {f"{word}ema.{k}": v for k, v in averaged.items()}
    model = Net(3)
    with pytest.warns(CheckpointWarning, match="holds more than this Net"):
        assert "ema.encoder" in load_into(model, both)
    assert same(model, trained)
    load_into(model, both, prefix=f"{word}ema.")
    assert same(model, averaged)


def test_imaginary_parts_are_not_dropped():
    state = Net(1).state_dict()
    state["head.bias"] = state["head.bias"] + 1j
    with pytest.raises(
        ArchitectureMismatchError, match="complex in the checkpoint, real in the model: head"
    ):
        load_into(Net(2), state)


def test_weights_without_values_or_size_are_named():
    with pytest.raises(CheckpointError, match="meta device"):
        load_into(Net(1), {k: v.to("meta") for k, v in Net(2).state_dict().items()})
    with pytest.raises(SettingError, match="call the model on one batch"):
        load_into(nn.Sequential(nn.LazyLinear(4)), {"0.weight": torch.ones(4, 3)})


def test_shapes_tell_two_networks_apart():
    stored = {f"small.{k}": v for k, v in nn.Linear(3, 2).state_dict().items()}
    stored |= {f"large.{k}": v for k, v in nn.Linear(5, 2).state_dict().items()}
    model = nn.Linear(5, 2)
    with pytest.warns(CheckpointWarning, match=r"left out: small\.weight, small\.bias"):
        load_into(model, stored)
    assert torch.equal(model.weight, stored["large.weight"])


def test_layers_that_the_model_lacks_are_no_matter_of_names():
    stored = {f"module.{k}": v for k, v in Net(1).state_dict().items()}
    stored["module.extra.weight"] = torch.ones(2, 2)
    with pytest.raises(ArchitectureMismatchError, match=r"only in the checkpoint: .*extra\.weight"):
        load_into(Net(0), stored)


def test_a_wrapped_checkpoint_of_other_shapes_names_the_shapes():
    stored = {f"module.{k}": v for k, v in Net(1).state_dict().items()}
    stored["module.head.weight"] = torch.ones(3, 4)
    with pytest.raises(ArchitectureMismatchError, match=r"head\.weight: \(3, 4\) in the check"):
        load_into(Net(0), stored)


def test_a_tied_weight_saved_once_is_there_for_both_names():
    class Tied(nn.Module):
        def __init__(self, seed):
            super().__init__()
            torch.manual_seed(seed)
            self.embed = nn.Embedding(5, 3)
            self.out = nn.Linear(3, 5, bias=False)
            self.out.weight = self.embed.weight

    for kept in ("embed.weight", "out.weight"):
        model = Tied(0)
        load_into(model, {f"module.{kept}": Tied(1).out.weight.detach()})
        assert torch.equal(model.embed.weight, Tied(1).out.weight)


class Adapted(nn.Module):
    """Named as peft names a linear layer with an adapter and a head that is saved whole."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        query, head = nn.Module(), nn.Module()
        query.base_layer = nn.Linear(4, 4)
        query.lora_A = nn.ModuleDict({"default": nn.Linear(4, 1, bias=False)})
        query.lora_B = nn.ModuleDict({"default": nn.Linear(1, 4, bias=False)})
        head.original_module = nn.Linear(4, 2)
        head.modules_to_save = nn.ModuleDict({"default": nn.Linear(4, 2)})
        inner = nn.Module()
        inner.query, inner.head = query, head
        self.base_model = nn.Module()
        self.base_model.model = inner


def saved_adapter(model):
    """What peft writes: adapters and whole modules, without the name of the adapter."""
    return {
        k.replace(".default", "").replace(".modules_to_save", ""): v
        for k, v in model.state_dict().items()
        if ".default." in k
    }


def test_adapters_are_loaded_onto_their_model_and_leave_the_base():
    model, stored = Adapted(0), saved_adapter(Adapted(1))
    assert len(stored) == 4
    load_into(model, stored)
    for name, tensor in model.state_dict().items():
        trained = ".default." in name
        assert torch.equal(tensor, Adapted(int(trained)).state_dict()[name]), name


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_whole_state_of_an_adapted_model_is_loaded_whole(prefix):
    model, source = Adapted(0), Adapted(1).state_dict()
    load_into(model, {prefix + k: v for k, v in source.items()})
    assert same(model, source)


def test_adapters_for_a_bare_model_say_what_to_pass():
    with pytest.raises(ArchitectureMismatchError, match=r"peft\.PeftModel\.from_pretrained"):
        load_into(Net(0), saved_adapter(Adapted(1)))


def test_nothing_is_said_of_plain_wrappers_in_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_into(Net(0), {f"module.{k}": v for k, v in Net(1).state_dict().items()})


def test_weights_by_keras_names_say_how_to_get_torchs():
    with pytest.raises(ArchitectureMismatchError, match=r"load_weights.*torch\.save"):
        load_into(Net(0), {"layers/dense/vars/0": torch.ones(3, 4)})
