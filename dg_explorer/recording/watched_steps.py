"""`WatchedSteps`: what a recorder sees of the steps of an optimizer, and keeps for a replay."""

from __future__ import annotations

import warnings
from typing import Any
from weakref import WeakKeyDictionary

from ..checkpoints.several import each_of, name_of
from ..checkpoints.store import save_initial
from ..data.served import Served
from ..errors import DataError, SettingError
from ..record.run import Run
from ..tasks import InferredTask, Task
from ..training.loss.known_losses import smoothed_loss
from ..training.loss.trained_loss import TrainedLossWarning, conclude
from ..training.precision import NARROW
from ..training.step.rounds import Rounds, rates_of
from .gradient_sampling import GradientSampler
from .gradient_witness import GradientWitness
from .keeping import Keeping
from .optimizer_watch import OptimizerWatch, closure_of, look_after_closure
from .ranks.processes import Processes
from .ranks.sharded import WholeModel, WholeOptimizer
from .replay_log import WITHOUT_REPLAY, ReplayLog
from .table import ExampleTable
from .targets import TargetsById
from .trainer_facts import NormWatch, TrainerFacts

# a recorder left behind by a crashed cell must not go on watching the optimizer
_watching: WeakKeyDictionary = WeakKeyDictionary()


class WatchedSteps:
    """The part of a `Recorder` between two epochs: gradients, rates, the order of the examples."""

    run: Run
    model: Any
    optimizer: Any
    task: Task
    steps_taken: int
    _passes: int  # since the last step
    _named_before: bool  # a trainer says what is in a batch before it is taken
    _keeping: Keeping
    _first: bool
    _sharded: bool
    _processes: Processes | None
    _data: dict[str, Served]
    _tables: dict[str, ExampleTable]
    _sampler: GradientSampler | None
    _replay: ReplayLog | None
    _witness: GradientWitness | None
    _targets: TargetsById | None
    _watched: OptimizerWatch | None
    _told: set[str]
    _testified: tuple | None
    _rates: list[float] | None
    _lacks: int
    _handles: list

    def order(self, ids) -> None:
        """Only note what is in the step to come; instead of `batch`, once for each pass of a step.

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
        if ids is None and self._replay is not None:
            self._replay.miss("what is in some steps: the trainer's loader did not draw them")
        elif ids is not None:
            self._named_before = True
            self.order(ids)

    def trained_by(self, facts: TrainerFacts) -> None:
        """Take what a trainer does with batches and gradients beside a plain loop, for a replay.

        Raises
        ------
        SettingError
            Something lies in the way of an exact replay; with its name.
        """
        if self._targets is not None:
            self._targets.smoothing = facts.smoothing
        if self._replay is None:
            return
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
        for part in (self._sampler, self._witness, self._watched, self._replay):
            if part is not None:
                part.close()
        self._testify()
        for one in [] if self.optimizer is None else each_of(self.optimizer):
            if self in _watching.get(one, ()):
                _watching[one].remove(self)
        self._keeping.settle()

    def _watch(self, gradient_every: int, replay: bool) -> None:
        if self.optimizer is None:
            self._note_replay(False)
            return
        for one in each_of(self.optimizer):
            others = _watching.setdefault(one, [])
            for previous in [other for other in others if other.model is self.model]:
                previous.close()
            others.append(self)
        if isinstance(self.optimizer, Rounds):
            self.optimizer.say = self._lack
            self._handles.append(self.optimizer)
        watched = self._watched = OptimizerWatch(self.model, self.optimizer, self._follow)
        targets = TargetsById(self.task, self.model, self._data.get("train"), self._tables["train"])
        self._targets = targets
        several = self._processes is not None
        self._witness = GradientWitness(
            self.model,
            self._loss_of,
            targets=targets,
            for_replay=replay,
            every_step=replay and several,  # which batch will be a short one is not known
            shared=several,
        )
        if self.steps_taken:
            self._witness.go_on_from(self.steps_taken)
        if gradient_every and (self._first or self._sharded):
            self._sampler = GradientSampler(
                self.model, self.optimizer, gradient_every, lambda: watched.nested
            )
        if replay:
            world = 1 if self._processes is None else self._processes.world
            self._replay = ReplayLog(self.run, self.model, self.optimizer, world)
            self._replay.narrow = self._say_narrow
            if self._replay.random is not None:
                self._handles.append(self._replay.random)
            self._handles.append(self._replay.precision)
            self._say_lacks()
            if isinstance(self.optimizer, Rounds):
                self._handles.append(self.optimizer.register_each_hook(self._replay.turn_of))
        self._note_replay(replay)
        self._handles.append(self.optimizer.register_step_pre_hook(self._before_step))

    def _lack(self, what: str) -> None:
        """Note and say what an exact replay lacks."""
        if self._replay is not None:
            self._replay.miss(what)
            self._say_lacks()

    def _say_lacks(self) -> None:
        """Say what an exact replay lacks, as soon as it is known."""
        if self._replay is not None and len(self._replay.missing) > self._lacks:
            new, self._lacks = self._replay.missing[self._lacks :], len(self._replay.missing)
            lacks = "; ".join(new)
            self._tell(f"replay=True will not allow an exact replay; the record lacks {lacks}.")

    def _name_moved(self) -> None:
        """Name what moved, though no optimizer that a replay could take it by holds it."""
        if self._watched is not None:
            for name in sorted(self._watched.moved_unheld):
                self._lack(f"who moves {name}, which no optimizer given to the recorder holds")

    def _follow(self, optimizer) -> None:
        """Go on with an optimizer that has taken over from the watched one."""
        if isinstance(self.optimizer, Rounds):
            self._tell(
                f"Another optimizer ({type(optimizer).__name__}) steps weights of one of "
                f"{name_of(self.optimizer)}, which the recorder was given. Its steps and rates "
                f"are not recorded."
            )
            self._lack(f"{type(optimizer).__name__}, which stepped weights of another optimizer")
            return
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
        closure = closure_of(args, kwargs)
        named = self._replay is not None and self._replay.named  # else the closure says it
        if self._replay is not None:
            if self.steps_taken == 0:
                whole = self._whole()
                self._keeping.write(lambda: save_initial(self.run, *whole))
            self._replay.begin()
            if named or closure is None:
                self._note_step(self._replay)
        self.steps_taken += 1
        self._passes = 0
        if closure is None:
            self._look_at_step()
            return None
        # but not the batches that a trainer has added up
        before = [] if self._replay is not None and self._replay.accumulates else witness.passes

        def after_closure() -> None:
            if self._replay is not None and not named:
                self._note_step(self._replay)
            self._look_at_step(before)

        return look_after_closure(args, kwargs, after_closure)

    def _note_step(self, replay: ReplayLog) -> None:
        replay.step()
        self._say_lacks()
        if self._witness is not None:
            self._witness.every_step |= replay.accumulates

    def _look_at_step(self, before=()) -> None:
        """Have the witness look at the gradients; its own passes are none of the training's."""
        if self._witness is None:
            return
        self._witness.forget(before)
        log = self._replay
        watches = () if log is None else [w for w in (log.random, log.precision) if w is not None]
        for watch in watches:
            watch.awake = False
        self._witness.before_step()
        for watch in watches:
            watch.awake = True

    def _loss_of(self, answers, labels):
        """The loss that is recorded, of answers as `batch` gets them."""
        if isinstance(self.task, InferredTask):
            self.task.settle(self.model, answers, (answers, labels))
        batch = answers, labels.to(answers.device)
        if self._targets is not None and self._targets.smoothing:
            return smoothed_loss(self.task, self.task.read(answers), batch, self._targets.smoothing)
        return self.task.loss(self.task.read(answers), batch)

    def _testify(self) -> None:
        """Write down what the compared steps and the watched weights say; once if it is amiss."""
        if self._witness is None or self._watched is None:
            return
        self._witness.finish()
        looked = len(self._witness.comparisons), len(self._watched.noticed)
        if looked == self._testified:
            return
        self._testified = looked
        smoothing = 0.0 if self._targets is None else self._targets.smoothing
        found = conclude(self.task.loss_name, self._witness.comparisons, smoothing)
        said = {
            "trained_loss": found.attrs(),
            "weight_rule": found.weight_rule,
            "weights_watched": self._watched.noticed,
        }
        self._keeping.write(lambda: self.run.set_attrs(**said))
        if found.contradicts:
            self._tell(f"{found.words} What is recorded as the loss is {found.recorded}.")

    def _say_narrow(self) -> None:
        """Say before the first pass in float16 that it cannot be taken again."""
        if self._replay is not None:
            self._replay.miss(NARROW)
            self._tell(f"replay=True cannot follow {NARROW}.")

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

    def _whole(self) -> tuple:
        """What is saved of model and optimizer."""
        if not self._sharded:
            return self.model, self.optimizer
        weights = WholeModel(self.model)
        if self.optimizer is None:
            return weights, None
        return weights, WholeOptimizer(self.model, self.optimizer, weights)
