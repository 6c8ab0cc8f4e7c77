"""Any executor gives the scores of one process, bit by bit, and a lost worker costs one unit."""

import os
import signal
import time
import warnings
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import distributed
import numpy as np
import pandas as pd
import pytest
import torch
from attribution_models import TinyTransformer, examples, mlp
from torch.utils.data import DataLoader, Dataset, TensorDataset

from dg_explorer import Run, with_ids
from dg_explorer.attribution import attribute
from dg_explorer.attribution.units import Unit, WorkerLostError, WorkerLostWarning, blocks
from dg_explorer.checkpoints.store import save_checkpoint
from dg_explorer.data.served import Served
from dg_explorer.errors import SettingError

EPOCHS = [0, 10, 20]


def a_run(path=None, train=None, test=None):
    train = examples(24).tensors[1].numpy() if train is None else train
    test = examples(6, 1).tensors[1].numpy() if test is None else test
    run = Run.create(
        path,
        name="a run",
        train_examples=pd.DataFrame({"label": train}),
        test_examples=pd.DataFrame({"label": test}),
    )
    for epoch in EPOCHS:
        save_checkpoint(run, epoch, mlp(seed=epoch))
    run.flush()
    return run


def data(n, seed=0):
    return with_ids(examples(n, seed), np.arange(n))


def scores(run=None, train=None, executor=None, **settings):
    settings = {"batch_size": 4, "block_size": 8} | settings
    found = attribute(
        run or a_run(), mlp(), train or data(24), data(6, 1), progress=False, executor=executor,
        **settings,
    )  # fmt: skip
    return found.load()


class Watched(Dataset):
    """Writes down who serves which example, and once kills the worker that serves one.

    The process that asks reads a few examples itself, to find out how they come.
    """

    def __init__(self, folder, killer=None):
        self.inner, self.folder, self.killer = examples(24), Path(folder), killer
        self.folder.mkdir(exist_ok=True)
        self.asks = os.getpid()

    def __len__(self):
        return 24

    def __getitem__(self, i):
        with open(self.folder / "served", "a") as file:
            file.write(f"{i} {os.getpid()}\n")
        if i == self.killer and os.getpid() != self.asks:
            try:
                (self.folder / "killed").touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                time.sleep(0.5)  # what this process has handed over arrives first
                os.kill(os.getpid(), signal.SIGKILL)
        return self.inner[i]

    def served(self):
        lines = (self.folder / "served").read_text().splitlines()
        return np.bincount([int(line.split()[0]) for line in lines], minlength=24)


def same(a, b):
    return all(np.array_equal(a[name].values, b[name].values) for name in b)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"proj_dim": 32},
        {"proj_dim": 8, "projection": "nystrom"},
        {"method": "gradient_cosine"},
        {"method": "influence"},
        {"method": "representation_similarity"},
    ],
)
def test_blocks_change_no_bit_of_the_scores(settings):
    whole = scores(block_size=24, **settings)
    assert same(scores(**settings), whole)
    with ThreadPoolExecutor(3) as pool:
        assert same(scores(executor=pool, **settings), whole)


def test_a_loader_keeps_its_batches_when_cut_into_blocks():
    loader = DataLoader(data(24), batch_size=5)
    served = Served(loader)
    cut = [batch.ids.tolist() for part in blocks(served, 8) for batch in part]
    assert cut == [batch[-1].tolist() for batch in loader]
    assert [len(part) for part in blocks(served, 8)] == [10, 10, 4]


def test_threads_do_not_meet_in_the_model_or_in_the_switches_of_attention():
    def tokens(n):
        return TensorDataset(torch.arange(3 * n).reshape(n, 3) % 11, torch.arange(n) % 11)

    run = a_run(train=np.arange(8), test=np.arange(4))
    for epoch in (100, 110):
        save_checkpoint(run, epoch, TinyTransformer(seed=epoch))
    torch.backends.mha.set_fastpath_enabled(True)
    settings = {"epochs": [100, 110], "block_size": 4, "batch_size": 4, "progress": False}
    arguments = run, TinyTransformer(), with_ids(tokens(8)), with_ids(tokens(4))
    serial = attribute(*arguments, **settings).load()
    with ThreadPoolExecutor(2) as pool:
        other = attribute(*arguments, **settings, name="pool", executor=pool).load()
    assert same(serial, other)
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("place", ["folder", "memory"])
def test_a_run_in_a_folder_or_in_memory_holds_the_same_scores(tmp_path, place):
    url = f"memory://{tmp_path.name}/run"
    path = tmp_path / "run" if place == "folder" else url
    with ThreadPoolExecutor(2) as pool:
        scores(a_run(path), executor=pool)
    again = Run.open(path)
    assert same(again["scores/trak"].load(), scores())


def test_a_killed_process_costs_one_unit_and_changes_no_bit(tmp_path):
    watched, plain = Watched(tmp_path, killer=10), Watched(tmp_path / "plain")
    with (
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
        pytest.warns(WorkerLostWarning, match="done in this process"),
    ):
        found = scores(train=with_ids(watched), executor=pool, epochs=[0])
    assert same(found, scores(train=with_ids(plain), epochs=[0]))
    # 8 to 10 were served to the process that died as well
    expected = np.zeros(24, int)
    expected[8:11] = 1
    assert (watched.served() - plain.served()).tolist() == expected.tolist()


@pytest.mark.second_ring(sample=0)
def test_two_processes_of_dask_give_the_same_scores_though_one_is_killed(tmp_path):
    watched, plain = Watched(tmp_path, killer=10), Watched(tmp_path / "plain")
    expected = scores(train=with_ids(plain))
    with (
        warnings.catch_warnings(),
        distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        warnings.simplefilter("ignore")
        found = scores(train=with_ids(watched), executor=client.get_executor())
    assert same(found, expected)
    assert (tmp_path / "killed").exists()
    # three epochs; the batch that killed its worker was begun twice, and what that worker had
    # done and not yet handed over may have been, but nothing was done a third time
    extra = watched.served() - plain.served()
    assert extra[[8, 9, 10]].tolist() == [1, 1, 1]
    assert set(extra) <= {0, 1}


class KilledWorker(Exception):
    """As distributed's own, which these tests do without."""


class Broken(Executor):
    def __init__(self, error):
        self.error = error

    def submit(self, function, *arguments):
        future = Future()
        future.set_exception(self.error)
        return future


def test_a_unit_that_takes_down_every_worker_says_what_to_lower():
    with pytest.raises(WorkerLostError, match=r"epoch 0, train block 1 of 3.*Lower block_size"):
        scores(executor=Broken(KilledWorker("features_unit")))


def test_what_cannot_be_pickled_is_refused_with_the_way_out():
    job = Unit(Broken(AttributeError("Can't pickle local object 'f.<lambda>'")), "a unit", print)
    with pytest.raises(SettingError, match="in a module, or pass an executor of threads"):
        job.result()


def test_errors_of_a_unit_are_the_callers():
    with ThreadPoolExecutor(1) as pool:
        job = Unit(pool, "a unit", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            job.result()


def test_a_block_of_no_example_is_refused():
    with pytest.raises(SettingError, match="block_size=0"):
        scores(block_size=0)
