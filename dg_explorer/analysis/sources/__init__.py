"""What every analysis starts from: curves, examples seen, and scores of a run or of a model."""
