"""Whatever the habit: what is recorded and scored is what a float64 loop over examples says."""

import copy
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from habits import HABITS

import dg_explorer as dg
from dg_explorer.errors import DataError

FIRST_RING = ("a loader's own collate", "rows with their own id")
cases = [
    name if name in FIRST_RING else pytest.param(name, marks=pytest.mark.second_ring(sample=2))
    for name in HABITS
    if name != "no labels at all"
]


def run_of(habit):
    if habit.labels is None:
        return dg.Run.create(name="habits")
    ids = np.arange(len(habit.labels)) if habit.record_ids is None else habit.record_ids
    label = np.asarray(habit.labels)
    return dg.Run.create(
        name="habits",
        train_examples={"train": ids, "label": label},
        test_examples={"test": ids, "label": label},
    )


def wide(value):
    if isinstance(value, dict):
        return {name: wide(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [wide(part) for part in value]
    return value.double() if value.is_floating_point() else value


def slowly(habit, model):
    """Loss, gradient of the margin and of the loss of each example, one by one in float64.

    An example without a label (below 0, with three classes) has no loss and moves nothing.
    """
    model = copy.deepcopy(model).double()
    parameters = list(model.parameters())
    losses, outputs, slopes = [], [], []
    for example in habit.ids:
        inputs, keywords, label = habit.truth(example)
        logits = model(*wide(inputs), **wide(keywords))
        if int(label) < 0:
            losses.append(np.nan)
            nothing = torch.zeros(sum(p.numel() for p in parameters), dtype=torch.float64)
            outputs.append(nothing), slopes.append(nothing)
            continue
        loss = F.cross_entropy(logits, label)
        others = logits.masked_fill(F.one_hot(label, 3).bool(), -torch.inf).logsumexp(1)
        margin = (logits[0, label] - others).sum()
        losses.append(loss.item())
        for found, value in ((outputs, margin), (slopes, loss)):
            each = torch.autograd.grad(value, parameters, retain_graph=True)
            found.append(torch.cat([g.flatten() for g in each]))
    return np.array(losses), torch.stack(outputs), torch.stack(slopes)


@pytest.mark.parametrize("name", cases)
def test_recorded_losses_and_scores_are_those_of_a_loop(name):
    habit = HABITS[name]
    torch.manual_seed(0)
    model, run = habit.model(), run_of(habit)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with dg.Recorder(
            run, model, optimizer, train=habit.data, test=habit.data, **habit.how
        ) as recorder:
            recorder.epoch(0)
        dg.attribute(
            run, model, habit.data, habit.data, method="gradient_dot", progress=False, **habit.how
        )
    losses, outputs, slopes = slowly(habit, model)
    for split in ("train", "test"):
        recorded = run[f"dynamics/{split}"]["loss"].isel(epoch=0).sel({split: habit.ids})
        np.testing.assert_allclose(recorded, losses, rtol=1e-5, atol=1e-6)
    scores = run["scores/gradient_dot"]["score"].isel(epoch=0)
    scores = scores.sel(test=habit.ids, train=habit.ids).values
    right = -(outputs @ slopes.T).numpy()
    assert np.linalg.norm(scores - right) <= 1e-4 * np.linalg.norm(right)


def test_rows_without_labels_ask_what_is_learned():
    habit = HABITS["no labels at all"]
    model = habit.model()
    run = dg.Run.create(name="habits")
    with (
        pytest.raises(DataError, match=r"no labels.*label=.*CustomTask\(output"),
        dg.Recorder(run, model, None, train=habit.data, test=habit.data) as recorder,
    ):
        recorder.epoch(0)
