"""The widgets that people make: the board, its single views, the comparison of runs."""
