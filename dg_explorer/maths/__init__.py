"""NumPy in, NumPy out: the formulas, each in its own file, none knowing what a run is."""
