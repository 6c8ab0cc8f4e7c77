"""What an example weighs in the steps of trainers: by autograd, by rule, and in the record."""

import dataclasses
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from token_trainings import Rows
from torch import nn

import dg_explorer as dg
from dg_explorer.attribution.unrolled.attributor import UnrolledAttributor
from dg_explorer.errors import SettingError
from dg_explorer.training.loss.trained_loss import Denominators, rules_of_weights
from dg_explorer.training.step.by_hand import OptimizerSettings
from dg_explorer.training.training import Training

N, BATCH, ACCUMULATE = 7, 2, 2  # batches 2, 2 and 2, 1: the last group is smaller
G = torch.Generator().manual_seed(4)


def token_rows(hide):
    """Sequences of three to eight tokens; `hide` puts -100 where nothing is to be learned."""
    rows = []
    for _ in range(N):
        length = int(torch.randint(3, 9, (1,), generator=G))
        tokens = torch.randint(3, 20, (8,), generator=G)
        mask = (torch.arange(8) < length).long()
        labels = hide(tokens.masked_fill(mask == 0, -100))
        rows.append({"input_ids": tokens * mask, "attention_mask": mask, "labels": labels})
    return rows


def class_rows():
    rows = token_rows(lambda labels: labels)
    return [row | {"labels": torch.randint(0, 3, (), generator=G)} for row in rows]


class Own(nn.Module):
    """Next tokens by a table, the mean over the labels of the batch."""

    def __init__(self, config=None):
        super().__init__()
        self.table = nn.Embedding(20, 20)

    def forward(self, input_ids, attention_mask=None, labels=None):
        logits = self.table(input_ids)
        if labels is None:
            return {"logits": logits}
        loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        return {"loss": loss, "logits": logits}


class Heedless(Own):
    """Takes keywords, num_items_in_batch among them, and ignores them."""

    def forward(self, input_ids, attention_mask=None, labels=None, **kwargs):
        return super().forward(input_ids, attention_mask, labels)


class Heeding(Own):
    """Divides by what it is told."""

    def forward(self, input_ids, attention_mask=None, labels=None, num_items_in_batch=None, **more):
        logits = self.table(input_ids)
        if labels is None:
            return {"logits": logits}
        flat, targets = logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
        return {
            "loss": F.cross_entropy(flat, targets, reduction="sum") / num_items_in_batch,
            "logits": logits,
        }


