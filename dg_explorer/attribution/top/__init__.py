"""The highest scores of every row without the whole matrix."""
