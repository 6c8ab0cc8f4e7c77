"""Speed, memory and fidelity of attribution, as one table of ratios to a plain pass.

``python -m benchmarks.attribution [transformer features resnet gpt scores click]
[--peers [PYTHON]]``

The *floor* is one forward and backward pass over the same examples. Times are of the processor,
on one thread; each is measured in turn with its floor, so that ratios can be compared where
seconds cannot. Each workload runs in a process of its own, so that its memory is its own.

With ``--peers``, traker and dattri are measured too, at their defaults, where they are installed:
in this Python or in another one, whose path is given. One batch of theirs is measured and scaled
to the workload, for the whole would take minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys

WORKLOADS = ("transformer", "features", "resnet", "gpt", "scores", "click")
LINE = "{:38} {:44} {:>10} {:16} {}"
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workloads", nargs="*", default=WORKLOADS, metavar="workload")
    parser.add_argument("--peers", nargs="?", const=sys.executable, metavar="PYTHON")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # a workload's part, in a child
    settings = parser.parse_args()
    if settings.one:
        measure(*settings.one.split(":"))
        return
    unknown = set(settings.workloads) - set(WORKLOADS)
    if unknown:
        parser.error(f"no workload {unknown.pop()!r}; there are {', '.join(WORKLOADS)}")
    show("workload", "quantity", "measured", "", "level (aim)")
    failed = False
    for name in settings.workloads:
        rows, fine = run_workload(name)
        failed |= not fine
        if settings.peers:
            compare(name, rows, settings.peers)
    sys.exit(failed)


def run_workload(name: str) -> tuple[list[dict], bool]:
    """Print what a workload measures, each part in a process of its own; and return it."""
    from benchmarks.workloads import WORKLOADS as PARTS

    found, fine = [], True
    for i in range(len(PARTS[name])):
        command = [sys.executable, "-m", __spec__.name, "--one", f"{name}:{i}"]
        with subprocess.Popen(
            command, env=os.environ | ONE_THREAD, stdout=subprocess.PIPE, text=True
        ) as child:
            for line in child.stdout:
                row = json.loads(line)
                found.append(row)
                show(*(row[k] for k in ("workload", "quantity", "value", "unit", "level")))
        fine &= child.returncode == 0
    return found, fine


def measure(name: str, i: str) -> None:
    """In a child: one part of a workload, a line of JSON for each row."""
    import torch

    from benchmarks.workloads import WORKLOADS as PARTS

    torch.set_num_threads(1)
    for row in PARTS[name][int(i)]():
        print(json.dumps(vars(row)), flush=True)


def compare(name: str, rows: list[dict], python: str) -> None:
    """Print how many times as long each peer takes for what was measured."""
    from benchmarks.peers import PEERS

    for peer, level in PEERS.get(name, {}).items():
        command = [python, "-m", "benchmarks.peers", peer, name]
        done = subprocess.run(
            command, env=os.environ | ONE_THREAD, capture_output=True, text=True, check=False
        )
        ours = next((r for r in rows if r["unit"] in ("s", "ms")), None)
        if done.returncode or ours is None:
            reason = (done.stderr.strip().splitlines() or ["nothing to compare with"])[-1]
            show(rows[0]["workload"] if rows else name, peer, "-", "", f"not measured: {reason}")
            continue
        mine = ours["value"] / (1000 if ours["unit"] == "ms" else 1)
        for told in map(json.loads, done.stdout.splitlines()):
            theirs = told["total"] if ours["unit"] == "s" else told["example"]
            label = f"{peer} (one batch of {told['batch']}, scaled) / ours"
            show(rows[0]["workload"], label, theirs / mine, "x", level)


def show(workload, quantity, value, unit, level) -> None:
    value = value if isinstance(value, str) else f"{value:.3g}"
    print(LINE.format(workload, quantity, value, unit, level), flush=True)


if __name__ == "__main__":
    main()
