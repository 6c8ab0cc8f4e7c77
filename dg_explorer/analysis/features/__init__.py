"""Layers: what their features separate, and how they move."""
