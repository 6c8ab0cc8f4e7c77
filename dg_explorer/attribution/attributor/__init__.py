"""What every attribution method builds on: models, batches, features, memory."""
