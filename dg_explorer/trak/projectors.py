"""The TRAK library's import path for projectors."""

from ..attribution.traker.projectors import (
    AbstractProjector,
    BasicProjector,
    NoOpProjector,
    ProjectionType,
)

# one class serves every device
CudaProjector = BasicProjector

__all__ = [
    "AbstractProjector",
    "BasicProjector",
    "CudaProjector",
    "NoOpProjector",
    "ProjectionType",
]
