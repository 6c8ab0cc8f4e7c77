"""Rows padded on the left: as rows without padding, as they were trained, or refused by name."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dg_explorer import GradientSimilarityAttributor, RepresentationSimilarityAttributor
from dg_explorer.data.batch import Batch
from dg_explorer.data.evaluation import LayerOutputs
from dg_explorer.data.served import Served
from dg_explorer.errors import DataError
from dg_explorer.tasks import LanguageModelingTask
from dg_explorer.tasks.token_examples import EachToken

transformers = pytest.importorskip("transformers")
transformers.logging.set_verbosity_error()
ROWS = [torch.arange(n) * 5 % 17 + 1 for n in (5, 8, 3, 6, 8, 4)]
LENGTH = 8


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=20, n_embd=8, n_layer=1, n_head=2, n_positions=8, bos_token_id=0, eos_token_id=0
    )
    return transformers.GPT2LMHeadModel(config).eval()


def padded(row, side="left", positions=True, labels=True):
    more = torch.zeros(LENGTH - len(row), dtype=torch.long)

    def join(real, filled):
        return torch.cat([filled, real] if side == "left" else [real, filled])

    item = {"input_ids": join(row, more), "attention_mask": join(torch.ones_like(row), more)}
    if labels:
        item["labels"] = join(row, more - 100)
    if positions:
        item["position_ids"] = (item["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    return item


def data(**how):
    return [padded(row, **how) for row in ROWS]


def products(model, rows, task):
    attributor = GradientSimilarityAttributor(model, task=task)
    features = attributor.compute_features(rows)
    return attributor.compute_attributions(features, features)


IGNORED = LanguageModelingTask(shifted=False, left_padding="ignore")


@pytest.mark.parametrize("labels", [True, False], ids=["labels", "tokens alone"])
def test_scores_of_rows_padded_left_are_those_of_rows_padded_right(model, labels):
    task = IGNORED if labels else None
    left = products(model, data(labels=labels), task)
    right = products(model, data(side="right", labels=labels), None)
    assert torch.allclose(left, right, rtol=1e-4, atol=1e-5 * float(right.abs().max()))


def test_a_first_token_predicted_from_padding_is_asked_about(model):
    with pytest.raises(DataError, match=r"left_padding='count'.*left_padding='ignore'"):
        products(model, data(), None)


def test_a_first_token_that_counts_gives_the_loss_of_transformers(model):
    task = LanguageModelingTask(shifted=False, left_padding="count")
    batch = next(iter(Served(data(), model=model, batch_size=len(ROWS))))
    with torch.no_grad():
        losses, n = (f(task.predict(model, batch), batch) for f in (task.loss, task.trained))
        whole = model(**batch.keywords, labels=batch.labels).loss
    assert losses.sum() / n.sum() == pytest.approx(float(whole), rel=1e-5)


@pytest.mark.parametrize("attributor", [GradientSimilarityAttributor, LayerOutputs])
def test_positions_that_count_padding_are_refused(model, attributor):
    rows = data(positions=False)
    batch = next(iter(Served(rows, model=model, batch_size=len(ROWS))))
    ask = {
        GradientSimilarityAttributor: lambda: products(model, rows, IGNORED),
        LayerOutputs: lambda: LayerOutputs({"": model.transformer})(model, batch),
    }
    with pytest.raises(DataError, match=r"GPT2LMHeadModel counts positions.*position_ids"):
        ask[attributor]()


def test_positions_that_were_trained_with_padding_can_be_said(model):
    plain = data(positions=False)
    said = [row | {"position_ids": torch.arange(LENGTH)} for row in plain]
    listen, batches = LayerOutputs({"": model.transformer}), []
    for rows in (said, plain):
        batches += Served(rows, model=model, batch_size=len(ROWS))
    _, rows = listen(model, batches[0])
    states = model.transformer(**batches[1].keywords).last_hidden_state
    mask = batches[1].keywords["attention_mask"][..., None]
    assert torch.allclose(rows[""], (states * mask).sum(1) / mask.sum(1), atol=1e-5)


def test_neighbours_of_rows_padded_left_are_those_of_rows_alone(model):
    attributor = RepresentationSimilarityAttributor(model, layer="transformer.h.0", task=IGNORED)
    features = attributor.compute_features(data())
    heard = {}
    handle = model.transformer.h[0].register_forward_hook(
        lambda _, args, out: heard.update(out=out[0] if isinstance(out, tuple) else out)
    )
    alone = []
    with torch.no_grad():
        for row in ROWS:
            model(row[None])
            alone.append(F.normalize(heard["out"].reshape(len(row), -1).mean(0), dim=0))
    handle.remove()
    expected = torch.stack(alone) @ torch.stack(alone).T
    scores = attributor.compute_attributions(features, features)
    assert torch.allclose(scores.float(), expected, atol=1e-5)


def test_a_first_token_behind_padding_is_no_example_of_its_own():
    tokens = EachToken(data())
    expected = np.concatenate([np.arange(LENGTH - len(row) + 1, LENGTH) for row in ROWS])
    assert tokens.position.tolist() == expected.tolist()


def test_an_answer_that_is_nan_at_padding_leaves_the_mean_of_the_rest():
    class NaNAtPadding(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Identity()

        def forward(self, x, attention_mask):
            return self.layer(x.masked_fill(attention_mask[..., None] == 0, torch.nan))

    x, mask = torch.arange(24.0).reshape(2, 4, 3), torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1]])
    batch, model = Batch((x, mask), {}, None, np.arange(2), (x, mask)), NaNAtPadding()
    _, found = LayerOutputs({"layer": model.layer})(model, batch)
    assert torch.equal(found["layer"], torch.stack([x[0, 1:].mean(0), x[1].mean(0)]))
