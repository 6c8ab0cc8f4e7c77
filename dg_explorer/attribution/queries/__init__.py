"""Questions about a finished run: many examples at once, contrasts, directions."""
