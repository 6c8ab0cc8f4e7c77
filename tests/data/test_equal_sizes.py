"""As many units as positions: which axis is which is seen, or asked for, and never guessed."""

import numpy as np
import pytest
import torch
from torch import nn

from dg_explorer.data.batch import Batch
from dg_explorer.data.evaluation import LayerOutputs
from dg_explorer.errors import SettingError

SIZE = 4


class Turned(nn.Module):
    """A convolution over positions, turned to (example, position, unit) for what follows."""

    def __init__(self, head=None):
        super().__init__()
        self.convolution = nn.Conv1d(3, SIZE, 3, padding=1)
        self.turned = nn.Identity()
        self.head = head or nn.Linear(SIZE, 2)

    def forward(self, x):
        states = self.turned(self.convolution(x).transpose(1, 2).relu())
        return self.head(states).flatten(1)


class Placed(Turned):
    """The same, with a position added to the input, so that no shorter one is taken."""

    def __init__(self):
        super().__init__()
        self.place = nn.Parameter(torch.randn(SIZE))

    def forward(self, x):
        return super().forward(x + self.place)


def rows(model, layer, x, **how):
    torch.manual_seed(0)
    batch = Batch((x,), {}, None, np.arange(len(x)), (x,))
    listen = LayerOutputs({layer: dict(model.named_modules())[layer]}, **how)
    with torch.no_grad():
        return listen(model, batch)[1][layer]


@pytest.mark.parametrize("n", [2, SIZE, 5], ids=lambda n: f"{n} examples")
def test_units_that_were_moved_are_not_taken_for_positions(n):
    torch.manual_seed(1)
    model, x = Turned(), torch.randn(n, 3, SIZE)
    states = model.convolution(x).relu()
    assert torch.allclose(rows(model, "turned", x), states.mean(2), atol=1e-6)
    assert torch.allclose(rows(model, "convolution", x), model.convolution(x).mean(2), atol=1e-6)


def test_what_goes_into_a_layer_has_units_where_the_layer_takes_them():
    torch.manual_seed(1)
    model, x = Turned(nn.Linear(SIZE, SIZE)), torch.randn(5, 3, SIZE)
    states = model.convolution(x).relu()
    assert torch.allclose(rows(model, "head", x, inputs=True), states.mean(2), atol=1e-6)
    model.head = nn.Linear(SIZE, 6)  # as many classes as positions
    x = torch.randn(5, 3, 6)
    states = model.convolution(x).relu()
    assert torch.allclose(rows(model, "head", x, inputs=True), states.mean(2), atol=1e-6)


def test_axes_that_cannot_be_told_apart_are_asked_about():
    model = Placed()
    with pytest.raises(SettingError, match=r"which axis counts its units.*Name the layer before"):
        rows(model, "turned", torch.randn(5, 3, SIZE))
    assert rows(model, "convolution", torch.randn(5, 3, SIZE)).shape == (5, SIZE)


def test_channels_of_square_images_stay_channels():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(3, SIZE, 1), nn.GELU(), nn.Flatten(), nn.Linear(SIZE**3, 2))
    x = torch.randn(5, 3, SIZE, SIZE)
    assert torch.allclose(rows(model, "1", x), model[:2](x).mean((2, 3)), atol=1e-6)
