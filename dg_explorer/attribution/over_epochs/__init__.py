"""Scores over the epochs of a run: how they change and how stable they are."""
