"""While a model trains: write what happens into its record."""

from .recorder import Recorder

__all__ = ["Recorder"]
