"""Sanity checks of an attributor on a handful of examples, before it runs for hours."""

from __future__ import annotations

import torch

from ...errors import DGExplorerError
from ..gradients.explicit import explicit_gradients
from ..gradients.watching import select_parameters
from ..projections.kernel import gram


def validate_trak_setup(attributor, train_loader, test_loader, *, verbose: bool = True) -> bool:
    """Check gradients, projection and scores on at most ten training and five test examples.

    1. gradients of each example agree with plain autograd, one example at a time, to 1e-3;
    2. a projection keeps inner products as well as its width allows (where there is one);
    3. scores are finite, of shape (n_test, n_train), and not all equal;
    4. they do not depend on the batch an example came in;
    5. the model came out as it went in.

    Returns
    -------
    bool
        Whether all passed. What was found is printed unless `verbose` is False.
    """
    say = print if verbose else (lambda *_: None)
    say("Checking the attributor on a few examples")
    before = {name: value.clone() for name, value in attributor.model.state_dict().items()}
    modes = [module.training for module in attributor.model.modules()]
    try:
        passed = _checks(attributor, train_loader, test_loader, say)
    except (DGExplorerError, RuntimeError, ValueError) as error:
        say(f"  failed: {error}")
        return False
    same = all(torch.equal(v, before[k]) for k, v in attributor.model.state_dict().items())
    same &= modes == [module.training for module in attributor.model.modules()]
    same &= all(not module._forward_hooks for module in attributor.model.modules())
    passed &= _report(say, same, "the model is left as it was")
    say("All checks passed." if passed else "Not all checks passed.")
    return passed


def _checks(attributor, train_loader, test_loader, say) -> bool:
    model, _ = next(iter(attributor.models()))
    batch, _ = next(iter(attributor.batches(train_loader, 4, model)))
    names = select_parameters(model, attributor.layers)
    capture = attributor.capture(model, train_loader)
    worst = max(capture.plan.errors.values())
    raw = f", {len(capture.plan.raw)} of them without a rule" if capture.plan.raw else ""
    passed = _report(
        say,
        worst < 1e-3,
        f"gradients of {len(names)} parameters agree with autograd to {worst:.0e}{raw}",
    )
    layers = capture(batch).factors[0]
    truth = explicit_gradients(model, attributor.task, batch, names)
    flat = torch.cat([truth[name].flatten(1) for name in names], 1)
    zeros = int((flat == 0).all(1).sum())
    passed &= _report(say, zeros == 0, f"{zeros} of {len(flat)} gradients are zero")
    projection = getattr(attributor, "projection", None)
    if projection is not None:
        attributor.compute_train_features(train_loader, num_samples=10)  # draws landmarks
        projection = attributor.projection_now()
        exact, image = gram(layers).double(), projection(layers).double()
        error = float((image @ image.T - exact).norm() / exact.norm())
        # the error of an inner product has standard deviation sqrt(2 / dim) of the lengths
        allowed = 4 * (2 / projection.dim) ** 0.5
        passed &= _report(
            say,
            error < allowed,
            f"{projection}: inner products off by {error:.1%} (at most {allowed:.1%} expected)",
        )
    few = attributor.compute_train_features(train_loader, num_samples=10)
    queries = attributor.compute_test_features(test_loader, num_samples=5)
    scores = attributor.compute_attributions(few, queries)
    shape = (len(queries), len(few))
    passed &= _report(
        say, tuple(scores.shape) == shape, f"scores of shape {tuple(scores.shape)}, {shape} due"
    )
    passed &= _report(say, bool(torch.isfinite(scores).all()), "scores are finite")
    spread = float(scores.std(correction=0))
    passed &= _report(say, spread > 0, f"scores vary, with standard deviation {spread:.2g}")
    return passed & _batches_do_not_matter(attributor, train_loader, queries, scores, say)


def _batches_do_not_matter(attributor, train_loader, queries, scores, say) -> bool:
    """Scores from single-example batches against those from the loader's own."""
    model, _ = next(iter(attributor.models()))
    single = []
    for batch, _ in attributor.batches(train_loader, scores.shape[1], model):
        single += [batch.take(slice(i, i + 1)) for i in range(len(batch))]
    alone = attributor.compute_attributions(attributor.compute_train_features(single), queries)
    off = float((alone - scores).abs().max() / scores.abs().max().clamp(min=1e-300))
    return _report(say, off < 1e-2, f"scores depend on the batch by {off:.0e}")


def _report(say, passed: bool, what: str) -> bool:
    say(f"  {'ok' if passed else 'FAILED'}: {what}")
    return bool(passed)