def transformers_model(name):
    import transformers

    small = {"vocab_size": 20, "num_labels": 3}
    bert = small | {"hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1}
    bert |= {"num_attention_heads": 2, "max_position_embeddings": 16}
    plain = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    distil = {"dim": 8, "hidden_dim": 12, "n_layers": 1, "n_heads": 2, "seq_classif_dropout": 0.0}
    distil |= {"dropout": 0.0, "attention_dropout": 0.0, "max_position_embeddings": 16}
    gpt = {"n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 16, "pad_token_id": 0}
    gpt |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    t5 = {"d_model": 8, "d_ff": 12, "d_kv": 4, "num_layers": 1, "num_heads": 2, "dropout_rate": 0.0}
    config, settings = {
        "Llama": ("LlamaConfig", bert | {"pad_token_id": 0}),
        "GPT2": ("GPT2Config", small | gpt),
        "Bert": ("BertConfig", bert | plain),
        "Roberta": ("RobertaConfig", bert | plain | {"pad_token_id": 0}),
        "DistilBert": ("DistilBertConfig", small | distil),
        "T5": ("T5Config", small | t5 | {"decoder_start_token_id": 0}),
    }[name.partition("For")[0].removesuffix("LMHeadModel")]
    return getattr(transformers, name)(getattr(transformers, config)(**settings))


def one_epoch(folder, make, rows, **recorder):
    """A training by transformers; the gradient before each step, and the record of it."""
    import transformers

    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    model = make()
    seen, before = [], []

    class Spy(transformers.TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, **kwargs):
            seen.append({n: p.grad.clone() for n, p in model.named_parameters()})
            before.append({n: p.detach().clone() for n, p in model.named_parameters()})

    run = dg.Run.create(name="run", train_examples={"train": np.arange(N)})
    data = dg.with_ids(Rows(rows))
    transformers.Trainer(
        model,
        transformers.TrainingArguments(
            output_dir=str(folder),
            num_train_epochs=1,
            per_device_train_batch_size=BATCH,
            gradient_accumulation_steps=ACCUMULATE,
            learning_rate=1e-3,
            max_grad_norm=0.0,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
        ),
        train_dataset=Rows(rows),
        callbacks=[Spy(), dg.HuggingFaceRecorder(run, train=data, replay=True, **recorder)],
    ).train()
    return run["replay"].load(), model, seen, before


def of_one_example(model, row, weights):
    """The gradient of the summed loss of one example alone, and its trained labels."""
    model.load_state_dict(weights, strict=False)
    model.zero_grad()
    inputs = {name: value[None] for name, value in row.items() if name != "labels"}
    labels = row["labels"][None]
    with torch.enable_grad():
        if "T5" in type(model).__name__:
            logits = model(**inputs, labels=labels).logits
        elif isinstance(model, Own):
            logits = model.table(inputs["input_ids"])
        else:
            logits = model(**inputs).logits
        if logits.ndim == 2:
            loss, n = F.cross_entropy(logits, labels), 1
        else:
            if (
                isinstance(model, Own)
                or "Causal" in type(model).__name__
                or "GPT2" in type(model).__name__
            ):
                logits, labels = logits[:, :-1], labels[:, 1:]
            flat, targets = logits.flatten(0, 1), labels.flatten()
            loss, n = F.cross_entropy(flat, targets, reduction="sum"), int((targets >= 0).sum())
        loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}, n


CASES = {
    # what is learned, and by which rule
    "LlamaForCausalLM": ("tokens", "1/N"),
    "GPT2LMHeadModel": ("tokens", "1/N'"),
    "own module": ("tokens", "1/(k n)"),
    "own module that ignores keywords": ("tokens", "1/n"),
    "own module that heeds the number of items": ("tokens", "1/N'"),
    "BertForMaskedLM": ("aligned", "1/n"),
    "BertForTokenClassification": ("classes of tokens", "1/n"),
    "T5ForConditionalGeneration": ("aligned", "1/n"),
    "BertForSequenceClassification": ("classes", "1/n"),
    "DistilBertForSequenceClassification": ("classes", "1/n"),
    "RobertaForSequenceClassification": ("classes", "1/n"),
    "LlamaForSequenceClassification": ("classes", "1/n"),
    "GPT2ForSequenceClassification": ("classes", "1/n"),
}
OWN = {
    "own module": Own,
    "own module that ignores keywords": Heedless,
    "own module that heeds the number of items": Heeding,
}


@pytest.mark.second_ring(sample=2)
@pytest.mark.parametrize("name", CASES)
def test_the_recorded_weights_add_the_examples_up_to_the_gradient_of_the_step(tmp_path, name):
    kind, rule = CASES[name]
    rows = class_rows() if kind == "classes" else token_rows(lambda labels: labels)
    if kind == "classes of tokens":
        rows = [
            row | {"labels": row["labels"].where(row["labels"] < 0, row["labels"] % 3)}
            for row in rows
        ]
    make = OWN.get(name) or (lambda: transformers_model(name))
    task = {"task": "language_modeling"} if name in OWN else {}
    replay, model, gradients, before = one_epoch(tmp_path, make, rows, **task)
    assert rule in json.loads(replay.attrs["weight_rules"])
    assert len(gradients) == replay.sizes["step"] == 2
    for step, wanted in enumerate(gradients):
        ids = replay.train_id.values[step].astype(int)
        micro, weight = replay.micro.values[step][ids >= 0], replay.weight.values[step][ids >= 0]
        ids = ids[ids >= 0]
        each = [of_one_example(model, rows[i], before[step]) for i in ids]
        n = np.array([count for _, count in each])
        if "n_trained" in replay:
            assert replay.n_trained.values[step][: len(ids)].tolist() == n.tolist()
        unshifted = n + [int(kind == "tokens" and rows[i]["labels"][0] >= 0) for i in ids]
        of_batch = np.bincount(micro.astype(int), n)[micro.astype(int)]
        divisor = {
            "1/N": n.sum(),
            "1/N'": unshifted.sum(),
            "1/(k n)": (micro.max() + 1) * of_batch,
            "1/n": of_batch,
        }[rule]
        assert np.allclose(weight * divisor, 1, rtol=1e-5)
        for parameter, value in wanted.items():
            total = sum(w * g[parameter] for w, (g, _) in zip(weight, each) if parameter in g)
            assert torch.allclose(value, torch.as_tensor(total).float(), rtol=1e-3, atol=2e-6)


def test_rules_that_agree_in_a_step_are_all_named():
    n, micro = np.array([2.0, 4, 6]), np.array([0, 0, 1])
    assert rules_of_weights(np.full(3, 1 / 12), n, micro, 2) == {"1/N", "1/(k n)", "1/(A n)"}
    assert rules_of_weights(np.full(3, 1 / 14), n, micro, 2) == {"1/N'"}
    assert rules_of_weights(np.full(3, 1 / 6), n, micro, 2) == {"1/n"}
    assert rules_of_weights(np.array([1 / 12, 1 / 5, 1 / 12]), n, micro, 2) == set()


def one_step(folder, make, rows, run=None):
    """A training by transformers of one step, plain descent over all examples."""
    import transformers

    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    data, few = dg.with_ids(Rows(rows)), Rows(rows[:2])
    how = {"replay": True, "task": "language_modeling"}
    recorder = run and dg.HuggingFaceRecorder(run, train=data, test=few, **how)
    transformers.Trainer(
        model,
        transformers.TrainingArguments(
            output_dir=str(folder),
            num_train_epochs=1,
            per_device_train_batch_size=BATCH,
            gradient_accumulation_steps=4,
            max_grad_norm=0.0,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
        ),
        train_dataset=Rows(rows),
        callbacks=[recorder] if recorder else [],
        optimizers=(optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)),
    ).train()
    return model


