"""The specification's tracker: its own call, by example and never by position under shuffling."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from dg_explorer.errors import DataError, ShuffledLoaderError
from dg_explorer.recording import TrainingDynamicsTracker
from dg_explorer.run import Run


def track(task, loader, *, with_indices, epochs=4):
    model = task.model()
    optimizer = torch.optim.Adam(model.parameters(), 0.05)
    tracker = TrainingDynamicsTracker(dataset=task.train, save_interval=2)
    slow = {}
    for epoch in range(epochs):
        for batch_idx, (data, targets, ids) in enumerate(loader):
            predictions = model(data)
            losses = F.cross_entropy(predictions, targets, reduction="none")
            optimizer.zero_grad()
            losses.mean().backward()
            losses = losses.detach()
            optimizer.step()
            tracker.update(
                epoch=epoch,
                batch_idx=batch_idx,
                data=data,
                targets=targets,
                predictions=predictions,
                losses=losses,
                indices=ids if with_indices else None,
            )
            for i, loss, right in zip(ids.tolist(), losses, predictions.argmax(1) == targets):
                slow.setdefault(i, []).append((float(loss), bool(right)))
    return tracker, slow


@pytest.mark.parametrize("shuffle", [False, True])
def test_summaries_agree_with_a_slow_count_by_example(task, shuffle):
    loader = DataLoader(task.train, 16, shuffle=shuffle)
    tracker, slow = track(task, loader, with_indices=shuffle)
    found = tracker.analyze()
    assert found["examples_seen"] == 60
    assert found["epochs"] == [0, 1, 2, 3]
    for i, history in slow.items():
        losses, right = zip(*history)
        assert float(found["mean_loss"].sel(train=i)) == pytest.approx(np.mean(losses), rel=1e-5)
        lost = sum(a and not b for a, b in itertools.pairwise(right))
        assert int(found["forgetting_events"].sel(train=i)) == lost
        first = right.index(True) if any(right) else np.nan
        assert np.array_equal(found["first_learned"].sel(train=i), first, equal_nan=True)
    hardest = max(slow, key=lambda i: np.mean([loss for loss, _ in slow[i]]))
    assert found["hardest"][0] == hardest
    assert set(found["never_learned"]) == {i for i, h in slow.items() if not any(r for _, r in h)}


def test_a_shuffled_order_without_ids_is_noticed(task):
    loader = DataLoader(task.train, 16, shuffle=True)
    with pytest.raises(DataError, match="another label"):
        track(task, loader, with_indices=False)
    with pytest.raises(ShuffledLoaderError):
        TrainingDynamicsTracker(DataLoader(task.test, 8, shuffle=True))


def test_what_is_saved_reads_back_the_same(task, tmp_path):
    tracker, _ = track(task, DataLoader(task.train, 16), with_indices=False)
    before = tracker.analyze()["dynamics"]
    tracker.save(tmp_path / "tracker.pkl")
    assert (tmp_path / "tracker.pkl").is_dir()
    assert Run.open(tmp_path / "tracker.pkl")["dynamics/train"].load().equals(before)


def test_bad_input_says_what_to_do(task):
    logits, y = torch.zeros(4, 3), task.y[:4]

    def update(epoch=0, batch_idx=0, targets=y, predictions=logits, **rest):
        tracker.update(epoch, batch_idx, None, targets, predictions, **rest)

    tracker = TrainingDynamicsTracker(task.train)
    with pytest.raises(DataError, match="Nothing was tracked"):
        tracker.analyze()
    with pytest.raises(DataError, match=r"reduction='none'"):
        update(losses=torch.tensor(0.5))
    with pytest.raises(DataError, match="Pass indices"):
        update(batch_idx=3)
    update(epoch=1)
    with pytest.raises(DataError, match="given already"):
        update(epoch=1)
    with pytest.raises(DataError, match="epochs must ascend"):
        update(epoch=0)
