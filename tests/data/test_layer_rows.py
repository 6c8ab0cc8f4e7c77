"""Which row of a layer's output is which example: known, or refused."""

import numpy as np
import pytest
import torch
from torch import nn

from dg_explorer.data.batch import Batch
from dg_explorer.data.evaluation import LayerOutputs
from dg_explorer.data.forward import aside, evaluating
from dg_explorer.errors import SettingError


class Routed(nn.Module):
    """Each example goes to one of two experts, by the sign of its first input."""

    def __init__(self):
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(4, 6) for _ in range(2))
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        to = (x[:, 0] > 0).long()
        h = x.new_zeros(len(x), 6)
        for k, expert in enumerate(self.experts):
            if (to == k).any():
                h[to == k] = expert(x[to == k])
        return self.head(h)


class Sorted(nn.Module):
    """A layer sees the examples in the order of their first input."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x):
        order = x[:, 0].argsort()
        return self.head(self.layer(x[order])[order.argsort()])


def features(model, layer, x):
    batch = Batch((x,), {}, None, np.arange(len(x)), x)
    with evaluating(model), torch.no_grad():
        return LayerOutputs({layer: model.get_submodule(layer)})(model, batch)[1][layer]


def inputs(*signs):
    torch.manual_seed(0)
    x = torch.randn(len(signs), 4)
    x[:, 0] = torch.tensor(signs, dtype=torch.float) * x[:, 0].abs()
    return x


@pytest.mark.parametrize("signs", [(1, 1, -1, -1, 1, 1), (1, -1, -1, 1, -1, 1), (1, -1, -1, -1)])
def test_a_layer_that_only_some_examples_go_through_has_no_features_of_all(signs):
    with pytest.raises(SettingError, match=r"Not every example goes through.*all go through"):
        features(Routed(), "experts.1", inputs(*signs))


def test_where_all_go_through_an_expert_its_rows_are_theirs():
    model, x = Routed(), inputs(1, 1, 1, 1)
    torch.testing.assert_close(features(model, "experts.1", x), model.experts[1](x).detach())


def test_a_layer_that_sees_examples_in_another_order_is_refused_and_the_next_is_not():
    model, x = Sorted(), torch.tensor([0.5, 2.0, -1.0, 1.0])[:, None] + torch.randn(4, 4) / 100
    with pytest.raises(SettingError, match="in another order"):
        features(model, "layer", x)
    torch.testing.assert_close(features(model, "head", x), model(x).detach())


def test_a_question_about_the_model_in_between_is_not_taken_for_its_answer():
    model, x = Sorted(), inputs(1, -1, 1)

    def predict(model, batch):
        answer = batch.predict(model)
        with aside():
            batch.take([0]).predict(model)
        return answer

    batch = Batch((x,), {}, None, np.arange(3), x)
    with evaluating(model), torch.no_grad():
        answer, rows = LayerOutputs({"head": model.head})(model, batch, predict)
    torch.testing.assert_close(rows["head"], answer)
