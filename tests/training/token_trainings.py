"""Small trainings on tokens by transformers' trainer, and what single examples change in them."""

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

import dg_explorer as dg
from dg_explorer.attribution.unrolled.attributor import UnrolledAttributor

N, M, VOCABULARY = 8, 2, 20
G = torch.Generator().manual_seed(6)
# the width of a batch that is padded to its longest example then differs from batch to batch
LENGTHS = (4, 8, 5, 3, 6, 4, 7, 3, 5, 8)
TOKENS = [torch.randint(3, VOCABULARY, (n,), generator=G) for n in LENGTHS]


class Rows(Dataset):
    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.rows[i]


def padded(rows, width=None, before=False):
    """A batch, as wide as its longest row."""
    width = width or max(len(row["input_ids"]) for row in rows)
    fill = {"input_ids": 0, "attention_mask": 0, "labels": -100}
    batch = {}
    for name, value in fill.items():
        columns = [torch.as_tensor(row[name]) for row in rows]
        sides = [(width - len(c), 0) if before else (0, width - len(c)) for c in columns]
        batch[name] = torch.stack(
            [F.pad(c, side, value=value) for c, side in zip(columns, sides, strict=True)]
        )
    return batch


SHORT = [{"input_ids": t, "attention_mask": torch.ones_like(t), "labels": t} for t in TOKENS]
WIDE = [{name: value[0] for name, value in padded([row], max(LENGTHS)).items()} for row in SHORT]
TASK = {"task": "language_modeling"}


def llama(**settings):
    import transformers

    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=8,
            intermediate_size=12,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=16,
            pad_token_id=0,
            **settings,
        )
    )


def gpt2():
    """With dropout, as it is by default."""
    import transformers

    torch.manual_seed(0)
    small = {"n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 16}
    ends = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=VOCABULARY, **small, **ends)
    )


def arguments(folder, kind=None, **settings):
    import transformers

    transformers.logging.set_verbosity_error()
    usual = {
        "num_train_epochs": 2,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "learning_rate": 0.02,
        "adam_epsilon": 1e-2,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
    }
    kind = kind or transformers.TrainingArguments
    return kind(output_dir=str(folder), **(usual | settings))


def weigh(model, weights, rows=WIDE):
    """Have each example's part of the gradient multiplied by its weight, whoever takes the loss."""
    whose = {tuple(row["input_ids"].tolist()): i for i, row in enumerate(rows[:N])}
    width = len(rows[0]["input_ids"])

    def after(module, inputs, keywords, returned):
        answers = returned.get("logits", returned.get("log_probs"))
        if answers is None or not answers.requires_grad:
            return
        tokens = keywords["input_ids"]
        tokens = F.pad(tokens, (0, width - tokens.shape[1])).tolist()
        own = torch.tensor([weights[whose[tuple(row)]] for row in tokens]).to(answers)
        answers.register_hook(lambda slope: slope * own.view(-1, *[1] * (slope.ndim - 1)))

    return model.register_forward_hook(after, with_kwargs=True)


def new_run(**settings):
    examples = {"train_examples": {"n": np.arange(N)}, "test_examples": {"n": np.arange(M)}}
    return dg.Run.create(name="run", **examples, **settings)


def take(folder, make, run=None, weights=None, rows=WIDE, collate=None, **settings):
    """Train by `transformers.Trainer`; records into a run, or weighs the examples."""
    import transformers

    torch.manual_seed(11)
    model = make()
    callbacks = []
    if run is not None:
        data = {"train": dg.with_ids(Rows(WIDE[:N])), "test": dg.with_ids(Rows(WIDE[N:]))}
        callbacks = [dg.HuggingFaceRecorder(run, **data, replay=True, **TASK)]
    handle = None if weights is None else weigh(model, weights)
    transformers.Trainer(
        model,
        arguments(folder, **settings),
        train_dataset=Rows(rows[:N]),
        data_collator=collate,
        callbacks=callbacks,
    ).train()
    if handle is not None:
        handle.remove()
    return model


def replayed(run, model):
    data = {"train": dg.with_ids(Rows(WIDE[:N])), "test": dg.with_ids(Rows(WIDE[N:]))}
    training = dg.training_of_run(run, model, **data, **TASK)
    assert str(training.proof) == "2 of 2 segments proved"
    return training


def outputs(training, model):
    """The attributed output of the test examples by a trained model."""
    batch = padded(WIDE[N:])
    labels = batch.pop("labels")
    with torch.no_grad():
        return training.output(model.eval()(**batch).logits.double(), labels)


def assert_exact(training, train, examples, h=0.004, tolerance=1e-3):
    """The scores are central differences of the very trainer, in single precision."""
    attributor = UnrolledAttributor(training, mode="reverse")
    last = training.recorded_epochs()[-1]
    found = attributor.attribute(epochs=[last]).score.values[0][:, examples]
    wanted = []
    for i in examples:
        ends = []
        for sign in (1, -1):
            weights = np.ones(N)
            weights[i] += sign * h
            ends.append(outputs(training, train(weights)))
        wanted.append(((ends[0] - ends[1]) / (2 * h)).numpy())
    wanted = np.stack(wanted, 1)
    assert np.abs(wanted).max() > 1e-3
    assert np.abs(found - wanted).max() < tolerance * np.abs(wanted).max()
