"""Several processes that train one model: each gives its part, the first one records."""
