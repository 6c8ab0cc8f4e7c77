"""Write the golden numbers anew: ``python tests/golden/make.py [NAME ...]``, all without names.

A change that moves a number says so in its commit, and why the new one is right.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from golden_scores import CASES, scores_of

STORED = Path(__file__).with_name("scores.json")


def summary(scores):
    """What is stored of a case: six scores of the first and the last row, and the size of all."""
    rows = scores.reshape(-1, scores.shape[-1])
    return {
        "shape": list(scores.shape),
        "norm": digits(np.linalg.norm(scores)),
        "largest": digits(np.abs(scores).max()),
        "first": [digits(value) for value in rows[0, :6]],
        "last": [digits(value) for value in rows[-1, :6]],
    }


def digits(value):
    return float(f"{value:.8g}")


def main(names):
    """Compute the cases and write them, one line a field."""
    torch.set_num_threads(1)
    stored = json.loads(STORED.read_text()) if names and STORED.exists() else {}
    computed = {name: summary(scores_of(name)) for name in names or CASES}
    merged = stored | computed
    cases = []
    for name in CASES:
        fields = ",\n".join(
            f"    {json.dumps(k)}: {json.dumps(v)}" for k, v in merged[name].items()
        )
        cases.append(f"  {json.dumps(name)}: {{\n{fields}\n  }}")
    STORED.write_text("{\n" + ",\n".join(cases) + "\n}\n")
    print(f"{STORED}: {len(computed)} of {len(CASES)} cases written")


if __name__ == "__main__":
    main(sys.argv[1:])
