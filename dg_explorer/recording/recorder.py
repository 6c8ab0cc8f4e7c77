"""`Recorder`: write a training run into its record while it trains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..arguments import Brief, checked
from ..checkpoints.several import name_of
from ..checkpoints.store import going_on_from
from ..data.evaluation import LayerOutputs
from ..data.served import Served
from ..errors import SettingError
from ..record.run import Run, as_run
from ..tasks import as_task
from ..tasks.model_kinds import check_shaped
from ..training.step.rounds import Rounds, to_watch
from .evaluation_pass import find_layers
from .gradient_witness import GradientWitness
from .keeping import Keeping
from .optimizer_watch import OptimizerWatch
from .ranks.processes import Processes
from .ranks.sharded import is_sharded
from .ranks.stand_in import run_in
from .table import ExampleTable, LogitBuffer, as_tensors
from .together import TrainedTogether

NO_TRAIN = (
    "No training example will be recorded: nothing says which they are. Pass train=dg.with_ids("
    "dataset) to the callback, which evaluates them at each moment."
)
# binary digits for the passes of a step
_PASSES = 24
# checkpoints from one that keeps the optimizer's state to the next, where a replay fills the gap
STATE_EVERY = 100


class Recorder(TrainedTogether, Brief):
    """Records per-example dynamics, metrics, gradients, features and checkpoints.

    ::

        with Recorder(run, model, optimizer, test=test_loader, layers=["fc1"]) as rec:
            for epoch in range(n_epochs):
                for inputs, labels, ids in train_loader:      # a with_ids dataset
                    logits = model(inputs)
                    loss = cross_entropy(logits, labels)
                    optimizer.zero_grad(); loss.backward()
                    rec.batch(logits, labels, ids)            # before optimizer.step()
                    optimizer.step()
                rec.epoch(epoch)

    Without `rec.batch` the training examples are evaluated at each `rec.epoch`, if `train` is
    given. Recording changes nothing in the training: same weights, bit for bit.

    Where several processes train one model (DistributedDataParallel), each makes the same recorder
    and calls it alike, the first with the run and the others with None. `epoch` waits for all of
    them and writes one row: that of one process that had been given all their batches.

    Parameters
    ----------
    run : Run
        Its `train_examples` and `test_examples` say which ids there are.
    model : module
        Data-parallel wrappers are taken off.
    optimizer : torch optimizer or list of them, optional
        Needed for gradients, learning rate, resumption and replay. Watched through its own hooks.
        Of several, each with parameters of its own (Muon for matrices, AdamW for the rest), the
        steps with the gradient of one batch are one step, also where some of them rest. With
        `replay=True` an optimizer that leaves its steps to others in it is those.
    train, test : data, optional
        Evaluated at `epoch`: whatever `Served` takes, read as the loader's own `collate_fn` gives
        it and never through the loader. A shuffled loader must yield ids.
    layers : list of module names
        Whose outputs are kept as `features/<layer>`.
    checkpoint_every, feature_every : int
        Every so many calls of `epoch`; 0 for never.
    state_every : int, optional
        Every so many checkpoints the state of the optimizer and of the random generators stays
        with the weights; the newest checkpoint always has it. By default all of them have it, and
        with `replay=True`, which takes the steps between again, every hundredth.
    gradient_every : int
        Steps from one sample of the gradients to the next; 0 for never.
    feature_examples : int
        At most this many training and so many test examples, evenly spread.
    feature_precision : "single" or "half"
        "half" keeps layers in half the space where rounding moves no unit by more than 1/256 of
        its standard deviation over the examples.
    replay : bool
        Keep the order of the examples, learning rates and the initial state, which exact replay
        and unrolled influence need. The record says what is missing.
    batch_size : int
        For evaluating datasets.
    forward : function, key, place, or list of keys or places, optional
        How the model is called where that is not plain: a function (model, batch) that returns
        its prediction, or (prediction, labels); or which entries of a batch are its inputs.
    label : function, key or place, optional
        Where the labels of a batch are, such as 1 for rows of (input, label, group).
    task : str, Task or pair (loss, output) of functions, optional
        What is trained, and so what is recorded of each example: "classification", "regression",
        "language_modeling", ... By default inferred from the first batch, or asked for.
    augment : "fixed", optional
        Draw the random numbers of an augmented example from a generator seeded by its id, so that
        each epoch sees the same.
    on_error : "warn" or "raise"
        What a full disk does: by default the training goes on and the recording stops at its
        last whole epoch, with a warning at each one since; `failed` says since when.
    wait : float
        Seconds that a process waits for the others at each epoch, where several train.

    Raises
    ------
    ShuffledLoaderError
        A shuffled loader without ids.
    RunError
        Several processes train, and not all of them make a recorder.
    SettingError
        A layer that does not exist, or a setting out of range.
    UnsupportedOptimizerError
        With ``replay=True``, an optimizer through which no derivative goes.
    """

    @checked
    def __init__(
        self,
        run: Run | str | Path | None,
        model,
        optimizer=None,
        *,
        train=None,
        test=None,
        layers=(),
        checkpoint_every: int = 1,
        state_every: int | None = None,
        gradient_every: int = 250,
        feature_every: int = 1,
        feature_examples: int = 1000,
        feature_precision: str = "single",
        replay: bool = False,
        batch_size: int = 512,
        forward=None,
        label=None,
        task=None,
        augment: str | None = None,
        on_error: str = "warn",
        wait: float = 600,
    ):
        self._processes = Processes(wait) if Processes.there() else None
        self._first = self._processes is None or self._processes.first
        run = as_run(run) if self._processes is None else run_in(self._processes, run)
        if not hasattr(model, "named_modules"):
            raise SettingError(f"model must be a torch module, not {type(model).__name__}.")
        check_shaped(model)
        self._sharded = is_sharded(model)
        if batch_size == 0:
            raise SettingError("batch_size=0: at least one example in a batch.")
        _check_counts(
            batch_size=batch_size,
            checkpoint_every=checkpoint_every,
            gradient_every=gradient_every,
            feature_every=feature_every,
            feature_examples=feature_examples,
            state_every=1 if state_every is None else state_every,
        )
        if state_every == 0:
            raise SettingError("state_every=0: 1 keeps the optimizer's state at each checkpoint.")
        if feature_precision not in ("single", "half"):
            raise SettingError(
                f"feature_precision is 'single' or 'half', not {feature_precision!r}."
            )
        self._feature_precision = feature_precision
        self._keeping = Keeping(run, on_error, silent=not self._first)
        if replay and optimizer is None:
            raise SettingError("replay=True needs the optimizer: Recorder(run, model, optimizer).")
        optimizer = to_watch(optimizer, model, replay=replay)
        if self._sharded and isinstance(optimizer, Rounds):
            raise SettingError(
                f"Several optimizers ({name_of(optimizer)}) cannot be recorded where processes "
                f"share out the model's weights. Give one, with a group for each rate."
            )
        self._listen = LayerOutputs(find_layers(model, layers))
        self.run = run
        self.model = model
        self.optimizer = optimizer
        self.layers = list(layers)
        self.task = as_task(task)
        self.task.check_model(model)
        self._needs_batch = self.task.needs_batch  # asked at every step
        self._says_forward = forward is not None
        self.steps_taken = _steps_in(run)  # a recorder after another goes on counting
        self._passes = 0  # since the last step
        self._named_before = False  # a trainer says what is in a batch before it is taken
        how = {"forward": forward, "label": label, "augment": augment, "batch_size": batch_size}
        self._data = {
            split: Served.of(data, split=split, model=model, run=run, **how)
            for split, data in (("train", train), ("test", test))
            if data is not None
        }
        self._tables = {split: self._table(split) for split in ("train", "test")}
        self._buffer = LogitBuffer(self._tables["train"], self.task, model)
        self._checkpoint_every = checkpoint_every
        self._state_every = state_every or (STATE_EVERY if replay else 1)
        self._feature_every = feature_every
        self._feature_ids = {s: _spread(d.ids, feature_examples) for s, d in self._data.items()}
        self._few = None
        self._calls = 0
        self._resumed_at: int | None = None
        self._replaces = False
        self._last = int(run.epochs("metrics")[-1]) if "metrics" in run else None
        self._sampler = None
        self._replay = None
        self._witness: GradientWitness | None = None
        self._targets = None
        self._watched: OptimizerWatch | None = None
        self._told: set[str] = set()
        self._noted = False
        self._testified: tuple | None = None
        self._rates: list[float] | None = None
        self._lacks = 0  # how many of the things that a replay lacks were said
        self._rng_of_ranks: list[dict] | None = None
        self._unseen = False
        self._handles = []
        self._watch(gradient_every, replay)

    # ------------------------------------------------------------------ while training

    def batch(self, logits, labels, ids) -> None:
        """Keep what the model said to a batch, before the optimizer steps.

        Costs microseconds: logits are detached, and measured for many steps at a time.

        Parameters
        ----------
        logits : float tensor, shape (example, class), or whatever the task reads
        labels : tensor, shape (example,), or as the training loss has them
        ids : int tensor or array, shape (example,)
            Example ids, as a `with_ids` dataset yields them.

        Raises
        ------
        DataError
            Labels do not fit the logits.
        TaskUnclearError
            It is not plain what was trained; `Recorder(task=...)` says it.
        """
        if self._needs_batch:
            # functions of the user's own want the whole batch, as the data give it
            self.order(ids)
            return
        if not (torch.is_tensor(logits) and torch.is_tensor(labels)):
            logits, labels = as_tensors(logits, labels)
        self._passes += 1
        self._buffer.add(logits, labels, ids, (self.steps_taken << _PASSES) + self._passes)
        if self._named_before:
            return
        if self._witness is not None and self._witness.awake:
            self._witness.batch(logits, labels)
            if self._witness.strange is not None and not self._says_forward:
                self._say_strange(*self._witness.strange)
            if self._witness.first_answer:
                self.task.takes_first()
        if self._replay is not None:
            self._replay.batch(ids)

    def epoch(self, epoch: int) -> dict[str, float]:
        """Record the model as it is now, under this epoch; return the row of `metrics`.

        Writes, where they apply, `dynamics/*`, `features/*`, `gradients`, the checkpoint and
        last `metrics`: an epoch that `metrics` has is complete.

        Raises
        ------
        SettingError
            Epochs do not ascend, or the record has this one already.
        """
        epoch = whole_epoch(epoch)
        if self._processes is None:
            metrics = self._record(epoch, [self._part(epoch)])
        else:
            metrics = self._joined(self._processes, epoch)
            self._go_on_at(int(metrics.get("steps_taken", self.steps_taken)))
        for table in self._tables.values():
            if table.seen:
                table.clear()
        self._calls += 1
        self._last = epoch
        return metrics

    def begin_after(self, epoch: int, *, again: bool = False) -> None:
        """Begin where somebody else has put model and optimizer: after so many epochs or steps.

        0 is a training from its beginning. What the record has beyond this epoch is of a training
        that was cut off there; such rows are replaced as their epochs come again. From the
        beginning that is so with `again` only: a trainer's second try, or a resumed first epoch.

        Raises
        ------
        SettingError
            A training from its beginning, and a record that holds another one already.
        """
        recorded = self.run.epochs("metrics").tolist() if "metrics" in self.run else []
        if recorded and epoch == 0 and not again:
            raise SettingError(
                f"This training begins at the beginning, and the run holds {self.run.time_unit}s "
                f"up to {recorded[-1]} of an earlier one. Record into a new run, or go on from a "
                f"checkpoint of the trainer's."
            )
        self._last = epoch if recorded else None
        self._replaces = any(row > epoch for row in recorded)
        self._calls = sum(row <= epoch for row in recorded)
        if epoch in recorded:
            self._take_up_rates(epoch)
        if self._sampler is not None:
            self._sampler.go_on(going_on_from(self.run, epoch))
        if self._witness is not None and self.steps_taken:
            self._witness.go_on_from(self.steps_taken)

    def served(self, split: str) -> Served | None:
        """The examples that are evaluated, "train" or "test"; None where none were given."""
        return self._data.get(split)

    @property
    def failed(self) -> str | None:
        """Since when nothing is recorded any more, and why; None while all is well."""
        return self._keeping.failed

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *error) -> None:
        self.close()

    # ------------------------------------------------------------------ inside

    def _table(self, split: str) -> ExampleTable:
        group = f"{split}_examples"
        if group in self.run:
            examples = self.run[group]
            labels = examples.get("label")
            if labels is None or labels.dtype.kind not in "iu":
                return ExampleTable(split, examples[split].values)
            return ExampleTable(split, examples[split].values, labels.values)
        ids = self._data[split].ids if split in self._data else np.empty(0, dtype=np.int64)
        return ExampleTable(split, np.sort(ids))


def whole_epoch(epoch) -> int:
    """The moment as a whole number, or `SettingError`: no moment is moved to another."""
    numeric = isinstance(epoch, (int, float, np.number)) and not isinstance(epoch, bool)
    if not numeric or not np.isfinite(epoch) or int(epoch) != epoch:
        raise SettingError(
            f"epoch({epoch!r}): the moments of a record are whole numbers. Number the calls "
            f"0, 1, 2 ..., or give the step: Run.create(..., time_unit='step') and "
            f"recorder.epoch(step)."
        )
    return int(epoch)


def _steps_in(run: Run) -> int:
    """How many optimizer steps the record holds, at its last epoch that says so."""
    if "metrics" not in run or "steps_taken" not in run["metrics"]:
        return 0
    taken = run["metrics"]["steps_taken"].values
    known = taken[np.isfinite(taken)]
    return int(known[-1]) if len(known) else 0


def _spread(ids: np.ndarray, n: int) -> np.ndarray:
    """At most n of the ids, evenly spread."""
    if len(ids) <= n:
        return ids
    return ids[np.linspace(0, len(ids) - 1, n).round().astype(np.int64)]


def _check_counts(**settings: int) -> None:
    for name, value in settings.items():
        if not isinstance(value, (int, np.integer)) or value < 0:
            raise SettingError(f"{name} counts, so it is an integer >= 0; got {value!r}.")
