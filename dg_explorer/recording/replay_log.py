"""What an exact replay of training needs: the examples in each step, the optimizer's settings.

Written as the group `replay`: for each optimizer step (label `step`, the number of steps taken
before it) the ids of its examples (`train_id`, -1 pads), its `learning_rate` (one a parameter
group: `learning_rate_1` and so on for further ones), where a step is made of several batches the
batch of each slot (`micro`: 0, 1, ...), where several processes trained the process of each slot
(`rank`; an example that two were given has two slots) and, where the examples weigh unevenly, the
`weight` of each in the step's loss (NaN: 1 / examples of the step). Of examples with several labels
`n_trained` counts those that are trained, after a shift; what a loss is divided by is 1 / `weight`.
Of several optimizers `stepped`, `stepped_1` and so on say which of them did (`optimizers`, among
the attributes, has the class of each and the number of its groups). Where a trainer clips,
`clip_factor` is what the gradient was multiplied by. Of a model that draws (dropout) `random` holds
where torch's generator stood at each pass. In mixed precision `autocast` holds what was in force at
each pass of a step ("" for none). The attributes say the rest: the optimizer's class and where that
is defined, the settings of its groups and the names of their parameters, whether algorithms were
deterministic, whether each batch was as wide as its longest example and no wider (`cut`), what the
trainer does beside (`trainer`), which batch norms and dropouts were in eval mode at the steps
(`resting`), which rules give all weights (`weight_rules`, see `rules_of_weights`), and `missing`:
what an exact replay lacks, empty where it lacks nothing. The weights and the optimizer state before
step 0 are the checkpoint that `load_initial(run)` reads; `metrics` holds `steps_taken` at each
epoch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import numpy as np
import torch
import xarray as xr

from ..checkpoints.several import Several, each_of, name_of
from ..training.loss.trained_loss import ROUNDED, WEIGHT_RULES, nearest_rule, rules_of_weights
from ..training.precision import NARROW, UNNAMED, PrecisionWatch, RandomWatch, as_text, half_weights
from ..training.step.rounds import rates_of
from .gradient_witness import EVEN
from .optimizer_watch import CounterWatch, settings_of
from .ranks.steps import Step
from .trainer_facts import NormWatch, TrainerFacts

WITHOUT_REPLAY = (
    "Exact replay, and with it unrolled influence, needs the order of the examples and the "
    "optimizer's state: record with Recorder(..., replay=True). Methods that look at one "
    "checkpoint (trak, influence, tracin, gradient similarity) work on this run."
)
MIXES = "gradients of single examples: batch normalization mixes the examples of a step"


class ReplayLog:
    """Collects the steps of an optimizer between two recorded epochs."""

    def __init__(self, run, model, optimizer, processes: int = 1):
        self._run = run
        self._processes = processes
        self._model = model
        self._optimizer = optimizer
        self._ids: list[np.ndarray] = []
        self._steps: list[Step] = []
        #: settings that the optimizer itself changes as it steps: its counters
        self._counters = CounterWatch(model, each_of(optimizer))
        self._turns: list[int] = []  # which of several optimizers take part in the step
        #: whether some step was made of several batches
        self.accumulates = False
        #: what a trainer does that its callback knows
        self.trainer: TrainerFacts | None = None
        self._slots, self._written = _there(run)
        there = run["replay"].attrs if "replay" in run else {}
        #: as the first recorder of this run found it; settings that go on are compared with it
        self._settings = json.loads(there.get("settings", "null")) or settings_of(model, optimizer)
        self.missing = json.loads(there.get("missing", "[]"))
        if there.get("optimizer", name_of(optimizer)) != name_of(optimizer):
            self._note_taken_over(optimizer)
        for what in obstacles(model, optimizer):
            self.miss(what)
        self._by_mode = [(n, m) for n, m in model.named_modules() if _mixes(m) or _draws(m)]
        #: where the generator stood, of a model that draws
        self.random: RandomWatch | None = None
        if processes == 1 and next(model.parameters()).device.type == "cpu":
            self.random = RandomWatch(model, optimizer, draws=_drops(model))
        elif _drops(model):
            self.miss("the random masks of dropout, which are kept for one process on the CPU")
        #: which autocast was in force, by pass
        self.precision = PrecisionWatch(model, optimizer, lambda: self.narrow())
        #: called before the first pass in float16
        self.narrow: Callable[[], None] = lambda: self.miss(NARROW)
        #: norms of the gradients before they are clipped
        self.norms: NormWatch | None = None
        said, self._cut_before = there.get("weight_rules"), there.get("cut", True)
        self._rules = set(WEIGHT_RULES if said is None else json.loads(said))
        #: which layers answer otherwise in training were evaluating at the steps
        self._resting: list[str] | None = json.loads(there.get("resting", "null"))

    def batch(self, ids) -> None:
        """Note what is in the step to come; several batches before one step are accumulated."""
        ids = ids.cpu().numpy() if torch.is_tensor(ids) else ids
        self._ids.append(np.array(ids, dtype=np.int64).reshape(-1))

    @property
    def named(self) -> bool:
        """Whether it was said what is in the step to come."""
        return bool(self._ids)

    def follow(self, optimizer) -> None:
        """Another optimizer has taken over, which a replay by the first cannot follow."""
        self._optimizer = optimizer
        self._note_taken_over(optimizer)
        self._counters.look_at(optimizer)

    def _note_taken_over(self, optimizer) -> None:
        step = self._written + len(self._steps)
        self.miss(f"one optimizer: {name_of(optimizer)} took over at step {step}")

    def begin(self) -> None:
        """A step begins; who is in it may be said before or in a closure."""
        self._turns = []

    def step(self) -> None:
        """Note that the optimizer is about to step."""
        turns = self._turns if isinstance(self._optimizer, Several) else None
        if not self._ids:
            self.miss(self._without_ids())
        self.accumulates = self.accumulates or len(self._ids) > 1
        if self._by_mode:
            self._look_at_modes()
        self._steps.append(Step(self._ids, list(rates_of(self._optimizer)), turns=turns))
        self._ids = []

    def _look_at_modes(self) -> None:
        """See which batch norms and dropouts train, and which rest in eval mode."""
        resting = [name for name, module in self._by_mode if not module.training]
        if any(_mixes(module) and module.training for _, module in self._by_mode):
            self.miss(MIXES)
        if self._resting is not None and resting != self._resting:
            self.miss("batch norm or dropout that is in training mode at some steps only")
        self._resting = resting

    def turn_of(self, k: int) -> None:
        """Note that one of several optimizers is about to step, in the step that has begun."""
        self._turns.append(k)
        if self._steps and self._steps[-1].turns is self._turns:  # else a closure comes first
            self._steps[-1].rates = list(rates_of(self._optimizer))

    def _without_ids(self) -> str:
        """What is amiss where nobody is named before a step."""
        last = self._steps[-1].turns if self._steps else None
        if last and len(last) < len(each_of(self._optimizer)):
            kinds = [type(each_of(self._optimizer)[k]).__name__ for k in last]
            return (
                f"one gradient for a batch: after {' and '.join(kinds)} had stepped, another "
                f"optimizer stepped with a new gradient, before which nobody was named (rec.batch "
                f"in a loop of your own)"
            )
        return (
            "the order of the examples: call rec.batch(logits, labels, ids) in each step, "
            "before optimizer.step()"
        )

    def close(self) -> None:
        """Take the hooks off the optimizers."""
        self._counters.close()

    def take(self) -> list[Step]:
        """The steps since the last call, which are then no longer kept."""
        taken, self._steps = self._steps, []
        return taken

    def put(self, steps: list[Step]) -> None:
        """Keep the steps of all processes in place of those that were taken."""
        self._steps = steps

    def write(
        self,
        steps_taken: int,
        weights: Mapping[int, np.ndarray],
        *,
        counts: Callable[[np.ndarray], np.ndarray] | None = None,
        overwrite: bool = False,
    ) -> None:
        """Append the steps since the last call to the record.

        Parameters
        ----------
        weights : mapping of step -> float array, shape (slot,)
            The weight of each slot in the step's loss, 1 for their mean, where it was found.
        counts : callable ``ids -> int array``, optional
            Trained labels of examples that have several each.
        overwrite : bool
            Steps that are there already were those of a training that was cut off.
        """
        there = settings_of(self._model, self._optimizer)
        pairs = [
            [{k: v for k, v in group.items() if k not in self._counters.names} for group in groups]
            for groups in (there, self._settings)
        ]
        if pairs[0] != pairs[1]:
            self.miss(
                "a change of the optimizer's settings (other than the learning rate) or of which "
                "parameters train"
            )
        steps = self.take()
        if not steps:
            return
        slots = max(len(step.ids) for step in steps)
        if slots > self._slots:
            self._widen(slots)
        table = np.full((len(steps), self._slots), -1, dtype=np.int32)
        for row, step in zip(table, steps):
            row[: len(step.ids)] = step.ids
        groups = max(len(step.rates) for step in steps)
        rates = np.full((groups, len(steps)), np.nan)
        for column, step in zip(rates.T, steps):
            column[: len(step.rates)] = step.rates
        data: dict[str, tuple] = {"train_id": (("step", "slot"), table)}
        for i, rate in enumerate(rates):
            data["learning_rate" if i == 0 else f"learning_rate_{i}"] = ("step", rate)
        first = steps_taken - len(steps)
        if first > self._written:
            self.miss(f"steps {self._written} to {first - 1}, recorded without replay=True")
        precisions = self._precisions(steps)
        n = None
        if counts is not None:
            n = np.zeros(table.shape, dtype=np.int32)
            n[table >= 0] = counts(table[table >= 0])
        rounded = [any(passes) for passes in precisions]
        weight = self._weights(steps, first, weights, n, rounded)
        if weight is not None:
            data["weight"] = (("step", "slot"), weight)
        if isinstance(self._optimizer, Several):
            for k in range(len(each_of(self._optimizer))):
                turns = np.array([k in (step.turns or ()) for step in steps], dtype=np.int8)
                data[f"stepped_{k}" if k else "stepped"] = ("step", turns)
        if self.accumulates:
            data["micro"] = self._by_slot(steps, [step.places for step in steps])
        if self._processes > 1:
            data["rank"] = self._by_slot(steps, [step.rank for step in steps])
        if n is not None:
            data["n_trained"] = (("step", "slot"), n)
        if self.norms is not None:
            data["clip_factor"] = ("step", self.norms.take(len(steps)))
        if self.random is not None and self.random.draws:
            data["random"] = ("step", self._random(steps))
        if any(map(any, precisions)):
            data["autocast"] = ("step", np.array(list(map(as_text, precisions)), dtype=object))
        self._name_rules(steps, weight, data.get("n_trained"))
        # steps that a resumed training takes again are in the record already
        known = 0 if overwrite else max(0, self._written - first)
        rows = xr.Dataset(data, {"step": np.arange(first, steps_taken)}, self._attrs())
        if known < len(steps):
            self._run.append("replay", rows.isel(step=slice(known, None)), overwrite=overwrite)
        self._written = max(self._written, steps_taken)

    def _weights(self, steps, first: int, found, counts, rounded) -> np.ndarray | None:
        """The weight of each slot in its step's loss; NaN where all weigh the same, their mean.

        In mixed precision a weight is seen to a hundredth or so: it is then taken to be the one
        that a rule gives.
        """
        table = np.full((len(steps), self._slots), np.nan)
        for k, step in enumerate(steps):
            own = found.get(first + k) if step.weights is None else step.weights
            if own is None and self.trainer is not None:
                own = self.trainer.weights([len(ids) for ids in step.passes])
                own = None if own is None else own / self._processes
            if own is None or len(own) != len(step.ids):
                if step.n_passes > 1:
                    self.miss("how gradients of several batches were accumulated into one step")
                elif not step.even:
                    self.miss("what an example weighs where processes have batches of other sizes")
                continue
            own = own / len(step.ids)
            if rounded[k]:
                n = np.ones(len(own)) if counts is None else counts[k, : len(own)]
                micro = step.by_slot(step.places)
                own = nearest_rule(own, n, micro, self._accumulate, ROUNDED)
            if np.abs(own * len(own) - 1).max() > EVEN:
                table[k, : len(own)] = own
        return None if np.isnan(table).all() else table

    @property
    def _accumulate(self) -> int:
        """Batches of a whole step."""
        return 1 if self.trainer is None else self.trainer.accumulate

    def _precisions(self, steps: list[Step]) -> list[tuple[str, ...]]:
        """Which autocast was in force at the passes of each step."""
        seen = self.precision.take(len(steps))
        seen = [()] * (len(steps) - len(seen)) + seen
        for passes, step in zip(seen, steps):
            if len(set(passes)) > 1 and (len(passes) != len(step.passes) or self._processes > 1):
                self.miss(UNNAMED)
        return seen

    def _random(self, steps: list[Step]) -> np.ndarray:
        """Where the generator stood at each pass of each step, as text."""
        passes = [] if self.random is None else self.random.take(len(steps))
        if [len(states) for states in passes] != [len(step.passes) for step in steps]:
            self.miss("the random masks of dropout: other passes were seen than those of batches")
            passes = [[] for _ in steps]
        return np.array([json.dumps(states) for states in passes], dtype=object)

    def _cut(self) -> bool:
        """Whether every batch so far was padded to its longest example and no wider."""
        return bool(self._cut_before and self.random is not None and self.random.cut)

    def _name_rules(self, steps: list[Step], weight, counts) -> None:
        """Keep the rules that give the weights of all steps; of one process, so far."""
        for k, step in enumerate(steps):
            slots = len(step.ids)
            if not slots:
                continue
            own = np.full(slots, np.nan) if weight is None else weight[k, :slots]
            own = np.where(np.isnan(own), 1 / slots, own)
            n = np.ones(slots) if counts is None else counts[1][k, :slots]
            micro = step.by_slot(step.places)
            self._rules &= rules_of_weights(own, n, micro, self._accumulate)
        if self._processes > 1:
            self._rules = set()

    def _by_slot(self, steps: list[Step], values: list) -> tuple:
        """What is said of each pass of a step, for each of its slots; -1 pads."""
        table = np.full((len(steps), self._slots), -1, dtype=np.int32)
        for row, step, own in zip(table, steps, values, strict=True):
            row[: len(step.ids)] = step.by_slot(own)
        return ("step", "slot"), table

    def _attrs(self) -> dict:
        told = {} if self.trainer is None else {"trainer": json.dumps(self.trainer.told())}
        if isinstance(self._optimizer, Several):
            own = [[name_of(one), len(one.param_groups)] for one in each_of(self._optimizer)]
            told["optimizers"] = json.dumps(own)
        return told | {
            "optimizer": name_of(self._optimizer),
            "optimizer_module": " and ".join(
                type(one).__module__ for one in each_of(self._optimizer)
            ),
            "settings": json.dumps(self._settings),
            "parameters": json.dumps([name for name, _ in self._model.named_parameters()]),
            "loss": "mean over the step's examples of the cross-entropy of the true label",
            "dtype": str(next(self._model.parameters()).dtype).removeprefix("torch."),
            "device": str(next(self._model.parameters()).device),
            "torch": str(torch.__version__),
            "threads": torch.get_num_threads(),
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "missing": json.dumps(self.missing),
            "resting": json.dumps(self._resting or []),
            "processes": self._processes,
            "weight_rules": json.dumps(sorted(self._rules)),
            "cut": self._cut(),
        }

    def _widen(self, slots: int) -> None:
        # the first batch is nearly always the largest, so this hardly ever rewrites anything
        if "replay" in self._run:
            old = self._run["replay"].load()
            empty = dict.fromkeys(("train_id", "micro", "rank"), -1) | {"n_trained": 0}
            empty = {name: value for name, value in empty.items() if name in old}
            wider = old.pad(slot=(0, slots - self._slots), constant_values=empty)
            self._run.add("replay", wider, overwrite=True)
        self._slots = slots

    def miss(self, what: str) -> None:
        """Note what an exact replay lacks."""
        if what not in self.missing:
            self.missing.append(what)


def obstacles(model, optimizer) -> list[str]:
    """What makes an exact replay impossible from the start, in words."""
    found = []
    if any(_mixes(m) and m.training for m in model.modules()):
        found.append(MIXES)
    found += half_weights(optimizer)
    known = {id(p) for p in model.parameters()}
    if any(id(p) not in known for group in optimizer.param_groups for p in group["params"]):
        found.append("parameters that the optimizer updates and the model does not have")
    return found


def _mixes(module) -> bool:
    """Whether a layer normalises by the examples of a step while it is in training mode."""
    name = type(module).__name__
    return "BatchNorm" in name and "Frozen" not in name


def _draws(module) -> bool:
    return "Dropout" in type(module).__name__ and getattr(module, "p", 0) > 0


def _drops(model) -> bool:
    """Whether the model has dropout."""
    return any(_draws(m) for m in model.modules())


def _there(run) -> tuple[int, int]:
    """The width of the record's table and the number of its steps."""
    if "replay" not in run:
        return 0, 0
    replay = run["replay"]
    return replay.sizes["slot"], int(replay["step"].values[-1]) + 1
