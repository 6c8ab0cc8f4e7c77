"""Add to a run when it memorized, when it generalized, and how sure that is."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr

from ...arguments import checked
from ...maths.transition import Fall, Transition, find_fall, find_transition
from ...record.run import as_run
from ..sources.curves import LEVELS, MEMORIZED_AT, accuracy_curves, levels_reached


@checked
def add_transitions(run, *, overwrite: bool = True, **settings) -> xr.Dataset:
    """Find when a run memorized and when it generalized, and write it to `transitions`.

    Parameters and returns as `find_transitions`.
    """
    run = as_run(run)
    result = find_transitions(run, **settings)
    run.add("transitions", result, overwrite=overwrite)
    return result


def find_transitions(
    run,
    *,
    memorized_at: float = MEMORIZED_AT,
    levels: tuple[float, float] = LEVELS,
    band: float = 0.05,
    hold: int = 3,
) -> xr.Dataset:
    """Find when a run memorized and when it generalized.

    What rises is a transition; where test accuracy falls at last, the rise is looked for before,
    and the fall is said to be forgetting. Two questions are kept apart. *When did accuracy reach
    a level?* is answered for any run. *Was there a transition*, a plateau, a short rise and a
    plateau? is answered by three detectors (threshold, sigmoid, change points), and yes needs two
    of them.

    Parameters
    ----------
    run : Run
    memorized_at : float
        Train accuracy that counts as memorized.
    levels : two floats
        Test accuracies at `t50` and `t95`.
    band, hold : float, int
        A level counts as reached if accuracy then stays within `band` of it for `hold`
        recorded epochs.

    Returns
    -------
    Dataset
        Scalars, in the run's own epochs or steps; NaN is "never in this record":
        `t_memorized`, `t50`, `t95`, `delay` (t95 - t_memorized), `delay_ratio`
        (t95 / t_memorized); and of the test curve's transition `found`, `agree`
        (detectors of 3), `onset` (10 % of the fitted rise), `t_transition`, `interval` (bound: low,
        low, high), `width`, `by_threshold`, `by_sigmoid`, `by_change_points`; and `t_forgotten`,
        when half of a last fall of test accuracy has passed. `attrs["note"]` says it in words.
    """
    curves = accuracy_curves(run)
    time = curves["epoch"].values.astype(float)
    nothing = np.full(len(time), np.nan)
    test = curves["test_accuracy"].values if "test_accuracy" in curves else nothing
    times = levels_reached(curves, memorized_at=memorized_at, levels=levels, band=band, hold=hold)
    times["delay"] = times["t95"] - times["t_memorized"]
    times["delay_ratio"] = (
        times["t95"] / times["t_memorized"] if times["t_memorized"] > 0 else np.nan
    )
    fall = find_fall(time, test)
    # what falls later says nothing of a rise before
    rises = np.isfinite(time) if fall is None else time <= fall.begins
    answer = find_transition(
        time[rises],
        test[rises],
        origin=0.0 if len(time) and time[0] >= 0 else None,
        memorized=times["t_memorized"],
    )
    onset = np.nan
    if answer.found:
        onset = _onset(time, test, answer)
    times["t_forgotten"] = np.nan if fall is None else fall.half
    data: dict[str, tuple] = {name: ((), float(value)) for name, value in times.items()}
    data |= {
        "found": ((), bool(answer.found)),
        "agree": ((), int(answer.agree)),
        "onset": ((), float(onset)),
        "t_transition": ((), float(answer.t50)),
        "width": ((), float(answer.width)),
        "interval": ("bound", np.array(answer.interval, dtype=float)),
        "by_threshold": ((), float(answer.by_threshold)),
        "by_sigmoid": ((), float(answer.by_sigmoid)),
        "by_change_points": ((), float(answer.by_change_points)),
    }
    for name in (*times, "onset", "t_transition", "width", "interval"):
        unit = "ratio" if name == "delay_ratio" else run.time_unit
        data[name] = (*data[name], {"unit": unit})
    settings = {"memorized_at": memorized_at, "levels": list(levels), "band": band, "hold": hold}
    return xr.Dataset(
        data,
        {"bound": np.array(["low", "high"], dtype=object)},
        {"note": _note(answer, fall), "settings": json.dumps(settings), "time_unit": run.time_unit},
    )


def _note(answer: Transition, fall: Fall | None) -> str:
    if fall is None:
        return answer.note
    fell = (
        f"test accuracy falls from {fall.top:.2f} after {fall.begins:g} to {fall.end:.2f}, half of "
        f"it by {fall.half:g}: that is forgetting, and no transition."
    )
    return f"{answer.note} Later {fell}" if answer.found else f"None: {fell}"


def _onset(time: np.ndarray, curve: np.ndarray, answer) -> float:
    """When the rise has covered a tenth of its height: the last time the curve was below it."""
    known = np.isfinite(curve)
    time, curve = time[known], curve[known]
    share = (curve - answer.low) / (answer.high - answer.low)
    below = np.flatnonzero((share < 0.1) & (time <= answer.t50))
    return float(time[min(below[-1] + 1, len(time) - 1)]) if len(below) else float(time[0])
