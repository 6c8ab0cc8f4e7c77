"""What `processors.py` asks for is done: draws move by 1e-7 of themselves, products round anew."""

import os
import subprocess
import sys

import processors
import pytest
import torch

DRAW = """
import sys, torch
torch.manual_seed(0)
layer = torch.nn.Linear(50, 40)
torch.save([*layer.state_dict().values(), torch.randn(40), torch.randperm(40)], sys.argv[1])
"""
MULTIPLY = """
import sys, torch
numbers = torch.sin(torch.arange(64.0 * 64)).view(64, 64)
torch.save((numbers @ numbers).exp().sum(1), sys.argv[1])
"""


def saved(program, path, **environment):
    environment |= {"PYTHONPATH": str(processors.TESTS / "moved_weights")}
    command = [sys.executable, "-c", program, path]
    subprocess.run(command, env={**os.environ, **environment}, check=True)
    return torch.load(path)


def test_every_start_moves_by_1e_7_of_itself_and_no_order_of_examples_does(tmp_path):
    *drawn, order = saved(DRAW, tmp_path / "drawn.pt")
    *moved, same_order = saved(DRAW, tmp_path / "moved.pt", MOVED_WEIGHTS="1")
    assert torch.equal(order, same_order)
    for before, after in zip(drawn, moved):
        relative = (after.double() - before.double()) / before.double()
        # the step between float32 numbers is 0.6 to 1.2e-7 of them
        assert relative.abs().max() < 2e-7
        assert (relative != 0).all()
        assert 0.2 < (relative > 0).double().mean() < 0.8


@pytest.mark.second_ring(sample=0)
def test_the_same_start_moves_to_the_same_place_and_another_direction_to_another(tmp_path):
    first, again, other = (
        saved(DRAW, tmp_path / "moved.pt", MOVED_WEIGHTS=direction)[0] for direction in "112"
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.second_ring(sample=0)
def test_the_processors_that_are_stood_in_for_round_in_their_own_way(tmp_path):
    found = [
        tuple(saved(MULTIPLY, tmp_path / "product.pt", **environment).tolist())
        for environment in processors.processors().values()
    ]
    has_more = torch.backends.cpu.get_cpu_capability() != "DEFAULT"
    assert (len(set(found)) > 1) == has_more
