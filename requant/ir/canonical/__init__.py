"""The canonical form: one spelling for every exporter's dialect."""

from .form import canonicalize

__all__ = ["canonicalize"]
