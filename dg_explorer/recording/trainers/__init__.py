"""Callbacks that make the trainers of other libraries write a run's record."""
