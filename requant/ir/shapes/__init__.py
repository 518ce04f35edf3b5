"""Shapes and types of all values: inference, the rules beside it, and names for dimensions."""
