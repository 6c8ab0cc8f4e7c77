"""What the other processes know of the run: its examples, and how far it got."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ...data.record_labels import COLUMNS
from ...errors import RunError
from ...record.run import Run, as_run
from .processes import Processes


def run_in(processes: Processes, run) -> Run:
    """The run, in the first process; in the others one in memory that has its examples.

    Only the first process opens the record, so that no two write it. What the others are given as
    `run` is not looked at.
    """

    def facts(_) -> dict:
        if run is None:
            raise RunError("The first process (rank 0) records, so it is the one that needs a run.")
        return _facts(as_run(run))

    known = processes.join("the making of the recorder", lambda: None, facts)
    return as_run(run) if processes.first else _stand_in(known)


def _facts(run: Run) -> dict:
    examples = {}
    for split in ("train", "test"):
        if f"{split}_examples" in run:
            table = run[f"{split}_examples"]
            plain = [c for c in COLUMNS if c in table and table[c].dtype.kind in "iufb"]
            examples[split] = {name: np.asarray(table[name].values) for name in (split, *plain)}
    epochs = run.epochs("metrics") if "metrics" in run else []
    return {
        "time_unit": run.time_unit,
        "task": run.attrs.get("task"),
        "examples": examples,
        "epochs": np.asarray(epochs, dtype=np.int64),
    }


def _stand_in(known: dict) -> Run:
    examples = {f"{split}_examples": table for split, table in known["examples"].items()}
    run = Run.create(None, name="of the first process", time_unit=known["time_unit"], **examples)
    if known["task"] is not None:
        run.set_attrs(task=known["task"])
    if len(known["epochs"]):
        there = np.ones(len(known["epochs"]))
        run.append(
            "metrics", xr.Dataset({"recorded": ("epoch", there)}, {"epoch": known["epochs"]})
        )
    return run
