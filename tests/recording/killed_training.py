"""Train and record in child processes, and kill each with SIGKILL at a random moment.

usage: python killed_training.py FOLDER N SEED
Writes FOLDER/run_<k> for each of the N children and FOLDER/done_<k>: the epochs that
`rec.epoch` had returned from before the kill, one a line.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from dg_explorer import Recorder, Run
from dg_explorer.record.store import writer

N_EPOCHS, N_TRAIN = 400, 200


def task():
    """Inputs, labels, model and optimizer, the same in every process."""
    torch.manual_seed(0)
    x = torch.randn(N_TRAIN, 8)
    y = (x[:, 0] > 0).long()
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
    return x, y, model, torch.optim.Adam(model.parameters(), 1e-3)


def create(path):
    _x, y, _, _ = task()
    return Run.create(path, name="killed", train_examples={"label": y.numpy()})


def train(run, n_epochs: int, *, resume=False, after=lambda epoch: None):
    x, y, model, optimizer = task()
    ids = torch.arange(N_TRAIN)
    settings = {"train": (x, y), "layers": ["1"], "checkpoint_every": 3}
    with Recorder(run, model, optimizer, **settings) as rec:
        first = rec.resume() + 1 if resume else 0
        for epoch in range(first, n_epochs):
            logits = model(x)
            optimizer.zero_grad()
            F.cross_entropy(logits, y).backward()
            rec.batch(logits, y, ids)
            optimizer.step()
            rec.epoch(epoch)
            after(epoch)


def child(folder: Path, k: int) -> None:
    if k % 2:  # half of them move rows into files all the time, to be killed while at it
        writer.JOURNAL_FRAMES = 2
    done = os.open(folder / f"done_{k}", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    parent = os.getppid()

    def after(epoch: int) -> None:
        os.write(done, f"{epoch}\n".encode())
        if os.getppid() != parent:  # nobody is left to kill this process
            os._exit(1)

    train(create(folder / f"run_{k}"), N_EPOCHS, after=after)


def warm_up() -> None:
    """Import what a child would import late, without touching a store or running backward."""
    _, _, model, optimizer = task()
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()


def main() -> None:
    folder, n, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    warm_up()
    dice = random.Random(seed)
    for k in range(n):
        # a fork has everything imported; the parent itself never touches a store
        pid = os.fork()
        if pid == 0:
            child(folder, k)
            os._exit(0)
        # so many rows, then somewhere within the next few: a slow machine kills no earlier
        done, size = folder / f"done_{k}", 2 * dice.randint(1, 8)
        while not (done.exists() and done.stat().st_size >= size):
            time.sleep(0.002)
        time.sleep(dice.uniform(0, 0.05))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
