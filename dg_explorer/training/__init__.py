"""A training that can be run again: its steps, their replay, their derivative."""
