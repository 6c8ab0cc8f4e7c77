"""The exact derivative through training."""
