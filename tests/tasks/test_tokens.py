"""Tasks over tokens against the losses of transformers' own models, trained as they train."""

import pytest
import torch
import torch.nn.functional as F

from dg_explorer.errors import DataError, SettingError
from dg_explorer.tasks import (
    InferredTask,
    LanguageModelingTask,
    MaskedLanguageModelingTask,
    SequenceToSequenceTask,
    TokenClassificationTask,
    as_task,
)

transformers = pytest.importorskip("transformers")
transformers.logging.set_verbosity_error()
G = torch.Generator().manual_seed(0)


def tokens(n, length, low=3, high=20):
    return torch.randint(low, high, (n, length), generator=G)


def padded(n=6, length=7):
    """Sequences of 3 to 7 tokens with their mask, and labels that are -100 at padding."""
    ids, mask = tokens(n, length), torch.ones(n, length, dtype=torch.long)
    for i in range(n):
        mask[i, 3 + i % (length - 2) :] = 0
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)}


def bert(kind, **settings):
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1}
    config = transformers.BertConfig(
        vocab_size=20, num_attention_heads=2, max_position_embeddings=16, **sizes, **settings
    )
    return getattr(transformers, f"BertFor{kind}")(config).eval()


def gpt2():
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=20, n_embd=8, n_layer=1, n_head=2, n_positions=16)
    return transformers.GPT2LMHeadModel(config).eval()


def t5():
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=20, d_model=8, d_kv=4, d_ff=12, num_layers=1, num_heads=2,
        decoder_start_token_id=0,
    )  # fmt: skip
    return transformers.T5ForConditionalGeneration(config).eval()


def masked_batch():
    batch = padded()
    hidden = (torch.rand(batch["labels"].shape, generator=G) < 0.5) & (batch["labels"] != -100)
    return batch | {"labels": batch["labels"].masked_fill(~hidden, -100)}


def translated():
    """Answers of other lengths than the questions: the encoder's mask says nothing about them."""
    batch = padded()
    labels = tokens(6, 5)
    labels[2, 3:] = -100
    return batch | {"labels": labels}


CASES = {
    "language_modeling": (gpt2, padded, LanguageModelingTask),
    "masked_language_modeling": (
        lambda: bert("MaskedLM"),
        masked_batch,
        MaskedLanguageModelingTask,
    ),
    "token_classification": (
        lambda: bert("TokenClassification", num_labels=20),
        padded,
        TokenClassificationTask,
    ),
    "sequence_to_sequence": (t5, translated, SequenceToSequenceTask),
}
every_case = pytest.mark.parametrize("name", CASES)


@every_case
def test_the_mean_over_tokens_is_the_loss_of_the_model_itself(name):
    model, batch = CASES[name][0](), CASES[name][1]()
    task = as_task(name)
    with torch.no_grad():
        prediction = task.predict(model, batch)
        task.check(prediction, batch)
        n = task.trained(prediction, batch)
        own = model(**batch).loss
        torch.testing.assert_close(task.loss(prediction, batch).sum() / n.sum(), own)
        found = {k: v.numpy() for k, v in task.measures(prediction, batch).items()}
        summary = task.summary(found, found["seen"])
        assert summary["loss"] == pytest.approx(float(own), rel=1e-5)
        assert summary["perplexity"] == pytest.approx(float(own.exp()), rel=1e-5)


@every_case
def test_the_task_is_inferred_from_the_models_class(name):
    model, batch = CASES[name][0](), CASES[name][1]()
    task = InferredTask()
    prediction = task.predict(model, batch)
    assert type(task.settled) is CASES[name][2]
    assert task.name == name
    torch.testing.assert_close(
        task.output(prediction, batch), as_task(name).output(prediction, batch)
    )


@every_case
def test_output_and_loss_of_a_sequence_are_those_of_its_tokens_one_by_one(name):
    model, batch = CASES[name][0]().double(), CASES[name][1]()
    task = as_task(name)
    prediction = task.predict(model, batch)
    shift = int(name == "language_modeling")
    for i in range(len(prediction)):
        output = loss = torch.zeros((), dtype=torch.float64)
        for t in range(shift, batch["labels"].shape[1]):
            label = batch["labels"][i, t]
            if label == -100:
                continue
            p = prediction[i, t - shift].softmax(0)[label]
            output = output + (p / (1 - p)).log()
            loss = loss - p.log()
        torch.testing.assert_close(task.output(prediction, batch)[i], output)
        torch.testing.assert_close(task.loss(prediction, batch)[i], loss)


