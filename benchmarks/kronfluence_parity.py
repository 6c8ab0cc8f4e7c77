"""How far EK-FAC agrees with kronfluence on the same checkpoint, printed as a table.

Run `python -m benchmarks.kronfluence_parity`; needs `pip install kronfluence`.

kronfluence fits the curvature to labels drawn from the model, anew each time. To compare the
rest, it is also given the whole Gauss-Newton matrix: every example once for each direction of
the curvature of its softmax. The damping is ours in both.
"""

from __future__ import annotations

import copy
import logging
import tempfile
import time
import warnings

import torch
from torch.utils.data import TensorDataset

from benchmarks.traker_parity import correlation, digits
from dg_explorer.attribution.methods.influence import InfluenceFunctionAttributor
from dg_explorer.tasks import as_task

ROWS = 9  # of a softmax over ten classes


def peer_scores(model, train, test, damping: float, *, exact: bool, seed: int = 0):
    """kronfluence's EK-FAC scores, float32, shape (test, train).

    Parameters
    ----------
    damping : added to the eigenvalues of the mean of what the factors are fitted to
    exact : fit to the Gauss-Newton matrix instead of drawn labels
    """
    from kronfluence.analyzer import Analyzer, prepare_model
    from kronfluence.arguments import FactorArguments, ScoreArguments
    from kronfluence.task import Task

    ours = as_task("classification")

    class Digits(Task):
        def compute_train_loss(self, batch, model, sample=False):
            logits = model(batch[0])
            if sample and exact:
                rows = ours.curvature_rows(logits, batch[:2], rows=ROWS)
                return rows.gather(1, batch[2][:, None]).sum()
            labels = torch.multinomial(logits.detach().softmax(1), 1)[:, 0] if sample else batch[1]
            return torch.nn.functional.cross_entropy(logits, labels, reduction="sum")

        def compute_measurement(self, batch, model):
            # its scores are gradient by gradient of the loss: ours go by the ascent
            return -ours.output(model(batch[0]), batch).sum()

    fitted = train
    if exact:
        row = torch.arange(ROWS).repeat(len(train))
        fitted = TensorDataset(*(t.repeat_interleave(ROWS, 0) for t in train.tensors), row)
    task = Digits()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        prepared = prepare_model(copy.deepcopy(model), task)
        analyzer = Analyzer(
            "digits", prepared, task, cpu=True, disable_tqdm=True, output_dir=folder,
            log_level=logging.ERROR,
        )  # fmt: skip
        analyzer.fit_all_factors(
            "factors", fitted, 100, factor_args=FactorArguments(strategy="ekfac")
        )
        analyzer.compute_pairwise_scores(
            "scores", "factors", test, train, 100, 100,
            score_args=ScoreArguments(damping_factor=damping),
        )  # fmt: skip
        found = analyzer.load_pairwise_scores("scores")
    return found["all_modules"].float()


def main() -> None:
    """Print correlations of all scores."""
    try:
        import kronfluence  # noqa: F401
    except ImportError as error:
        raise SystemExit(
            "This compares with kronfluence, which is not installed: pip install kronfluence"
        ) from error
    torch.set_num_threads(1)
    model, train, test = digits()
    n = len(train)
    ours = InfluenceFunctionAttributor(model, solver="ekfac", temperature=1.0, rows=ROWS)
    start = time.process_time()
    scores = ours.attribute(train, test)
    seconds = time.process_time() - start
    added = ours.damping_used[0]
    start = time.process_time()
    same = peer_scores(model, train, test, added / (n * ROWS), exact=True)
    slow = time.process_time() - start
    print("Digits, 1,000 train x 300 tests, one checkpoint of a 64-64-32-10 network, EK-FAC.")
    print(f"the same curvature: correlation {correlation(scores.numpy(), same.numpy()):.6f}")
    print(f"  {seconds:.1f} CPU s against {slow:.1f}")
    drawn = [
        peer_scores(model, train, test, added / n, exact=False, seed=seed).numpy()
        for seed in (0, 1)
    ]
    print(f"its drawn labels: correlation {correlation(scores.numpy(), drawn[0]):.4f}")
    print(f"  its own scores with labels drawn again: {correlation(*drawn):.4f}")


if __name__ == "__main__":
    main()
