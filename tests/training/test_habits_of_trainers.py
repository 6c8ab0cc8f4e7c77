"""Settings and accidents that trainings by transformers' trainer have, one at a time."""

import re

import numpy as np
import pytest
import torch
from test_in_trainers import (
    HOW,
    TEST,
    TRAIN,
    Net,
    Rows,
    X,
    Y,
    by_transformers,
    new_run,
    replayed,
    scores,
)
from torch.utils.data import IterableDataset

import dg_explorer as dg
from dg_explorer.errors import SettingError

SETTINGS = {
    "a warm-up, whose first rate is 0": {"warmup_steps": 2, "lr_scheduler_type": "cosine"},
    "transformers' own Adafactor": {"optim": "adafactor"},
    "Adagrad, which remembers from the beginning": {"optim": "adagrad"},
}


@pytest.mark.second_ring(sample=1)
@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_of_the_trainer_is_replayed_to_the_bit(tmp_path, name):
    run = new_run()
    training = replayed(run, by_transformers(tmp_path, run=run, **SETTINGS[name]))
    assert np.abs(scores(training, "reverse")).max() > 0


class Stream(IterableDataset):
    def __iter__(self):
        return iter([{"inputs": x, "labels": y} for x, y in zip(X, Y, strict=True)])


@pytest.mark.parametrize(
    ("rows", "argument", "words"),
    [
        (None, {"torch_compile": True, "torch_compile_backend": "eager"}, "torch_compile=True"),
        (Stream(), {"max_steps": 4}, "an iterable dataset"),
    ],
)
def test_what_cannot_be_followed_is_named_before_training(tmp_path, rows, argument, words):
    import transformers

    run = new_run()
    recorder = dg.HuggingFaceRecorder(run, train=TRAIN, test=TEST, replay=True, **HOW)
    usual = {"output_dir": str(tmp_path), "report_to": [], "use_cpu": True, "save_strategy": "no"}
    trainer = transformers.Trainer(
        Net(),
        transformers.TrainingArguments(**usual, **argument),
        train_dataset=rows or Rows(X, Y),
        callbacks=[recorder],
    )
    with pytest.raises(SettingError, match=re.escape(words)):
        trainer.train()
    assert "replay" not in run


class Full(Net):
    """Runs out of memory once, at some pass of the training."""

    left = 0

    def forward(self, inputs, labels=None, weight=None):
        if self.training and labels is not None:
            type(self).left -= 1
            if type(self).left == 0:
                raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().forward(inputs, labels, weight)


SMALLER = {"auto_find_batch_size": True, "per_device_train_batch_size": 4}


@pytest.mark.second_ring(sample=1)
def test_a_second_try_with_smaller_batches_takes_the_place_of_the_first(tmp_path):
    run = new_run()
    Full.left = 1
    training = replayed(run, by_transformers(tmp_path, Full, run=run, **SMALLER))
    assert max(len(batch) for batch in training.own.steps.batches) == 6  # two of 3, not of 4


@pytest.mark.second_ring(sample=1)
def test_a_second_try_from_trained_weights_is_named_before_it(tmp_path):
    run = new_run()
    Full.left = 9  # in the second epoch
    with pytest.raises(SettingError, match="a second try of auto_find_batch_size"):
        by_transformers(tmp_path, Full, run=run, **SMALLER)


@pytest.mark.second_ring(sample=1)
@pytest.mark.parametrize("skips", [True, False])
def test_a_training_resumed_inside_its_first_epoch_is_replayed_whole(tmp_path, skips):
    run = new_run()
    how = {"save_strategy": "steps", "save_steps": 1, "ignore_data_skip": not skips}
    by_transformers(tmp_path, run=run, num_train_epochs=1, **how)
    model = by_transformers(tmp_path, run=run, resume=str(tmp_path / "checkpoint-1"), **how)
    training = dg.training_of_run(run, model, train=TRAIN, test=TEST, **HOW)
    assert training.proof.all_bits
    # the batches that were trained on already come again, so that the second epoch is cut short
    assert run["metrics"].epoch.values.tolist() == ([1, 2] if skips else [1])
    seen = np.sort(np.concatenate(training.own.steps.batches[:3]))
    assert (seen.tolist() == list(range(len(Y)))) == skips
