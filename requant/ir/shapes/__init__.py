"""Shapes and types of all values: inference, further rules, and names for dimensions."""
