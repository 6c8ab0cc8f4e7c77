"""How far `TRAKer` agrees with the TRAK library on the same checkpoint, printed as a table.

Run `python -m benchmarks.traker_parity`; needs `pip install traker`.
"""

from __future__ import annotations

import logging
import tempfile
import time
from itertools import pairwise

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from dg_explorer.attribution.traker.projectors import NoOpProjector
from dg_explorer.attribution.traker.traker import TRAKer

RIDGES = (20.0, 200.0, 1000.0)


def digits(n_train: int = 1000, n_test: int = 300):
    """A small network trained on scikit-learn's digits, and both sets."""
    from sklearn.datasets import load_digits

    inputs, labels = load_digits(return_X_y=True)
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(inputs), generator=generator)
    x = torch.tensor(inputs / 16, dtype=torch.float32)[order]
    y = torch.tensor(labels)[order]
    train = TensorDataset(x[:n_train], y[:n_train])
    test = TensorDataset(x[n_train : n_train + n_test], y[n_train : n_train + n_test])
    torch.manual_seed(0)
    widths = [64, 64, 32, 10]
    layers = [torch.nn.Linear(a, b) for a, b in pairwise(widths)]
    model = torch.nn.Sequential(
        layers[0], torch.nn.ReLU(), layers[1], torch.nn.ReLU(), layers[2]
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-3)
    for _ in range(40):
        for inputs, labels in DataLoader(train, 50, shuffle=True, generator=generator):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
    return model, train, test


def scores_of(cls, model, train, test, **settings) -> tuple[np.ndarray, float]:
    """Scores by the streaming interface, shape (train, target), and the seconds they took."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        traker = cls(
            model=model,
            task="image_classification",
            train_set_size=len(train),
            save_dir=folder,
            device="cpu",
            **settings,
        )
        state = model.state_dict()
        traker.load_checkpoint(state, model_id=0)
        for batch in DataLoader(train, 50):
            traker.featurize(batch=batch, num_samples=len(batch[0]))
        traker.finalize_features()
        traker.start_scoring_checkpoint("x", state, model_id=0, num_targets=len(test))
        for batch in DataLoader(test, 50):
            traker.score(batch=batch, num_samples=len(batch[0]))
        scores = np.array(traker.finalize_scores("x"))
    return scores, time.perf_counter() - start


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson correlation of all scores."""
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def main() -> None:
    try:
        import trak
        import trak.projectors
    except ImportError as error:
        raise SystemExit(
            "This compares with the TRAK library, which is not installed: pip install traker"
        ) from error

    logging.disable(logging.INFO)
    data = digits()
    print("Digits, 1,000 train x 300 targets, one checkpoint of a 64-64-32-10 network.")
    ours, seconds = scores_of(TRAKer, *data, projector=NoOpProjector(), lambda_reg=5.0)
    theirs, slow = scores_of(
        trak.TRAKer,
        *data,
        projector=trak.projectors.NoOpProjector(device="cpu"),
        lambda_reg=5.0,
        use_half_precision=False,
    )
    print(f"unprojected, lambda 5: correlation {correlation(ours, theirs):.6f}")
    print(f"  {seconds:.1f} s against {slow:.1f} s")
    exact, _ = scores_of(TRAKer, *data, projector=NoOpProjector())
    print("2,048 dimensions, drawn independently, correlation with the library's scores:")
    print("  lambda   ours dense   ours factored   the library with another seed")
    for ridge in RIDGES:
        alike = {"lambda_reg": ridge}
        theirs, _ = scores_of(trak.TRAKer, *data, use_half_precision=False, **alike)
        again, _ = scores_of(
            trak.TRAKer, *data, use_half_precision=False, projector_seed=7, **alike
        )
        dense, _ = scores_of(TRAKer, *data, proj_type="normal", **alike)
        factored, _ = scores_of(TRAKer, *data, **alike)
        found = [correlation(s, theirs) for s in (dense, factored, again)]
        print(f"  {ridge:6.0f} {found[0]:12.4f} {found[1]:15.4f} {found[2]:30.4f}")
    print("Everyone's defaults, correlation with exact scores:")
    for name, cls in (("the library", trak.TRAKer), ("ours", TRAKer)):
        found, seconds = scores_of(cls, *data)
        print(f"  {name}: {correlation(found, exact):.3f} in {seconds:.1f} s")


if __name__ == "__main__":
    main()
