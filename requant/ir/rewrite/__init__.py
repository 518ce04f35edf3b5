"""The exact rewrites: a site by a basis, channels by copies of them, heads by scales of their own."""

from .basis import Basis
from .rebase import rebase

__all__ = ["Basis", "rebase"]
