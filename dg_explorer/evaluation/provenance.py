"""What scores were made of, as one short name: a measurement of them holds for these alone."""

from __future__ import annotations

import hashlib
import json

import numpy as np

# of what scores were made; which version computed the same ones does not matter
_NOT = ("version",)


def made_of(run, group: str, epoch: int) -> str:
    """A short name of the scores at an epoch, the same for as long as they are the same.

    By what their writer says that they were made from, and otherwise by their values; "" where
    there are none.
    """
    if group not in run:
        return ""
    said = run.made_from(group).get(int(epoch))
    told = hashlib.sha256()
    if said:
        attrs = run[group].attrs
        kept = {k: v for k, v in said.items() if k not in _NOT}
        kept |= {k: attrs.get(k) for k in ("method", "settings", "output")}
        told.update(json.dumps(kept, sort_keys=True, default=str).encode())
    else:
        scores = run[group]["score"]
        if epoch not in scores["epoch"].values:
            return ""
        row = scores.sel(epoch=epoch).transpose("test", "train")
        told.update(np.ascontiguousarray(row.values).tobytes())
        for dim in ("test", "train"):
            told.update(np.asarray(row[dim].values).tobytes())
    return told.hexdigest()[:16]
