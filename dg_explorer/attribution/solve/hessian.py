"""The exact Hessian of the training loss, written out: for models of a few thousand parameters."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.func import functional_call, grad, vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from ...errors import NonFiniteError, SettingError
from ...tasks import Task
from ..gradients.watching import undisturbed

MOST_PARAMETERS = 20_000
COLUMNS = 64  # Hessian-vector products taken together


def loss_hessian(model, task: Task, batches: Iterable, names: list[str]) -> torch.Tensor:
    """Sum over examples of the Hessians of their losses, float64, shape (entries, entries).

    Parameters
    ----------
    names : parameters to differentiate by, flattened one after another

    Raises
    ------
    SettingError
        The matrix would be larger than 20,000 x 20,000.
    """
    own = dict(model.named_parameters())
    sizes = [own[name].numel() for name in names]
    total = sum(sizes)
    if total > MOST_PARAMETERS:
        raise SettingError(
            f"The exact Hessian of {total} parameters would take {8 * total**2 / 1e9:.0f} GB. Use "
            f"curvature='gauss_newton', or attribute fewer layers with layers=."
        )
    first = own[names[0]]
    out = torch.zeros(total, total, dtype=torch.float64, device=first.device)
    eye = torch.eye(total, dtype=first.dtype, device=first.device)
    with undisturbed(model), sdpa_kernel(SDPBackend.MATH):
        rest = {k: v.detach() for k, v in own.items()} | dict(model.named_buffers())
        flat = torch.cat([rest.pop(name).flatten() for name in names])
        shapes = [own[name].shape for name in names]

        def total_loss(values, batch):
            pieces = [p.reshape(s) for p, s in zip(values.split(sizes), shapes)]
            given = rest | dict(zip(names, pieces))

            def called(*args, **kwargs):
                return functional_call(model, given, args, kwargs)

            return task.loss(task.predict(called, batch), batch).sum()

        for batch in batches:
            _, pull = vjp(grad(lambda v, batch=batch: total_loss(v, batch)), flat)
            for start in range(0, total, COLUMNS):
                out[start : start + COLUMNS] += vmap(pull)(eye[start : start + COLUMNS])[0]
    if not torch.isfinite(out).all():
        raise NonFiniteError("The Hessian of the loss is not finite.")
    return (out + out.T) / 2
