"""Which loss was trained, by which weights, and what the optimizer got of its gradient."""
