"""Proof of a replay: every segment of the training taken again and compared with its checkpoint.

A segment, from one checkpoint to the next, is proved where taking its steps again ends at the
recorded weights, to a small part of the way that it went: not of the size of the weights, which
any small step passes. A segment that moved nothing proves nothing.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import xarray as xr

from ..checkpoints.store import load_checkpoint, load_initial
from ..errors import RunError
from ..tasks.identity import code_digest, model_digest, unknown_in
from .flat_model import NotDeterministicError
from .loss.trained_loss import trained_loss
from .own_steps import LOSS_TAKEN, OwnSteps
from .passes import answers_of
from .precision import OFF
from .proof_table import GROUP, ReplayProof, Segment, read_proof, segments_of
from .recorded_steps import REMAINING, ReplayMissingError
from .step.by_hand import OptimizerSettings, UnsupportedOptimizerError
from .step.check import check_step
from .step.generic import OptimizerStep

# Part of the way of a segment by which its end may differ; other roundings leave 1e-6 to 1e-4.
TOLERANCE = 1e-3
# Of a loss plus one, by which it may differ: single precision, and other roundings on the way.
ANSWERS_TOLERANCE = 1e-4
# The rule that is differentiated against torch's own step, relative to that step.
RULE_TOLERANCE = 1e-3


class LibraryChangedError(NotDeterministicError):
    """The same steps give other weights with this version of torch than with the recorded one."""


def prove_replay(
    run,
    own: OwnSteps,
    rule: OptimizerSettings | OptimizerStep,
    *,
    take: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> ReplayProof:
    """Take the segments that are not proved yet again, in order, and keep what comes out.

    Kept as `validity/replay`: a proof is paid for once, and goes on where it was interrupted.

    Parameters
    ----------
    own : OwnSteps
        At the state before the first step.
    rule : OptimizerSettings or OptimizerStep
        The rule that is differentiated: it must take each step that is looked at as torch does.
    take : bool
        Without it, only what is in the record is read.
    progress : callable ``(steps taken, steps)``

    Raises
    ------
    ReplayMissingError
        There is no checkpoint after the first step.
    NotDeterministicError
        A segment ends elsewhere; `LibraryChangedError` if torch's version is another one, too.
    UnsupportedOptimizerError
        The rule steps otherwise than the optimizer.
    """
    segments = segments_of(run)
    if not segments:
        raise ReplayMissingError(
            "This run has no checkpoint after its first step, so a replay cannot be compared with "
            f"anything. Record with checkpoint_every=1 or more. {REMAINING}"
        )
    made_from = _made_from(own)
    table = _there(run, made_from)
    if table is not None and "loss_taken" in table:
        own.loss_taken = str(table.loss_taken.values[-1])
    done = [] if table is None else table.epoch.values[table.proved | (table.moved == 0)].tolist()
    anchored = [] if own.remembers else segments
    own.anchors = {s.first: _reader(run, s.begin) for s in anchored if s.begin is not None}
    if not take:
        return ReplayProof(table, segments)
    total = segments[-1].last
    for segment in segments:
        if segment.end not in done:
            row = _take_again(run, own, segment, rule, made_from)
            table = _keep(run, table, row)
            if bool(row.moved > 0) and not bool(row.proved):
                raise _mismatch(run, own, segment, row)
        if progress:
            progress(segment.last, total)
    proof = ReplayProof(table, segments)
    if proof.all_bits:
        own.anchors = {}  # one's own states are the recorded ones
    return proof


def _reader(run, epoch: int) -> Callable[[], tuple[dict, dict | None]]:
    def read():
        checkpoint = load_checkpoint(run, epoch)
        return checkpoint.weights, checkpoint.optimizer

    return read


def _take_again(run, own: OwnSteps, segment: Segment, rule, made_from: str) -> xr.Dataset:
    """One segment taken again, in mixed precision with the loss taken in each way until one fits.

    The way that fits the first such segment to the bit, or nearest, is that of the training.
    """
    mixed = own.steps.precisions
    first = mixed is not None and not mixed.within(0, segment.first)
    if not first or mixed is None or not mixed.within(segment.first, segment.last):
        return _take(run, own, segment, rule, made_from)
    tried: dict[str, xr.Dataset] = {}
    for way in LOSS_TAKEN:
        own.loss_taken = way
        tried[way] = _take(run, own, segment, rule, made_from)
        if bool(tried[way].bits):
            return tried[way]
    last, own.loss_taken = LOSS_TAKEN[-1], min(tried, key=lambda way: tried[way].distance.item())
    if own.loss_taken != last:  # and stand where it leads
        return _take(run, own, segment, rule, made_from)
    return tried[own.loss_taken]


def _take(run, own: OwnSteps, segment: Segment, rule, made_from: str) -> xr.Dataset:
    """One segment taken again: a row of the table."""
    begin = _go_to(run, own, segment)
    without: list[str] = []
    for step in range(segment.first, segment.last):
        after = step - segment.first
        due = after & (after + 1) == 0 or step == segment.last - 1
        before = own.state()
        own.take()
        others = own.without_gradient()
        if due or others != without or rule.generic:  # 1, 2, 4, 8, ... steps, and the last
            _check_rule(own, rule, before)
        if due and rule.generic:
            check_step(rule, before, own.gradient(), step, rule.lr_at(step, len(own.steps)))
        without = others
    recorded = load_checkpoint(run, segment.end).weights
    got = own.model.state_dict()
    names = [n for n, value in recorded.items() if value.is_floating_point()]
    _check_held(own, segment, begin.weights, recorded)
    off = {n: _size(got[n], recorded[n]) for n in names}
    went = {n: _size(begin.weights[n], recorded[n]) for n in names}
    distance, moved = _norm(off, names), _norm(went, names)
    each = own.steps.trained_by_each()  # a long way of one hides nothing of another
    worst = max(names, key=lambda n: off[n] / went[n] if went[n] else off[n])
    columns = {
        "first_step": segment.first,
        "last_step": segment.last,
        "moved": moved,
        "distance": distance,
        "proved": moved > 0
        and all(_near(off, went, part, begin.weights) for part in (names, *each)),
        "bits": all(torch.equal(got[n].cpu(), recorded[n].cpu()) for n in names),
        "worst_tensor": worst,
    }
    if own.steps.precisions is not None:
        columns["loss_taken"] = own.loss_taken
    return xr.Dataset(
        {name: ("epoch", np.array([value])) for name, value in columns.items()},
        {"epoch": [segment.end]},
        {"made_from": made_from, "threads": own.steps.threads, "tolerance": TOLERANCE},
    )


def _near(off: dict, went: dict, names: list[str], begin: dict) -> bool:
    """Whether some tensors end where they should, to a small part of the way they went."""
    sizes = {n: 4 * torch.finfo(begin[n].dtype).eps * float(begin[n].norm()) for n in names}
    return _norm(off, names) <= (TOLERANCE * _norm(went, names) or _norm(sizes, names))


def _norm(sizes: dict, names) -> float:
    return float(np.sqrt(sum(sizes[n] ** 2 for n in names if n in sizes)))


def _check_held(own: OwnSteps, segment: Segment, begin: dict, end: dict) -> None:
    """No parameter has moved that no recorded optimizer held; `ReplayMissingError` names it."""
    trained = own.steps.trained
    for name, _ in own.model.named_parameters():
        if name not in trained and name in end and not torch.equal(begin[name], end[name]):
            raise ReplayMissingError(
                f"{name} moved in steps {segment.first} to {segment.last}, and no optimizer that "
                f"was recorded holds it. Give the recorder every optimizer of the model: "
                f"Recorder(run, model, [one, other], replay=True). {REMAINING}"
            )


def _go_to(run, own: OwnSteps, segment: Segment):
    """Stand at the beginning of a segment; returns its checkpoint."""
    begin = load_initial(run) if segment.begin is None else load_checkpoint(run, segment.begin)
    if segment.begin is None:
        own.load(0, begin.weights, None)
    elif begin.optimizer is not None and not own.remembers:
        own.load(segment.first, begin.weights, begin.optimizer)
    elif own.at != segment.first:  # begun in another call: only the start has all of the state
        own.load(0, load_initial(run).weights, None)
        while own.at < segment.first:
            own.take()
    if segment.begin is not None and begin.optimizer is None and not own.remembers:
        own.put(begin.weights)  # equal, but for the last bits on another processor
    return begin


def _check_rule(own: OwnSteps, rule: OptimizerSettings, before) -> None:
    """The rule that is differentiated takes the step that torch has just taken."""
    step = own.at - 1
    after = own.state()
    # closer looks of sharpness-aware optimizers take a gradient elsewhere
    gradient: Any = own.gradient_at if hasattr(own.optimizer, "first_step") else own.gradient()
    wanted = rule.step(before, gradient, step, rule.lr_at(step, len(own.steps)), through=True)
    eps = torch.finfo(after[0].dtype).eps
    for name, was, now, by_rule in own.by_tensor(before[0], after[0], wanted[0]):
        moved = float((now - was).double().norm())
        off = float((now - by_rule).double().norm())
        if off > RULE_TOLERANCE * moved + 4 * eps * float(now.double().norm()):
            raise UnsupportedOptimizerError(
                f"At step {step} torch's {own.steps.optimizer} moves {name} otherwise than the "
                f"rule that would be differentiated ({off / moved if moved else np.inf:.1e} of "
                f"the step away): a setting of the optimizer, or parameters without a gradient at "
                f"some steps. {REMAINING}"
            )


def _size(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.double().cpu() - b.double().cpu()).norm())


def _keep(run, table, row: xr.Dataset) -> xr.Dataset:
    """The table with one more row, also in the record where it can be written."""
    try:
        if table is None and GROUP in run:
            run.delete(GROUP)  # of other data, another model or another version
        if table is None or row.epoch.values[0] > table.epoch.values[-1]:
            run.append(GROUP, row)
            run.flush()
    except RunError:
        pass  # read-only, or another process records: the proof is then paid for again
    if table is None:
        return row
    rest = table.sel(epoch=table.epoch != row.epoch.values[0])
    return xr.concat([rest, row], "epoch", combine_attrs="override").sortby("epoch")


def _there(run, made_from: str) -> xr.Dataset | None:
    table = read_proof(run)
    if table is None or table.attrs.get("made_from") != made_from:
        return None
    failed = (table.moved > 0) & ~table.proved
    return None if bool(failed.any()) else table


def _made_from(own: OwnSteps) -> str:
    """A digest of what a proof depends on: data, order, loss, version, and the model's answers."""
    digest = hashlib.sha256()
    batch = torch.as_tensor(own.steps.batches[0][:8])
    training = [module for module in own.model.modules() if module.training]
    if own.steps.draws is not None:
        own.model.eval()  # which draws nothing
    with torch.no_grad(), own.under(OFF):
        answers = own.model(own.inputs[batch])
    for module in training:
        module.training = True
    answers = answers_of(answers)
    for part in (own.inputs, own.labels, answers.detach()):
        digest.update(part.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    for batch in own.steps.batches:
        digest.update(batch.tobytes())
    if own.steps.precisions is not None:
        digest.update(own.steps.precisions.digest())
    if own.steps.weights is not None:
        digest.update(np.concatenate(own.steps.weights).tobytes())
    said = (code_digest(own.loss), own.kind, str(torch.__version__))
    if unknown_in(own.loss):
        said += (secrets.token_hex(8),)  # never taken for the same
    said += (model_digest(own.model),)
    if own.whole is not None:
        said += (repr(sorted(vars(own.whole).items())),)
    digest.update(repr(said).encode())
    return digest.hexdigest()


def _mismatch(run, own: OwnSteps, segment: Segment, row) -> NotDeterministicError:
    """The error of a segment that ends elsewhere, with what is known about why."""
    part = float(row.distance.item() / row.moved.item())
    earlier = "; all segments before it were proved" if segment.first else ""
    away = (
        f"Taking steps {segment.first} to {segment.last} again ends {part:.1%} of the way that "
        f"they went away from the weights recorded at {run.time_unit} {segment.end}, most in "
        f"{row.worst_tensor.values[0]}{earlier}. {first_difference(run, own, segment)}"
    )
    if own.steps.torch != str(torch.__version__):
        version = own.steps.torch.partition("+")[0]
        return LibraryChangedError(
            f"{away} It was recorded with torch {own.steps.torch}, and this is "
            f"{torch.__version__}: install torch=={version}, or train again. {REMAINING}"
        )
    return NotDeterministicError(
        f"{away} This training is not a function of its examples and their order. "
        f"{_likely(run)} {REMAINING}"
    )


def first_difference(run, own: OwnSteps, segment: Segment) -> str:
    """Where in a segment the training begins to differ, as far as the record can tell, in words.

    The record holds the loss of each training example at the step in which it was seen, or at
    the end of each epoch: the segment is taken once more and compared with those.
    """
    marks = _recorded_losses(run, own, segment)
    agreed = segment.first
    if marks:
        _go_to(run, own, segment)
    for step, rows, losses in marks:
        while own.at < step:
            own.take()
        now = own.recorded_losses(rows)
        off = np.abs(now - losses)
        # a batch of another size rounds its products in half precision otherwise
        room = 4 * torch.finfo(torch.bfloat16).eps if own.precision(step) else ANSWERS_TOLERANCE
        wrong = np.flatnonzero(~(off <= room * (1 + np.abs(losses))))
        if len(wrong):
            i = wrong[np.argmax(off[wrong])]
            told = (
                f"Before step {step} the loss of {len(wrong)} of {len(rows)} examples compared is "
                f"another one than recorded (the example at place {rows[i]} of the training set: "
                f"{losses[i]:.4g} recorded, {now[i]:.4g} now)"
            )
            if step == segment.first:
                return f"{told}, before any step of it: the data or the model are others."
            if step - 1 == agreed:
                return f"{told}: step {agreed} is the first that differs, or what followed it."
            return f"{told}: it differs somewhere in steps {agreed} to {step - 1}."
        agreed = step
    if agreed == segment.last - 1:
        return f"All losses recorded up to step {agreed} agree: it is the first that differs."
    if agreed > segment.first:
        return (
            f"It differs somewhere in steps {agreed} to {segment.last - 1}; up to there the "
            f"recorded losses agree."
        )
    return f"It differs somewhere in steps {segment.first} to {segment.last - 1}."


def _recorded_losses(run, own: OwnSteps, segment: Segment) -> list:
    """What the record holds of losses within a segment: (step, positions, losses), in order."""
    task = run.attrs.get("task")
    known = isinstance(task, dict) and task.get("name") in ("classification", "binary")
    known = known and own.steps.draws is None  # those of other masks
    if not known or "dynamics/train" not in run or own.labels.is_floating_point():
        return []
    dynamics, taken = run["dynamics/train"], run["metrics"]["steps_taken"]
    by_step = str(dynamics.attrs.get("measured", "")).startswith("while training")
    rows, found, first = own.steps.ids, {}, 0
    for epoch, last in zip(taken["epoch"].values.tolist(), taken.values):
        begin, first = first, int(last) if np.isfinite(last) else first
        if first <= segment.first or begin >= segment.last:
            continue
        if epoch not in dynamics["epoch"].values or not by_step:
            continue
        row = dynamics["loss"].sel(epoch=epoch)
        losses = dict(zip(row["train"].values.tolist(), row.values.tolist()))
        seen: set[int] = set()
        for step in reversed(range(begin, first)):  # of an example that comes twice the last counts
            batch = [p for p in dict.fromkeys(own.steps.batches[step].tolist()) if p not in seen]
            seen.update(batch)
            batch = [p for p in batch if np.isfinite(losses.get(int(rows[p]), np.nan))]
            if batch and segment.first <= step < segment.last:
                then = np.array([losses[int(rows[p])] for p in batch])
                found[step] = (step, np.array(batch), then)
    return [found[step] for step in sorted(found)]


def _likely(run) -> str:
    """What the recorder noticed that may be the reason, or the usual ones."""
    found, reasons = trained_loss(run), []
    if found is not None and found.contradicts:
        reasons.append(found.words)
    if found is not None and found.gradient in ("scaled", "other"):
        reasons.append(found.gradient_words)
    for what, step in (run.attrs.get("weights_watched") or {}).items():
        reasons.append(f"From step {step} on {what}.")
    usual = (
        "Usual reasons: random augmentation or dropout, another loss than mean cross-entropy, "
        "gradient clipping, layers frozen or unfrozen on the way, another precision, autocast "
        "round several steps (it keeps the weights of the first; put it round the forward pass "
        "alone), other data."
    )
    return f"What the recorder saw: {' '.join(reasons)}" if reasons else usual
