"""Gradients by layer over training."""