@pytest.mark.parametrize("kind", ["MaskedLM", "TokenClassification"])
def test_a_task_that_the_models_class_contradicts_is_refused(kind):
    with pytest.raises(SettingError, match=f"Bert.*{kind}"):
        as_task("language_modeling").check_model(bert(kind))
    as_task("language_modeling").check_model(gpt2())


def test_wrappers_do_not_hide_the_class():
    compiled = torch.compile(gpt2(), backend="eager")
    task = InferredTask()
    task.predict(compiled, padded())
    assert task.name == "language_modeling"


@pytest.mark.parametrize(
    ("settings", "labels", "name"),
    [
        ({"num_labels": 3}, torch.arange(6) % 3, "classification"),
        ({"num_labels": 1}, torch.randn(6, generator=G), "regression"),
        (
            {"num_labels": 3, "problem_type": "multi_label_classification"},
            torch.tensor([[1.0, 0, 1]] * 6),
            "multilabel",
        ),
    ],
)
def test_a_sequence_classifier_is_told_by_its_config_and_labels(settings, labels, name):
    model, batch = bert("SequenceClassification", **settings), padded() | {"labels": labels}
    task = InferredTask()
    prediction = task.predict(model, batch)
    assert task.name == name
    torch.testing.assert_close(task.loss(prediction, batch).mean(), model(**batch).loss)


def test_labels_at_padding_are_asked_about_and_then_as_said():
    model, batch = gpt2(), padded()
    every = batch | {"labels": batch["input_ids"]}
    prediction = as_task("language_modeling").predict(model, every)
    with pytest.raises(DataError, match=r"padding='count'.*'ignore'"):
        as_task("language_modeling").check(prediction, every)
    counted, ignored = (LanguageModelingTask(padding=p) for p in ("count", "ignore"))
    n = counted.trained(prediction, every).sum()
    torch.testing.assert_close(counted.loss(prediction, every).sum() / n, model(**every).loss)
    torch.testing.assert_close(ignored.loss(prediction, every), counted.loss(prediction, batch))
    inferred = InferredTask()
    inferred.predict(model, every)
    assert inferred.settled.padding == "count"


def test_labels_that_are_shifted_already_are_not_shifted_again():
    ids = tokens(4, 6)
    following = torch.cat([ids[:, 1:], torch.full((4, 1), -100)], 1)
    logits = torch.randn(4, 6, 20, generator=G, dtype=torch.float64)
    with pytest.raises(DataError, match=r"shifted=True"):
        LanguageModelingTask().check(logits, {"input_ids": ids, "labels": following})
    with pytest.raises(DataError, match=r"shifted=False"):
        LanguageModelingTask().check(logits, (ids, ids))
    right = F.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none").sum(1)
    for batch, task in (
        ((ids, following), LanguageModelingTask()),
        ((ids, ids), LanguageModelingTask(shifted=False)),
        ({"input_ids": ids, "labels": following}, LanguageModelingTask(shifted=True)),
        ({"input_ids": ids, "labels": ids}, LanguageModelingTask()),
        ({"input_ids": ids}, LanguageModelingTask()),
    ):
        task.check(logits, batch)
        torch.testing.assert_close(task.loss(logits, batch), right)


def test_a_decoder_reads_its_labels_shifted_as_the_model_shifts_them():
    model, batch = t5(), translated()
    seen = {}
    model.decoder.register_forward_pre_hook(
        lambda m, args, kwargs: seen.update(ids=kwargs["input_ids"]), with_kwargs=True
    )
    as_task("sequence_to_sequence").predict(model, batch)
    assert torch.equal(seen["ids"], model.prepare_decoder_input_ids_from_labels(batch["labels"]))


def test_a_semantic_segmenter_is_measured_at_the_size_of_its_labels():
    torch.manual_seed(0)
    config = transformers.SegformerConfig(
        num_encoder_blocks=1, depths=[1], sr_ratios=[1], hidden_sizes=[8], patch_sizes=[3],
        strides=[2], num_attention_heads=[1], mlp_ratios=[2], decoder_hidden_size=8, num_labels=3,
    )  # fmt: skip
    model = transformers.SegformerForSemanticSegmentation(config).eval()
    labels = torch.randint(0, 3, (2, 16, 16), generator=G)
    labels[0, :3] = 255
    batch = {"pixel_values": torch.randn(2, 3, 16, 16, generator=G), "labels": labels}
    task = InferredTask()
    with torch.no_grad():
        prediction = task.predict(model, batch)
        task.check(prediction, batch)
        assert task.name == "segmentation"
        n = task.trained(prediction, batch)
        mean = (task.loss(prediction, batch) * n).sum() / n.sum()
        torch.testing.assert_close(mean, model(**batch).loss)
