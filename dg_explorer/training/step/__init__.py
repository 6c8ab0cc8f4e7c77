"""The step of an optimizer, and its exact derivative."""
