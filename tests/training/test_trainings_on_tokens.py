"""Language models that transformers' trainer trained, to the bit and against its differences."""

import re

import pytest
import token_trainings as tokens
import torch
from token_trainings import SHORT, N, assert_exact, gpt2, llama, new_run, padded, replayed, take
from torch import nn

import dg_explorer as dg
from dg_explorer.errors import SettingError
from dg_explorer.tasks.tokens import LanguageModelingTask
from dg_explorer.training.from_run import ReplayMissingError


class Adapted(nn.Module):
    """A linear layer that stands still, and a low-rank one beside it that learns."""

    def __init__(self, plain, rank=2):
        super().__init__()
        self.plain, self.drop = plain, nn.Dropout(0.1)
        self.down = nn.Parameter(torch.randn(rank, plain.in_features) / 3)
        self.up = nn.Parameter(torch.randn(plain.out_features, rank) / 3)

    def forward(self, x):
        return self.plain(x) + self.drop(x) @ self.down.T @ self.up.T


def adapted():
    model = llama()
    model.requires_grad_(False)
    for layer in model.model.layers:
        layer.self_attn.q_proj = Adapted(layer.self_attn.q_proj)
        layer.self_attn.v_proj = Adapted(layer.self_attn.v_proj)
    return model


def test_smoothed_labels_are_replayed_to_the_bit_and_scores_are_the_trainers_differences(tmp_path):
    run, how = new_run(), {"label_smoothing_factor": 0.2}
    with pytest.warns(UserWarning, match=r"smoothed by 0\.2"):
        model = take(tmp_path, llama, run, **how)
    training = replayed(run, model)
    assert training.proof.all_bits
    assert run.attrs["trained_loss"]["smoothing"] == 0.2
    assert_exact(training, lambda w: take(tmp_path, llama, weights=w, **how), [1])


CASES = {
    "llama in double precision": (lambda: llama().double(), {}),
    "an adapter with dropout": (adapted, {}),
    "attention that drops": (lambda: llama(attention_dropout=0.2), {}),
    "dropout, and batches as wide as their longest example": (
        gpt2,
        {"rows": SHORT, "collate": padded},
    ),
    "smoothed labels in such batches": (
        llama,
        {"rows": SHORT, "collate": padded, "label_smoothing_factor": 0.1},
    ),
    "gradient checkpointing": (llama, {"gradient_checkpointing": True}),
    "examples of one length together": (llama, {"train_sampling_strategy": "group_by_length"}),
    "no accumulation, and a warm-up": (
        llama,
        {"gradient_accumulation_steps": 1, "warmup_steps": 2, "lr_scheduler_type": "cosine"},
    ),
}


@pytest.mark.second_ring(sample=1)
@pytest.mark.parametrize("name", CASES)
def test_a_language_model_is_replayed_to_the_bit_and_scores_are_differences(tmp_path, name):
    make, how = CASES[name]
    run = new_run()
    training = replayed(run, take(tmp_path, make, run, **how))
    assert training.proof.all_bits
    if name == "an adapter with dropout":
        assert training.carried == {
            f"model.layers.0.self_attn.{layer}.{part}"
            for layer in ("q_proj", "v_proj")
            for part in ("down", "up")
        }
    assert_exact(training, lambda w: take(tmp_path, make, weights=w, **how), [1, 6])


class Mine:
    """A class of one's own, which transformers does not have among its causal models."""

    def __new__(cls):
        kind = type(llama())
        return type("Mine", (kind,), {})(llama().config)


def test_smoothed_labels_that_the_trainer_does_not_shift_are_refused_before_training(tmp_path):
    run = new_run()
    with pytest.raises(SettingError, match="trained to repeat the token it reads"):
        take(tmp_path, Mine, run, label_smoothing_factor=0.1)
    assert "replay" not in run


@pytest.mark.second_ring(sample=1)
def test_padding_before_the_tokens_batch_by_batch_is_refused(tmp_path):
    run = new_run()

    def collate(rows):
        return padded(rows, before=True)

    model = llama()
    wide = [{k: v[0] for k, v in padded([row], 8, before=True).items()} for row in SHORT]
    data = {"train": dg.with_ids(tokens.Rows(wide[:N])), "test": dg.with_ids(tokens.Rows(wide[N:]))}
    import transformers

    recorder = dg.HuggingFaceRecorder(
        run, **data, replay=True, task=LanguageModelingTask(left_padding="count")
    )
    transformers.Trainer(
        model,
        tokens.arguments(tmp_path),
        train_dataset=tokens.Rows([row | {"labels": row["labels"]} for row in SHORT[:N]]),
        data_collator=collate,
        callbacks=[recorder],
    ).train()
    with pytest.raises(ReplayMissingError, match="padding stands before the tokens"):
        dg.training_of_run(run, model, **data, task=LanguageModelingTask(left_padding="count"))


def test_other_examples_than_those_trained_on_are_named_before_training(tmp_path):
    run, others = new_run(), list(reversed(tokens.WIDE[:N]))
    with pytest.raises(SettingError, match=re.escape("other labels than that of train=")):
        take(tmp_path, llama, run, rows=others)
    assert "metrics" not in run
