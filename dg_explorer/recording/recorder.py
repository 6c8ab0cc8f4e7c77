"""`Recorder`: write a training run into its record while it trains."""

from __future__ import annotations

import warnings
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
import xarray as xr

from ..arguments import Brief, checked
from ..checkpoints.random_state import untouched_rng
from ..checkpoints.store import going_on_from, save_checkpoint, save_initial, saved_epochs
from ..data.evaluation import LayerOutputs
from ..data.served import Served
from ..errors import DataError, SettingError
from ..record.policy import Rows
from ..record.run import Run, as_run
from ..tasks import COLUMNS, InferredTask, as_task
from ..tasks.model_kinds import check_shaped
from ..training.loss.trained_loss import TrainedLossWarning, conclude
from ..training.step.choose import check_optimizer
from .closures import closure_of, look_after_closure
from .evaluation_pass import evaluation_pass, feature_row
from .gradient_sampling import GradientSampler
from .gradient_witness import GradientWitness
from .keeping import Keeping
from .layer_outputs import find_layers
from .logit_buffer import LogitBuffer
from .optimizer_watch import OptimizerWatch, rates_of
from .ranks.processes import Processes
from .ranks.sharded import is_sharded
from .ranks.stand_in import run_in
from .replay_log import WITHOUT_REPLAY, ReplayLog
from .table import ExampleTable
from .targets import TargetsById
from .together import TrainedTogether
from .trainer_facts import NormWatch, TrainerFacts

