"""The checker's view of a quantized graph, and the searches for what breaks an engine's rules."""
