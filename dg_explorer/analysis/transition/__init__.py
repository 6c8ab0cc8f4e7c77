"""When a run changes its answer, and which examples do it."""
