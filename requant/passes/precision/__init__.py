"""Mixed precision: the nodes that stay in float32, the types of all others, and the Casts between them."""
