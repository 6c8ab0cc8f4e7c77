"""Groups of examples: which ones teach a shortcut, and what training without them gives."""
