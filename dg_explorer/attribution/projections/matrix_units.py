"""Whether this processor has units that multiply bfloat16 matrices."""

from __future__ import annotations

import torch


def has_matrix_units() -> bool:
    """Whether this processor multiplies bfloat16 several times faster than float32."""
    # torch tells it under a private name, which may go
    return bool(getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)())
