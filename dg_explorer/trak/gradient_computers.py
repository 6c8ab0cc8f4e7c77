"""The TRAK library's import path for gradient computers."""

from ..attribution.traker.gradient_computers import (
    AbstractGradientComputer,
    FunctionalGradientComputer,
    IterativeGradientComputer,
)

__all__ = ["AbstractGradientComputer", "FunctionalGradientComputer", "IterativeGradientComputer"]
