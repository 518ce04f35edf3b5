"""The canonical form: one spelling for every exporter's dialect."""

from .canonicalize import canonicalize

__all__ = ["canonicalize"]
