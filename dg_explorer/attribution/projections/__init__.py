"""Inner products of gradients, exact, projected and sketched."""
