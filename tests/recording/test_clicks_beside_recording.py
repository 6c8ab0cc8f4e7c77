"""A board that is clicked beside a training takes no row from it, and sees none that is half."""

import itertools
import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import dg_explorer as dg
from dg_explorer import Recorder

EPOCHS, CLICKS = 60, 200
KEYS = ("dynamics/test", "dynamics/train")


def clicked(board, until, failures):
    """A browser that selects, asks and refreshes, from a thread of its own."""
    tests = itertools.cycle(range(30))
    for click in range(CLICKS):
        try:
            if click % 25 == 0:
                board.refresh()
            board.set_state(
                {"_selection": {**board.selection.value.to_wire(), "test": next(tests)}}
            )
            board._answer(board, {"kind": "get", "key": KEYS[click % len(KEYS)]}, [])
            metrics = board.run["metrics"].load()
            assert metrics["epoch"].values.tolist() == list(range(metrics.sizes["epoch"]))
            assert np.isfinite(metrics["test_loss"].values).all()
        except Exception as error:  # a failing thread would otherwise pass unseen
            failures.append(error)
    until.set()


@pytest.mark.second_ring(sample=0)
def test_two_hundred_clicks_beside_sixty_epochs_lose_no_row(task, tmp_path):
    run, model = task.run(tmp_path / "run"), task.model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    board, done, failures = dg.explore(run), threading.Event(), []
    thread = threading.Thread(target=clicked, args=(board, done, failures))
    with Recorder(run, model, optimizer, train=task.train, test=task.test) as recorder:
        for epoch in range(EPOCHS):
            if epoch == 2:
                thread.start()
            logits = model(task.x)
            optimizer.zero_grad()
            F.cross_entropy(logits, task.y).backward()
            recorder.batch(logits, task.y, task.ids)
            optimizer.step()
            recorder.epoch(epoch)
    assert done.wait(120)
    assert failures == []
    again = dg.Run.open(tmp_path / "run")
    for group in ("metrics", "dynamics/train", "dynamics/test", "gradients", "checkpoints"):
        assert again.epochs(group).tolist() == list(range(EPOCHS)), group
