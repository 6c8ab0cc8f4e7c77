"""What the model was served: example ids, batches, and one reader of loaders, sets and lists."""
