"""States of a training by step, from few that are kept."""

from __future__ import annotations

from .products import LossProducts
from .step.by_hand import State


def states_in_order(training, flat, steps):
    """The state before each step and after the last, one after another, none kept."""
    replay = Replay(training, flat, steps, sum(1 for _ in training.steps()), 0)
    state = replay.state(0)
    yield state
    for step in range(len(steps)):
        state = replay.forward(state, step)
        yield state


class Replay:
    """States of a training by step, computed again from those kept every `segment_length`.

    A recorded training is stepped by its own modules and optimizer, to the bit; one that is given
    as a function, by that function and the rule that is differentiated. Without a segment length
    only the start is kept.
    """

    def __init__(self, training, flat, steps, n_steps, segment_length):
        self.training, self.flat = training, flat
        self.steps, self.n_steps = steps, n_steps
        self.segment_length = segment_length
        self._own = training.own if training.weights is None else None
        self._losses = LossProducts(training, flat)
        self._kept: dict[int, State] = {0: training.optimizer.initial_state(flat.theta)}
        self._segment: dict[int, State] = {}
        state = self._kept[0]
        for step in range(len(steps) if segment_length else 0):
            state = self.forward(state, step)
            if (step + 1) % segment_length == 0 or step + 1 == len(steps):
                self._kept[step + 1] = state

    def state(self, step: int) -> State:
        """The state before update ``step``, that is after that many updates."""
        if step in self._kept:
            return self._kept[step]
        if step not in self._segment:
            first = step // self.segment_length * self.segment_length
            state = self._kept[first]
            self._segment = {}
            for s in range(first, min(first + self.segment_length, len(self.steps)) - 1):
                state = self.forward(state, s)
                self._segment[s + 1] = state
        return self._segment[step]

    def forward(self, state: State, step: int) -> State:
        """The state after a step from the given one."""
        if self._own is not None:
            return self._own.step_from(step, state)
        _, batch = self.steps[step]
        training = self.training
        loss = self._losses.of(batch, training.slot_weight(step), step)
        lr = training.optimizer.lr_at(step, self.n_steps)
        if training.optimizer.generic:
            return training.optimizer.step(state, loss.gradient, step, lr)
        return training.optimizer.step(state, loss.gradient(state[0]), step, lr)
