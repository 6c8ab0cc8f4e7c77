"""What the browser asks for by key, and the blocks that answer it."""
