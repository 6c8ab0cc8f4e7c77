"""The gradient of a question: of a weighted sum over a batch, in one backward a batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from ...data.batch import calling
from ...errors import DataError
from ..gradients.explicit import as_real, wide
from ..gradients.factors import Explicit, Factor
from ..gradients.plan import Plan
from ..gradients.reading import check_finite
from ..gradients.watching import undisturbed
from .measures import Outputs
from .query import Query


def query_gradient(
    model: nn.Module, plan: Plan, query: Query, own: Outputs, moved: Callable
) -> tuple[list[Factor], float]:
    """The gradient of one number that is asked of a model, and the number.

    The examples of a batch are summed before they are differentiated: one backward a batch,
    however many examples are in it.

    Parameters
    ----------
    own : the output as the method differentiates it for a test example
    moved : function (batch, model) -> batch on the model's device

    Returns
    -------
    layers : factors of one "example", laid out as the plan fuses parameters
    value : the mean over the examples

    Raises
    ------
    NonFiniteError
        Names the examples of which the number is NaN or infinite.
    DataError
        A function gives another number of values than there are examples.
    """
    own_parameters = dict(model.named_parameters())
    names = list(plan.parameters)
    wanted = [own_parameters[name] for name in names]
    total: list[torch.Tensor] = [wide(as_real(torch.zeros_like(p))) for p in wanted]
    value = 0.0
    with undisturbed(model, names), torch.enable_grad():
        for term in query.terms:
            share = term.times / len(term.data)
            for batch in term.data:
                with calling(batch, "query"):
                    values = term.measure(model, plan.task, moved(batch, model), own)
                if not torch.is_tensor(values) or values.shape != (len(batch),):
                    raise DataError(
                        f"{term.measure.told!r} gives "
                        f"{tuple(getattr(values, 'shape', ())) or type(values).__name__} for "
                        f"{len(batch)} examples; one number an example is needed."
                    )
                check_finite(values, "output", batch.ids, True)
                value += share * float(values.detach().double().sum())
                if not values.requires_grad:
                    continue
                found = torch.autograd.grad(share * values.sum(), wanted, allow_unused=True)
                total = [
                    t if g is None else t + wide(as_real(g))
                    for t, g in zip(total, found, strict=True)
                ]
    gradients = dict(zip(names, total, strict=True))
    return [
        Explicit.of({name: gradients[name][None] for name in group}) for group in _groups(plan)
    ], value


def _groups(plan: Plan) -> list[list[str]]:
    """Parameters that the plan keeps together: a layer's weight and bias."""
    biases = set(plan.fused.values())
    return [
        [name, plan.fused[name]] if name in plan.fused else [name]
        for name in plan.parameters
        if name not in biases
    ]
