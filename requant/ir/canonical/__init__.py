"""The canonical form: one representation of what exporters write in many ways."""

from .canonicalize import canonicalize

__all__ = ["canonicalize"]