def of_zeros(answers, labels):
    """An output that is linear in the weights of a table: what a sequence says to token 0."""
    return answers[..., 0].sum(-1)


@pytest.mark.parametrize("make", [Own, Heeding])
def test_a_denominator_that_follows_scores_what_masking_an_example_does(tmp_path, make):
    def double():
        return make().double()

    rows = token_rows(lambda labels: labels)
    run = dg.Run.create(
        name="run", train_examples={"train": np.arange(N)}, test_examples={"test": [0, 1]}
    )
    model = one_step(tmp_path, double, rows, run)
    data = {"train": dg.with_ids(Rows(rows)), "test": Rows(rows[:2])}
    training = dg.training_of_run(run, model, **data, output=of_zeros)
    masked = list(rows)
    masked[3] = rows[3] | {"labels": torch.full_like(rows[3]["labels"], -100)}
    without = one_step(tmp_path, double, masked)
    tokens = torch.stack([row["input_ids"] for row in rows[:2]])
    change = of_zeros(model.table(tokens) - without.table(tokens), None)
    for mode in ("reverse", "forward"):
        how = {"dtype": torch.float64, "mode": mode}
        found, fixed = (
            UnrolledAttributor(training, denominator=denominator, **how).attribute().score
            for denominator in ("follows", "fixed")
        )
        assert np.allclose(found.sel(train=3).values[0], change.detach(), rtol=1e-6)
        assert not np.allclose(fixed.sel(train=3).values[0], change.detach(), rtol=1e-1)


def test_a_record_that_fits_two_denominators_asks_which():
    training = dataclasses.replace(
        made_training(), denominators=Denominators(np.ones(4), None, [np.array([0, 0, 1, 1])])
    )
    with pytest.raises(SettingError, match="does not tell"):
        UnrolledAttributor(training, denominator="follows")
    UnrolledAttributor(training)


def made_training():
    def model(seed):
        return nn.Linear(2, 3)

    x, y = torch.randn(4, 2, generator=G), torch.randint(0, 3, (4,), generator=G)
    rule = OptimizerSettings(kind="sgd", lr=0.1)
    return Training(
        model=model, inputs=x, labels=y, test_inputs=x, test_labels=y, optimizer=rule, n_epochs=1
    )
