"""One checkpoint in, scores out: which training examples moved which answers."""