NO_TRAIN = (
    "No training example will be recorded: nothing says which they are. Pass train=dg.with_ids("
    "dataset) to the callback, which evaluates them at each moment."
)
BY_FIRST = ", normalized by what the first process (rank 0) saw of the batches"
# binary digits for the passes of a step
_PASSES = 24
# checkpoints from one that keeps the optimizer's state to the next, where a replay fills the gap
STATE_EVERY = 100
# a recorder left behind by a crashed cell must not go on watching the optimizer
_watching: WeakKeyDictionary = WeakKeyDictionary()


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
    optimizer : torch optimizer, optional
        Needed for gradients, learning rate, resumption and replay. Watched through its own hooks.
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
        if isinstance(optimizer, (list, tuple)):
            raise SettingError(
                f"A recorder watches one optimizer, and was given {len(optimizer)}. Give it the "
                f"one whose steps count; steps of another that holds weights of the model are "
                f"noticed without it. Exact influence through several takes a training that is "
                f"given as a function: Training(..., optimizer=step_from_torch([one, other], "
                f"list(model.named_parameters()))), with step_from_torch of "
                f"dg_explorer.training.step.choose."
            )
        if optimizer is not None and not hasattr(optimizer, "param_groups"):
            raise SettingError(
                f"The optimizer has no param_groups: {optimizer!r}. Give torch's, or None."
            )
        if replay and optimizer is None:
            raise SettingError("replay=True needs the optimizer: Recorder(run, model, optimizer).")
        if replay and optimizer is not None:
            check_optimizer(optimizer)
        self._listen = LayerOutputs(find_layers(model, layers))
        self.run = run
        self.model = model
        self.optimizer = optimizer = _that_steps(optimizer)
        self.layers = list(layers)
        self.task = as_task(task)
        self.task.check_model(model)
        self._needs_batch = self.task.needs_batch  # asked at every step
        self._says_forward = forward is not None
        self.steps_taken = 0
        self._passes = 0  # since the last step
        self._named_before = False  # a trainer says who is in a batch before it is taken
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
        self._watched: OptimizerWatch | None = None
        self._told: set[str] = set()
        self._noted = False
        self._testified: tuple | None = None
        self._rates: list[float] | None = None
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
        self._passes += 1
        self._buffer.add(logits, labels, ids, (self.steps_taken << _PASSES) + self._passes)
        if self._named_before:
            return
        if self._witness is not None and self._witness.awake:
            self._witness.batch(logits, labels)
            if self._witness.strange is not None and not self._says_forward:
                self._say_strange(*self._witness.strange)
        if self._replay is not None:
            self._replay.batch(ids)

    def order(self, ids) -> None:
        """Only note who is in the step to come; instead of `batch`, once for each pass of a step.

        The training examples are then evaluated at each `epoch`. What they should have answered is
        looked up by id in `train`, or else in the record, so that the trained loss is compared
        with the recorded one as it is with `batch`.
        """
        if self._witness is not None:
            self._witness.order(ids)
        if self._replay is not None:
            self._replay.batch(ids)

    def next_batch(self, ids) -> None:
        """Note whom a trainer trains on next; None where it cannot say."""
        if ids is None:
            self._replay.miss("who is in some steps: the trainer's loader did not draw them")
        else:
            self._named_before = True
            self.order(ids)

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
            metrics = self._joined(epoch)
            self._go_on_at(metrics.get("steps_taken", self.steps_taken))
        for table in self._tables.values():
            if table.seen:
                table.clear()
        self._calls += 1
        self._last = epoch
        return metrics

    def begin_after(self, epoch: int) -> None:
        """Begin where somebody else has put model and optimizer: after so many epochs or steps.

        0 is a training from its beginning. What the record has beyond this epoch is of a training
        that was cut off there; such rows are replaced as their epochs come again.

        Raises
        ------
        SettingError
            A training from its beginning, and a record that holds another one already.
        """
        recorded = self.run.epochs("metrics").tolist() if "metrics" in self.run else []
        if recorded and epoch == 0:
            raise SettingError(
                f"This training begins at the beginning, and the run holds {self.run.time_unit}s "
                f"up to {recorded[-1]} of an earlier one. Record into a new run, or go on from a "
                f"checkpoint of the trainer's."
            )
        self._last = epoch if recorded else None
        self._replaces = any(row > epoch for row in recorded)
        self._calls = sum(row <= epoch for row in recorded)
        if self._sampler is not None:
            self._sampler.go_on(going_on_from(self.run, epoch))
        if self._witness is not None and self.steps_taken:
            self._witness.go_on_from(self.steps_taken)

    def trained_by(self, facts: TrainerFacts) -> None:
        """Take what a trainer does with batches and gradients beside a plain loop, for a replay.

        Raises
        ------
        SettingError
            Something lies in the way of an exact replay; with its name.
        """
        self._replay.trainer = facts
        self._replay.accumulates = facts.accumulate > 1
        if "norm" in facts.clip and self._processes is None:  # else of one process alone
            norms = NormWatch(self.model, self.optimizer, facts.clip["norm"])
            self._replay.norms, self._handles = norms, [*self._handles, norms]
        if self._replay.missing:
            self.close()
            raise SettingError(
                f"replay=True will not allow an exact replay; the record would lack "
                f"{'; '.join(self._replay.missing)}. Take it out of the training, or record "
                f"without replay=True."
            )

    def close(self) -> None:
        """Write everything pending and stop watching the optimizer."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        for part in (self._sampler, self._witness, self._watched):
            if part is not None:
                part.close()
        self._testify()
        if self.optimizer is not None and self in _watching.get(self.optimizer, ()):
            _watching[self.optimizer].remove(self)
        self._keeping.settle()

    @property
    def failed(self) -> str | None:
        """Since when nothing is recorded any more, and why; None while all is well."""
        return self._keeping.failed

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *error) -> None:
        self.close()

    # ------------------------------------------------------------------ inside

    @property
    def _saves_now(self) -> bool:
        return bool(self._checkpoint_every) and self._calls % self._checkpoint_every == 0

    def _record(self, epoch: int, parts: list[dict]) -> dict[str, float]:
        """Write the rows of an epoch, from what each process has of it."""
        if self._processes is None:
            self._unseen = parts[0]["unseen"]
        else:
            self._join(parts)
        return self._record_row(epoch, self._evaluate(), self._whole())

    def _record_row(self, epoch: int, measured: dict[str, str], whole) -> dict[str, float]:
        if self._unseen:
            self._tell(
                f"The weights changed before {self.run.time_unit} {epoch}, and no step of a torch "
                f"optimizer was seen: the learning rate and the steps of the record are not theirs."
            )
        self._note_task()
        self._testify()
        metrics = self._metrics()
        if "learning_rate_1" in metrics:
            self._note_groups()
        if self.optimizer is not None:
            self._note_frozen()
        if self._unseen:  # whatever changed the weights, it was not at this optimizer's rate
            metrics |= {n: float("nan") for n in metrics if n.startswith("learning_rate")}
        self._keeping.write(lambda: self._write(epoch, measured, metrics, whole), epoch)
        return metrics

    def _write(
        self, epoch: int, measured: dict[str, str], metrics: dict[str, float], whole
    ) -> None:
        """Put all rows of an epoch into the record."""
        for split, table in self._tables.items():
            if table.seen:
                self._append(
                    f"dynamics/{split}",
                    table.rows(epoch, measured=measured[split], last_measured=epoch),
                )
        for layer, outputs in self._features.items():
            if outputs:
                row = feature_row(epoch, outputs, self._feature_ids, self._feature_precision)
                self._append(f"features/{layer}", row)
        self._append_gradients(epoch)
        if self._replay is not None and self._witness is not None:
            if self._witness.autocast:
                self._replay.miss("the precision of each operation: it was chosen by autocast")
            weights = self._witness.take_weights()
            table = self._tables["train"]
            labels = table.columns.get("tokens")
            counts = None if labels is None else lambda ids: labels[table.positions(ids)]
            self._replay.write(self.steps_taken, weights, counts=counts, overwrite=self._replaces)
        if self._saves_now:
            self._checkpoint(epoch, *whole)
        row = {name: (("epoch",), np.array([value])) for name, value in metrics.items()}
        self._append("metrics", Rows("epoch", np.array([epoch]), row))

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

    def _watch(self, gradient_every: int, replay: bool) -> None:
        if self.optimizer is None:
            self._note_replay(False)
            return
        others = _watching.setdefault(self.optimizer, [])
        for previous in [other for other in others if other.model is self.model]:
            previous.close()
        others.append(self)
        watched = self._watched = OptimizerWatch(self.model, self.optimizer, self._follow)
        targets = TargetsById(self.task, self.model, self._data.get("train"), self._tables["train"])
        several = self._processes is not None
        self._witness = GradientWitness(
            self.model,
            self._loss_of,
            targets=targets,
            for_replay=replay,
            every_step=replay and several,  # which batch will be a short one is not known
            shared=several,
        )
        if gradient_every and (self._first or self._sharded):
            self._sampler = GradientSampler(
                self.model, self.optimizer, gradient_every, lambda: watched.nested
            )
        if replay:
            world = self._processes.world if several else 1
            self._replay = ReplayLog(self.run, self.model, self.optimizer, world)
            if self._replay.random is not None:
                self._handles.append(self._replay.random)
            if self._replay.missing:
                lacks = "; ".join(self._replay.missing)
                self._tell(f"replay=True will not allow an exact replay; the record lacks {lacks}.")
        self._note_replay(replay)
        self._handles.append(self.optimizer.register_step_pre_hook(self._before_step))

    def _follow(self, optimizer) -> None:
        """Go on with an optimizer that has taken over from the watched one."""
        self._tell(
            f"Another optimizer ({type(optimizer).__name__}) has taken over from the "
            f"{type(self.optimizer).__name__} that the recorder was given. Steps and learning "
            f"rates are its own from step {self.steps_taken} on."
        )
        for handle in self._handles:
            handle.remove()
        self.optimizer = optimizer
        self._handles = [optimizer.register_step_pre_hook(self._before_step)]
        if self._sampler is not None:
            self._sampler.follow(optimizer)
        if self._replay is not None:
            self._replay.follow(optimizer)

    def _note_task(self) -> None:
        """Write down what was measured, once it is known; refuse to go on with another task."""
        if self._noted or (isinstance(self.task, InferredTask) and not self.task.is_settled):
            return
        self._noted = True  # functions of the user's own may read what the training changes
        told = self.task.described()
        before = self.run.attrs.get("task")
        if isinstance(before, str):  # somebody's own words, as earlier versions let stand there
            before, told = None, told | {"note": before}
        if before is None:
            self._keeping.write(lambda: self.run.set_attrs(task=told))
        elif before.get("digest") != told["digest"]:
            raise SettingError(
                f"This run records the task {before.get('told')}, and {told['told']} would be put "
                f"beside it. Record into a new run, or pass task= as before."
            )

    def _note_groups(self) -> None:
        """Write down which parameters go at which learning rate, in the order of the rates."""
        named = {id(p): name for name, p in self.model.named_parameters()}
        groups = [
            [named[id(p)] for p in group["params"] if id(p) in named]
            for group in self.optimizer.param_groups
        ]
        if self.run.attrs.get("parameter_groups") != groups:
            self._keeping.write(lambda: self.run.set_attrs(parameter_groups=groups))

    def _note_frozen(self) -> None:
        """Write down which parameters were frozen at every epoch so far."""
        known = self.run.attrs.get("frozen")
        frozen = [
            name
            for name, p in self.model.named_parameters()
            if not p.requires_grad and (known is None or name in known)
        ]
        if frozen != known:
            self._keeping.write(lambda: self.run.set_attrs(frozen=frozen))

    def _note_replay(self, replay: bool) -> None:
        said = "recorded, see the group 'replay'" if replay else WITHOUT_REPLAY
        self._keeping.write(lambda: self.run.set_attrs(replay=said))

    def _before_step(self, optimizer, args, kwargs):
        witness, watched = self._witness, self._watched
        if witness is None or watched is None or watched.nested:
            return None
        self._rates = rates_of(optimizer)
        if self._replay is not None:
            if self.steps_taken == 0:
                whole = self._whole()
                self._keeping.write(lambda: save_initial(self.run, *whole))
            self._replay.step()
            witness.every_step |= self._replay.accumulates
        self.steps_taken += 1
        self._passes = 0
        if closure_of(args, kwargs) is None:
            self._look_at_step()
            return None
        if self._replay is None or not self._replay.accumulates:
            witness.forget()  # but not the batches that a trainer has added up
        return look_after_closure(args, kwargs, self._look_at_step)

    def _look_at_step(self) -> None:
        """Have the witness look at the gradients; its own passes are none of the training's."""
        random = None if self._replay is None else self._replay.random
        if random is not None:
            random.awake = False
        self._witness.before_step()
        if random is not None:
            random.awake = True

    def _loss_of(self, answers, labels):
        """The loss that is recorded, of answers as `batch` gets them."""
        if isinstance(self.task, InferredTask):
            self.task.settle(self.model, answers, (answers, labels))
        return self.task.loss(self.task.read(answers), (answers, labels.to(answers.device)))

    def _testify(self) -> None:
        """Write down what the compared steps and the watched weights say; once if it is amiss."""
        if self._witness is None or self._watched is None:
            return
        self._witness.finish()
        looked = len(self._witness.comparisons), len(self._watched.noticed)
        if looked == self._testified:
            return
        self._testified = looked
        found = conclude(self.task.loss_name, self._witness.comparisons)
        said = {
            "trained_loss": found.attrs(),
            "weight_rule": found.weight_rule,
            "weights_watched": self._watched.noticed,
        }
        self._keeping.write(lambda: self.run.set_attrs(**said))
        if found.contradicts:
            self._tell(f"{found.words} What is recorded as the loss is {found.recorded}.")

    def _say_strange(self, how: str, place) -> None:
        """Refuse answers that are not the model's own, or say that something was done to them."""
        if how == "entry":
            raise DataError(
                f"batch() was given entry {place!r} of what the model returns, while its first "
                f"answer would be evaluated and attributed. Say which is meant, to Recorder and "
                f"attribute alike: forward=lambda model, batch: model(batch[0])[{place!r}]."
            )
        if how == "beyond":
            raise DataError(
                "batch() was given answers made with parameters that the model does not hold (a "
                "head outside of it), so the model alone answers something else. Record the whole "
                "as one module: torch.nn.Sequential(model, head)."
            )
        self._tell(
            "batch() was given other numbers than the model returned (scaled, adjusted?), while "
            "test examples are measured by what it returns. Give it the model's own answers, or "
            "say what is done to them: Recorder(forward=lambda model, batch: ...)."
        )

    def _tell(self, what: str) -> None:
        """Say something to the user once."""
        if self._first and what not in self._told:
            self._told.add(what)
            warnings.warn(what, TrainedLossWarning, stacklevel=3)

    def _check_order(self, epoch: int) -> None:
        if self._last is not None and epoch <= self._last:
            what = "comes again" if epoch == self._last else f"comes after {self._last}"
            raise SettingError(
                f"{self.run.time_unit.capitalize()} {epoch} {what}, but the record must ascend. "
                f"Number epochs on, record into a new run, or call rec.resume() first to go on "
                f"from the last checkpoint."
            )

    def _evaluate(self) -> dict[str, str]:
        """Fill the tables and append features; says how each split was measured."""
        measured = {split: "with the weights of this epoch" for split in ("train", "test")}
        seen_in_training = bool(self._tables["train"].seen)
        if seen_in_training:
            measured["train"] = "while training, before each step"
        for split, data in self._data.items():
            if data.augmented and not (split == "train" and seen_in_training):
                measured[split] += ", on examples that differ from one reading to the next"
        if self._processes is not None and _normalizes_batches(self.model):
            for split in self._data:
                measured[split] += BY_FIRST
        features = self._feature_every and self._calls % self._feature_every == 0
        layers = self._listen.modules if features else []
        wanted: dict[str, tuple] = {}
        for split, data in self._data.items():
            chosen = self._feature_ids[split] if layers else None
            if split == "train" and seen_in_training:
                if chosen is not None:
                    self._few = self._few or data.subset(chosen)
                    wanted[split] = (self._few, None, chosen)
            else:
                wanted[split] = (data, self._tables[split], chosen)
        listen = self._listen if layers else ()
        with untouched_rng():
            outputs = {
                split: evaluation_pass(self.model, served, table, chosen, listen, self.task)
                for split, (served, table, chosen) in wanted.items()
            }
        self._features = {
            layer: {split: found[layer] for split, found in outputs.items()} for layer in layers
        }
        return measured

    def _append(self, group: str, row: Rows | xr.Dataset) -> None:
        # after resume(), rows written between the checkpoint and the kill are there already
        if self._resumed_at is not None and group in self.run:
            label = row.labels[-1] if isinstance(row, Rows) else row["epoch"].values[-1]
            if label <= self.run.epochs(group)[-1]:
                return
        self.run.append(group, row, overwrite=self._replaces)

    def _append_gradients(self, epoch: int) -> None:
        if self._sampler is None:
            return
        means, count = self._sampler.take()
        data: dict[str, tuple] = {"sampled_steps": (("epoch",), np.array([count]))}
        data |= {name: (("epoch", "layer"), values[None]) for name, values in means.items()}
        layers = {"layer": (("layer",), np.array(list(self._sampler.layers), dtype=object))}
        self._append("gradients", Rows("epoch", np.array([epoch]), data, layers))

    def _checkpoint(self, epoch: int, model, optimizer) -> None:
        if self._resumed_at is not None and epoch in saved_epochs(self.run):
            return
        extra, number = {"steps_taken": self.steps_taken}, self._calls // self._checkpoint_every
        save_checkpoint(
            self.run,
            epoch,
            model,
            optimizer,
            extra=extra,
            rng_of_ranks=self._rng_of_ranks,
            keep_state=number % self._state_every == 0,
            going_on=None if self._sampler is None else self._sampler.state(),
            overwrite=self._replaces,
        )

    def _metrics(self) -> dict[str, float]:
        row = {}
        for split, table in self._tables.items():
            columns = table.columns or {n: np.empty(0, COLUMNS[n][1]) for n in self.task.columns}
            seen = table.there if table.columns else np.empty(0, bool)
            for name, value in self.task.summary(columns, seen).items():
                row[f"{split}_{name}"] = value
        if self.optimizer is not None:
            # that of the last step: a scheduler has moved on by now
            rates = rates_of(self.optimizer) if self._rates is None else self._rates
            row["learning_rate"] = rates[0]
            if len(set(rates)) > 1:
                row |= {f"learning_rate_{i}": rate for i, rate in enumerate(rates) if i}
            row["steps_taken"] = self.steps_taken
        return row


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


def _that_steps(optimizer):
    """The optimizer in accelerate's wrapper, whose hooks see the steps that are taken."""
    wrapped = type(optimizer).__name__ == "AcceleratedOptimizer"
    return optimizer.optimizer if wrapped else optimizer


def _normalizes_batches(model) -> bool:
    return any("BatchNorm" in type(module).__name__ for module in model.modules())


def _spread(ids: np.ndarray, n: int) -> np.ndarray:
    """At most n of the ids, evenly spread."""
    if len(ids) <= n:
        return ids
    return ids[np.linspace(0, len(ids) - 1, n).round().astype(np.int64)]


def _check_counts(**settings: int) -> None:
    for name, value in settings.items():
        if not isinstance(value, (int, np.integer)) or value < 0:
            raise SettingError(f"{name} counts, so it is an integer >= 0; got {value!r}.")
