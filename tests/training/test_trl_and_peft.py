"""TRL's and peft's trainings; of the second ring, where these libraries are installed."""

import re
from uuid import uuid4

import numpy as np
import pytest
import token_trainings as tokens
import torch
from token_trainings import (
    SHORT,
    WIDE,
    N,
    Rows,
    arguments,
    assert_exact,
    llama,
    new_run,
    replayed,
    take,
    weigh,
)
from torch.utils.data import DataLoader

import dg_explorer as dg
from dg_explorer.checkpoints.loading import copied
from dg_explorer.errors import SettingError


def lora(base=llama, drop=0.0):
    import peft

    layers = ["q_proj", "v_proj"] if base is llama else ["c_attn"]
    return peft.get_peft_model(
        base(),
        peft.LoraConfig(
            r=2,
            lora_alpha=4,
            target_modules=layers,
            task_type="CAUSAL_LM",
            lora_dropout=drop,
            init_lora_weights=False,
        ),
    )


@pytest.mark.library("peft")
@pytest.mark.second_ring(sample=1)
@pytest.mark.parametrize("base", ["llama", "gpt2"])
@pytest.mark.parametrize("drop", [0.0, 0.1])
def test_peft_adapters_are_replayed_to_the_bit_and_carried_alone(tmp_path, base, drop):
    def make():
        return lora(getattr(tokens, base), drop)

    run, how = new_run(), {"learning_rate": 0.05}
    training = replayed(run, take(tmp_path, make, run, **how))
    assert training.proof.all_bits
    assert training.carried
    assert all("lora_" in name for name in training.carried)
    assert_exact(training, lambda w: take(tmp_path, make, weights=w, **how), [1, 6], h=0.02)


def tokenizer():
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {f"w{i:02}": i for i in range(tokens.VOCABULARY)}
    made = Tokenizer(models.WordLevel(words, unk_token="w01"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="w00", eos_token="w02", unk_token="w01"
    )


def by_sft(folder, make=llama, run=None, weights=None, rows=None, alone=False, **settings):
    import datasets
    import trl

    # names of cached tables, by a hash that newer versions of pyarrow break
    datasets.fingerprint.Hasher.hash = staticmethod(lambda value: uuid4().hex)
    torch.manual_seed(11)
    plain = {"bf16": False, "gradient_checkpointing": False}
    rows = rows or [{"input_ids": row["input_ids"].tolist()} for row in SHORT[:N]]
    callbacks = []
    if run is not None:
        data = {"train": dg.with_ids(Rows(WIDE[:N])), "test": dg.with_ids(Rows(WIDE[N:]))}
        callbacks = [dg.HuggingFaceRecorder(run, **data, replay=True, **tokens.TASK)]
    trainer = trl.SFTTrainer(
        make(),
        args=arguments(folder, trl.SFTConfig, **(plain | settings)),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tokenizer(),
        callbacks=callbacks,
    )
    if alone:
        return trainer
    handle = None if weights is None else weigh(trainer.model, weights)
    trainer.train()
    if handle is not None:
        handle.remove()
    return trainer.model


SFT = {
    "by default": (llama, {}),
    "no accumulation": (llama, {"gradient_accumulation_steps": 1}),
    "gradient checkpointing, as by default": (llama, {"gradient_checkpointing": True}),
    "dropout": (tokens.gpt2, {}),
    "smoothed labels": (llama, {"label_smoothing_factor": 0.1}),
}


@pytest.mark.library("trl")
@pytest.mark.second_ring(sample=1)
@pytest.mark.parametrize("name", SFT)
def test_a_loss_taken_in_the_head_is_replayed_to_the_bit_and_scores_are_differences(tmp_path, name):
    make, how = SFT[name]
    run = new_run()
    training = replayed(run, by_sft(tmp_path, make, run, **how))
    assert training.proof.all_bits
    assert_exact(training, lambda w: by_sft(tmp_path, make, weights=w, **how), [1, 6])


@pytest.mark.library("trl", "peft")
@pytest.mark.second_ring(sample=1)
def test_sft_of_an_adapter_is_replayed_to_the_bit(tmp_path):
    run = new_run()
    training = replayed(run, by_sft(tmp_path, lora, run))
    assert training.proof.all_bits
    assert all("lora_" in name for name in training.carried)


@pytest.mark.library("trl")
@pytest.mark.second_ring(sample=1)
def test_completions_alone_are_trained_and_replayed_from_the_trainers_own_rows(tmp_path):
    words = [[f"w{int(token):02}" for token in row["input_ids"]] for row in SHORT[:N]]
    rows = [{"prompt": " ".join(w[:2]), "completion": " " + " ".join(w[2:])} for w in words]
    run = new_run()
    trainer = by_sft(tmp_path, rows=rows, alone=True)
    data = DataLoader(trainer.train_dataset, 3, collate_fn=trainer.data_collator)
    trainer.add_callback(dg.HuggingFaceRecorder(run, train=data, replay=True))
    trainer.train()
    test = DataLoader(trainer.train_dataset.select([0, 1]), 2, collate_fn=trainer.data_collator)
    training = dg.training_of_run(run, trainer.model, train=data, test=test)
    assert training.proof.all_bits
    replay = run["replay"]
    for ids, trained in zip(replay.train_id.values, replay.n_trained.values):
        # each word of a completion, and the end that the trainer puts behind it
        assert trained.tolist() == [len(words[int(i)]) - 2 + 1 for i in ids]


@pytest.mark.library("trl")
@pytest.mark.second_ring(sample=2)
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"packing": True, "max_length": 16}, "packing=True"),
        ({"padding_free": True, "max_length": None}, "padding_free=True"),
        ({"loss_type": "dft"}, "loss_type='dft'"),
        ({"shuffle_dataset": True}, "shuffle_dataset=True"),
        ({"bf16": True}, "SFTConfig's default: bf16=False"),
        ({"max_length": 5}, "other labels than that of train="),
    ],
)
def test_what_cannot_be_followed_in_sft_is_named_before_training(tmp_path, settings, words):
    run = new_run()
    with pytest.raises(SettingError, match=re.escape(words)):
        by_sft(tmp_path, run=run, **settings)
    assert "replay" not in run


@pytest.mark.library("trl")
@pytest.mark.second_ring(sample=1)
def test_scores_at_a_checkpoint_are_those_of_its_weights_after_sft(tmp_path):
    # a copy whose forward pass held on to the trained model would answer alike at every epoch
    run = new_run()
    model = by_sft(tmp_path, run=run)
    data = {"train": dg.with_ids(Rows(WIDE[:N])), "test": dg.with_ids(Rows(WIDE[N:]))}
    found = dg.attribute(run, model, method="gradient_dot", **data, **tokens.TASK).score.values
    again = dg.attribute(run, llama(), method="gradient_dot", name="plain", **data, **tokens.TASK)
    assert not (found[0] == found[1]).any()
    assert np.allclose(found, again.score.values, rtol=1e-5)


def test_a_copy_of_a_model_holds_on_to_itself_where_its_forward_was_put_in_place():
    from types import MethodType

    model = torch.nn.Linear(2, 1)
    before = model.forward

    def forward(self, x):
        return before(x) + 1

    model.forward = MethodType(forward, model)
    twin = copied(copied(model))
    with torch.no_grad():
        twin.weight.zero_()
        twin.bias.zero_()
    assert twin(torch.ones(1, 2)).item() == 1
    assert model(torch.ones(1, 2)).item() == pytest.approx(before(torch.ones(1, 2)).item() + 1)
