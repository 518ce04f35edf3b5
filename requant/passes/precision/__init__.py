"""Mixed precision: the nodes that stay in float32, the types of all other nodes, and the Casts between them."""
