"""Per-example gradients: how each parameter's is taken, and the factors they come in."""
