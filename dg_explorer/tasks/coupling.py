"""Whether the examples of a batch see each other: in the model, in the output, or in the loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import nn

from ..errors import DGExplorerError, SettingError
from ..memory import ran_out
from .task import Task

# of the precision that a number is held in: what another size of batch may change by rounding.
# Sums of products run in another order, so some hundreds of units; reduced precision, a few.
_ROOM = {
    torch.float64: 1e-9,
    torch.float32: 1e-4,
    torch.float16: 2e-2,
    torch.bfloat16: 1e-1,
}


class CoupledBatchError(SettingError):
    """The examples of a batch see each other, so that none has a loss or gradient of its own."""


def check_independent(model: nn.Module, task: Task, batch: Any, take: Callable) -> None:
    """Refuse a model, an output or a loss that depends on the rest of the batch.

    One batch is served whole and split two ways; a number that depends on the company of its
    example differs. A coupled loss beside a plain output is found too.

    Parameters
    ----------
    model : module
        In the mode in which it is asked; its buffers are put back.
    batch : at least two examples
    take : function (batch, int64 tensor of places) -> batch

    Raises
    ------
    CoupledBatchError
        Names the module, the output or the loss.
    """
    with torch.no_grad(), _buffers_kept(model):
        whole = _asked(model, task, batch)
        n = len(whole["output"])
        for parts in (_alternating(n), _halves(n)) if n > 1 else ():
            pieces = [_part_asked(model, task, take(batch, part), len(part), n) for part in parts]
            back = torch.argsort(torch.cat(parts))
            for what, values in whole.items():
                if any(what not in piece for piece in pieces):
                    continue
                apart = torch.cat([piece[what] for piece in pieces])[back.to(values.device)]
                off = _difference(values, apart)
                if off > room(model, values):
                    _refuse(model, task, batch, take, parts[0], what, off)


def room(model: nn.Module, values: torch.Tensor) -> float:
    """The relative difference that rounding alone may cause, by the coarsest dtype in the model."""
    dtypes = {p.dtype for p in model.parameters() if p.is_floating_point()} | {values.dtype}
    found = max(_ROOM.get(dtype, 1e-4) for dtype in dtypes)
    if torch.float32 in dtypes and torch.get_float32_matmul_precision() != "highest":
        found = max(found, 2e-2)  # products in bfloat16 or TF32
    if torch.float32 in dtypes and values.is_cuda and torch.backends.cudnn.allow_tf32:
        found = max(found, 5e-3)  # convolutions in TF32, which is torch's default
    return found


def _asked(model, task, batch) -> dict[str, torch.Tensor]:
    """Output and loss of a batch, as far as the task has them."""
    prediction = task.predict(model, batch)
    found = {"output": task.output(prediction, batch)}
    with suppress(NotImplementedError, SettingError):  # a task may have no loss
        found["loss"] = task.loss(prediction, batch)
    return {what: values.detach() for what, values in found.items()}


def _part_asked(model, task, part, n_part: int, n: int) -> dict[str, torch.Tensor]:
    """Output and loss of a part of a batch that was answered as a whole."""
    try:
        return _asked(model, task, part)
    except (RuntimeError, ValueError, IndexError) as error:
        if isinstance(error, DGExplorerError) or ran_out(error):
            raise
        by_batch = [
            f"{type(module).__name__} {name!r}"
            for name, module in model.named_modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm)
            and (module.training or module.running_mean is None)
        ]
        told = (
            f"{by_batch[0]} normalises with the statistics of its batch, so the examples see each "
            f"other. Give it running statistics (track_running_stats=True) or normalise over "
            f"features, and call .eval()."
            if by_batch
            else "An example is scored by itself, so the model must answer batches of any size."
        )
        raise CoupledBatchError(
            f"The model answers a batch of {n} examples, but not one of {n_part} "
            f"({type(error).__name__}: {str(error).splitlines()[0][:160]}). {told}"
        ) from error


def _difference(whole: torch.Tensor, apart: torch.Tensor) -> float:
    """Largest difference over the usual size of the numbers; infinite where finiteness differs."""
    whole, apart = whole.double(), apart.double()
    finite = torch.isfinite(whole)
    if not torch.equal(finite, torch.isfinite(apart)):
        return float("inf")
    if not finite.any():
        return 0.0
    size = whole[finite].square().mean().sqrt().clamp(min=1e-12)
    return float((whole - apart)[finite].abs().max() / size)


def _alternating(n: int) -> list[torch.Tensor]:
    return [torch.arange(0, n, 2), torch.arange(1, n, 2)]


def _halves(n: int) -> list[torch.Tensor]:
    """Another company for each: the first half backwards, then the rest."""
    middle = (n + 1) // 2
    return [torch.arange(middle - 1, -1, -1), torch.arange(n - 1, middle - 1, -1)]


def _refuse(model, task, batch, take, part, what, off) -> None:
    first, second = (_asked(model, task, batch)[what] for _ in range(2))
    drawn = _difference(first, second)
    if drawn > room(model, first):
        raise CoupledBatchError(
            f"The {what} of the same batch differs by {drawn:.1e} (relative) from one call to the "
            f"next: the model draws at random also in eval mode, so that an example has no answer "
            f"of its own. Let its forward use the mean, or a generator that it seeds itself, while "
            f"model.training is False."
        )
    module = coupling_module(model, task, batch, take, part, off / 20)
    if module is not None:
        told = f"{module} of the model makes"
        advice = (
            "Normalise over features instead of over the batch, or give the layer running "
            "statistics and evaluate with them."
        )
    else:
        told = f"the {what} of the task {task.name!r} makes"
        advice = (
            "A contrastive loss has no part for each example: attribute an output and a loss that "
            "compare an example with fixed others, as task='clip' does with stored pairs."
        )
    raise CoupledBatchError(
        f"The {what} of an example differs by {off:.1e} (relative) with the rest of its batch: "
        f"{told} the examples of a batch see each other, so that none has a gradient of its own "
        f"and every score would depend on the batch size. {advice}"
    )


def coupling_module(model, task, batch, take, part, off) -> str | None:
    """The first module, in the order of the call, with answers that differ by `off` in company."""
    whole, alone = {}, {}
    for found, served in ((whole, batch), (alone, take(batch, part))):
        with _answers(model, found), torch.no_grad():
            task.predict(model, served)
    for name, values in whole.items():
        other = alone.get(name)
        if other is None or len(values) < len(part) or other.shape[1:] != values.shape[1:]:
            continue
        same = values[part.to(values.device)] if len(values) > int(part.max()) else None
        if same is None or same.shape != other.shape:
            continue
        if _difference(same, other) > off:
            module = dict(model.named_modules())[name]
            return f"{type(module).__name__} {name!r}" if name else type(module).__name__
    return None


@contextmanager
def _answers(model: nn.Module, found: dict) -> Iterator[None]:
    """Keep what each module without children returns, in the order of the call."""

    def keep(name):
        def hook(module, args, out):
            if torch.is_tensor(out) and out.ndim and out.is_floating_point():
                found.setdefault(name, out.detach())

        return hook

    handles = [m.register_forward_hook(keep(n)) for n, m in model.named_modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _buffers_kept(model: nn.Module) -> Iterator[None]:
    """Running statistics and the like as they were: a pass in training mode moves them."""
    before = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in before:
                buffer.copy_(value)
