"""Exact influence through training: the derivative of an output by each example's weight."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch.func import grad, vmap
from tqdm.auto import tqdm

from ...arguments import Ids, checked
from ...errors import SettingError, UnknownExampleError
from ...schema import SIGN
from ...training.flat_model import FlatModel
from ...training.products import LossProducts
from ...training.replay import Replay
from ...training.step.by_hand import State
from ...training.training import Training
from ..gradients.watching import whatever_the_caller_does
from .denominator import WORDS, Following
from .film import film, group_rows
from .memory_needed import MemoryPlan, plan_memory


class UnrolledAttributor:
    """Scores that are the derivative of training itself, and when each exposure acted.

    The score of a training example for a test example at an epoch is d f / d w: how fast the
    output rises as the example's weight in every step's loss does. It is exact to rounding,
    for a deterministic run; whether a derivative says what *removing* the example does is
    another question, which `metasmoothness` answers.

    Of a training in mixed precision it is the derivative of the same steps without rounding, in
    single precision, at the weights and the optimizer's memory that the training went through;
    `docs/decisions/unrolled.md` says how near that is to what a training in single precision gives.

    Parameters
    ----------
    training : Training
        Start, data, order of batches, optimizer: all that determines the run.
    dtype : torch dtype
        Precision of what is carried back; states are replayed in the training's own. Scores are
        kept in float32 in a record. float64 is for comparing with finite differences.
    memory : int
        Bytes to stay under; decides how many optimizer states are kept and how many queries
        are carried at once. States that are not kept are computed again from the nearest one.
    mode : "auto", "forward" or "reverse"
        Forward, each training example or group is carried through training once, whatever the
        number of test examples and moments; in reverse, each (test, moment) once, whatever the
        number of training examples. By itself that with fewer products is taken.
    denominator : "fixed" or "follows"
        What changes with an example: its weight alone, while what the loss of a step is divided
        by stays (additive); or that too, as where its labels are masked. The two differ by 8 to
        44 % of a step's gradient in batches of language models; see `unrolled.denominator`.

    References
    ----------
    Maclaurin, Duvenaud & Adams (2015), "Gradient-based Hyperparameter Optimization through
    Reversible Learning", ICML; Hara, Nitanda & Maehara (2019), "Data Cleansing for Models
    Trained with SGD", NeurIPS; Ilyas & Engstrom (2025), "MAGIC", arXiv 2504.16430.
    """

    @checked
    def __init__(
        self,
        training: Training,
        *,
        dtype: torch.dtype = torch.float32,
        memory: int = 300_000_000,
        mode: str = "auto",
        denominator: str = "fixed",
    ):
        if denominator not in WORDS:
            raise SettingError(f"denominator={denominator!r}; there are 'fixed' and 'follows'.")
        if mode not in ("auto", "forward", "reverse"):
            raise SettingError(f"mode={mode!r}; there are 'auto', 'forward' and 'reverse'.")
        if not isinstance(training, Training):
            raise SettingError(
                f"Exact scores go through a Training, not a {type(training).__name__}: "
                f"training_of_run(run, model, train=..., test=...)."
            )
        self.mode = mode
        self.denominator = denominator
        self._following = Following(training) if denominator == "follows" else None
        self.training = training
        self.memory = memory
        self.flat = training.start()
        # Carrying more digits than the states have would not make anything more exact.
        # Dropout draws other numbers in another precision.
        as_trained = self.flat.theta.dtype != torch.float64 or training.draws is not None
        self.dtype = self.flat.theta.dtype if as_trained else dtype
        self._steps = list(training.steps())

    def plan(self, n_queries: int = 1) -> MemoryPlan:
        """What computing so many (query, epoch) pairs would take, without starting."""
        return plan_memory(
            self.training, self.flat, len(self._steps), n_queries, self.memory, self.dtype
        )

    def attribute(
        self,
        test: Ids | None = None,
        epochs: Ids | None = None,
        *,
        groups=None,
        progress: Callable[[int, int], None] | bool | None = None,
        keep: str | Path | None = None,
    ) -> xr.Dataset:
        """Scores of every training example for the given test examples and epochs.

        Parameters
        ----------
        test : ids, optional
            Default: all test examples.
        epochs : ints, optional
            Default: the epochs at which the training records outputs.
        groups : mapping of name -> ids, or array of one value a training example, optional
            Scores of whole groups (labels, clusters, flags, a column), each the sum over its
            members, at the cost of one example each.
        progress : callable ``(done, total)``, or True
            Called after each step, or batch of (test, epoch) pairs; True shows which mode was
            chosen, what it takes, and the time that is left.
        keep : path, optional
            Forward only: a file that keeps an unfinished sweep, with which the same call goes on.

        Returns
        -------
        Dataset
            ``score`` over (epoch, test, train), or (epoch, test, group), in units of output per
            unit of weight.
        """
        test, epochs = self._asked(test, epochs)
        names, rows = (None, None) if groups is None else group_rows(groups, self.training)
        mode, words = self._choose(len(test), epochs, rows)
        with whatever_the_caller_does(), _shown(progress, words) as told:
            if mode == "forward":
                scores = self._forwards(test, epochs, rows, told, keep)
            else:
                edges = np.array([0, self.training.n_epochs])
                scores = self._sweep(test, epochs, edges, told).sum(2)
                scores = scores if rows is None else scores @ rows.T
        dim = "train" if groups is None else "group"
        return xr.Dataset(
            {"score": (("epoch", "test", dim), scores)},
            coords={
                "epoch": self.training.recorded_as(epochs),
                "test": test,
                dim: self.training.train_ids if groups is None else names,
            },
            attrs=self._attrs() | {"mode": mode},
        )

    def _choose(self, n_test: int, epochs, rows) -> tuple[str, str]:
        """The mode with fewer products, and both counts in words."""
        ends = [self._first_step_of(epoch) for epoch in epochs]
        n = self.training.n_train if rows is None else len(rows)
        products = {"forward": n * max(ends), "reverse": n_test * sum(ends)}
        mode = self.mode
        if mode == "auto":
            mode = min(products, key=products.__getitem__)
        counts = ", ".join(f"{name} {count:,}" for name, count in products.items())
        return mode, f"{mode} (products: {counts})"

    def _forwards(self, test, epochs, rows, progress, keep) -> np.ndarray:
        queries = self._positions(test)
        n = self.training.n_train if rows is None else len(rows)
        plan = self.plan(n)
        plan.check()
        by_output = make_output_gradient(self.training, self.flat)
        return film(
            self.training,
            self._steps,
            rows,
            lambda theta: by_output(theta, queries),
            [self._first_step_of(epoch) for epoch in epochs],
            n_outputs=len(test),
            dtype=self.dtype,
            at_once=plan.queries_at_once,
            block=plan.directions_at_once,
            following=self._following,
            progress=progress,
            keep=keep,
        )

    def _positions(self, test) -> torch.Tensor:
        position = {id: i for i, id in enumerate(self.training.test_ids.tolist())}
        return torch.as_tensor([position[id] for id in test.tolist()])

    def exposures(
        self,
        test: Ids | None = None,
        *,
        epoch: int | None = None,
        windows: int | Ids = 10,
        progress: Callable[[int, int], None] | None = None,
    ) -> xr.Dataset:
        """Influence by time of exposure: which window of training each score comes from.

        Parameters
        ----------
        epoch : int, optional
            Where the output is taken; default the last.
        windows : int or edges
            That many windows of equal length up to `epoch`, or the epochs at which they begin
            and end.

        Returns
        -------
        Dataset
            ``score`` over (test, window, train), whose sum over windows is the score of
            `attribute`; coordinates ``window_start`` (included) and ``window_end`` (excluded),
            in epochs from the start of training.
        """
        training = self.training
        label = training.recorded_as([training.n_epochs])[0] if epoch is None else int(epoch)
        test, epochs = self._asked(test, [label])
        epoch = int(epochs[0])
        if isinstance(windows, (int, np.integer)):
            edges = np.unique(np.linspace(0, epoch, windows + 1).round().astype(int))
        else:
            edges = np.asarray(windows, dtype=int)
            if len(edges) < 2 or edges[0] != 0 or edges[-1] < epoch or (np.diff(edges) <= 0).any():
                raise ValueError(
                    f"Windows must begin at 0, ascend and end at or after epoch {epoch}; got "
                    f"{edges.tolist()}."
                )
        with whatever_the_caller_does():
            by_window = self._sweep(test, epochs, edges, progress)[0]
        return xr.Dataset(
            {"score": (("test", "window", "train"), by_window)},
            coords={
                "test": test,
                "window": np.arange(len(edges) - 1),
                "window_start": ("window", edges[:-1]),
                "window_end": ("window", edges[1:]),
                "train": self.training.train_ids,
            },
            attrs=self._attrs() | {"epoch": int(label)},
        )

    def _asked(self, test, epochs):
        training = self.training
        test = np.asarray(training.test_ids if test is None else test)
        unknown = np.setdiff1d(test, training.test_ids)
        if len(unknown):
            raise UnknownExampleError(
                f"No test example has id {unknown[0]}; ids run from {training.test_ids.min()} to "
                f"{training.test_ids.max()}."
            )
        epochs = training.record_at if epochs is None else training.counts(epochs)
        epochs = np.asarray(epochs, dtype=int)
        if len(epochs) == 0 or epochs.min() < 1 or epochs.max() > training.n_epochs:
            raise SettingError(
                f"Epochs must lie in 1 to {training.n_epochs}, where the training ends; got "
                f"{epochs.tolist()}."
            )
        return test, np.unique(epochs)

    def _attrs(self) -> dict:
        optimizer = self.training.optimizer
        settings = {
            "optimizer": optimizer.kind,
            "eps": optimizer.eps,
            "n_epochs": self.training.n_epochs,
            "batch_size": self.training.batch_size,
            "denominator": f"{self.denominator}: {WORDS[self.denominator]}",
            "dtype": str(self.dtype).removeprefix("torch."),
        }
        proof = self.training.proof
        if self.training.mixed:
            settings["trained in"] = self.training.mixed
        return {
            "method": "unrolled",
            "sign": SIGN,
            "output": self.training.output.__name__,
            "settings": json.dumps(settings),
            "replay": "given as a function" if proof is None else str(proof),
        }

    def _sweep(self, test, epochs, edges, progress) -> np.ndarray:
        """Scores by window, shape (epoch, test, window, train)."""
        queries = self._positions(test)
        result = np.zeros((len(epochs), len(test), len(edges) - 1, self.training.n_train))
        # Latest epochs first: at any step the pairs already begun are the first ones.
        pairs = [(e, q) for e in reversed(range(len(epochs))) for q in range(len(test))]
        plan = self.plan(len(pairs))
        plan.check()
        last_step = [self._first_step_of(epoch) for epoch in epochs]
        for start in range(0, len(pairs), plan.queries_at_once):
            chunk = pairs[start : start + plan.queries_at_once]
            ends = np.array([last_step[e] for e, _ in chunk])
            rows = queries[[q for _, q in chunk]]
            scores = self._backwards(rows, ends, edges, plan)
            for (e, q), row in zip(chunk, scores, strict=True):
                result[e, q] = row
            if progress:
                progress(start + len(chunk), len(pairs))
        return result

    def _first_step_of(self, epoch: int) -> int:
        return sum(1 for of, _ in self._steps if of < epoch)

    def _backwards(self, queries, ends, edges, plan) -> np.ndarray:
        """One sweep from the latest end to the start, carrying all pairs at once."""
        training, optimizer = self.training, self.training.optimizer
        carried_in = training.in_dtype(self.dtype)
        n_steps = len(self._steps)
        last = int(ends.max())
        shape = (len(queries), len(edges) - 1, training.n_train)
        scores = torch.zeros(shape, dtype=self.dtype, device=self.flat.theta.device)
        by_output = make_output_gradient(training, self.flat)
        products = LossProducts(carried_in, carried_in.start(), block=plan.directions_at_once)
        replay = Replay(training, self.flat, self._steps[:last], n_steps, plan.segment_length)
        begun = 0
        adjoint: Any = None  # until the first output
        for step in reversed(range(last)):
            before, after = replay.state(step), replay.state(step + 1)
            starting = slice(begun, int((ends > step).sum()))
            if starting.stop > begun:
                begun = starting.stop
                by_theta = by_output(after[0], queries[starting]).to(self.dtype)
                adjoint = _with_new(adjoint, by_theta, after)
            epoch, batch = self._steps[step]
            lr: Any = optimizer.lr_at(step, n_steps)  # as its own `backwards` takes it
            loss = products.of(batch, training.slot_weight(step), step)
            adjoint, by_weight = optimizer.backwards(before, after, adjoint, step, lr, loss)
            if self._following is not None:
                by_weight = self._following.scores(step, batch, by_weight)
            window = int(np.searchsorted(edges, epoch, side="right")) - 1
            _add(scores[:begun, window], batch, by_weight)
        return scores.cpu().numpy()


@contextmanager
def _shown(progress, words: str):
    """A callable to tell of progress: the one given, or a bar that also knows the time left."""
    if progress is not True:
        yield progress or None
        return
    with tqdm(desc=words, unit="product", unit_scale=True) as bar:

        def told(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield told


def _with_new(adjoint: State | None, by_theta: torch.Tensor, state: State) -> State:
    """Adjoints of more queries, which do not depend on what the optimizer remembers."""
    new = (by_theta, *(by_theta.new_zeros(len(by_theta), len(part)) for part in state[1:]))
    if adjoint is None:
        return new
    return tuple(torch.cat(parts) for parts in zip(adjoint, new, strict=True))


def _add(scores: torch.Tensor, batch: torch.Tensor | None, by_weight: torch.Tensor) -> None:
    if batch is None:
        scores += by_weight
    else:
        # An example may come twice in a batch drawn with replacement: both exposures count.
        scores.index_add_(1, batch.to(scores.device), by_weight)


def make_output_gradient(training: Training, flat: FlatModel):
    """The function giving the gradient of chosen test examples' outputs, (query, parameter)."""
    if training.draws is not None:
        flat = training.at_rest()

    def one(theta, inputs, label):
        return training.output(flat(theta, inputs[None]), label[None])[0]

    of_many, of_one = vmap(grad(one), in_dims=(None, 0, 0)), grad(one)

    def by_output(theta, queries):
        inputs, labels = training.test_inputs[queries], training.test_labels[queries]
        try:
            return of_many(theta, inputs, labels)
        except RuntimeError as error:
            if "vmap" not in str(error):  # a model that looks at its inputs, as masks are made
                raise
        return torch.stack([of_one(theta, *each) for each in zip(inputs, labels, strict=True)])

    return by_output
