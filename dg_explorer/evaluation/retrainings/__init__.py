"""Retrainings as data: each is done once and kept, and answers what removals would do."""
