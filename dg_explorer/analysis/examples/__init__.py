"""Single examples: learning, forgetting, memorization, wrong labels."""
