"""Damping, curvature, and the systems that a method solves."""
