"""The exact rewrites: a site by a basis, channels by copies of them."""

from .basis import Basis
from .rebase import rebase

__all__ = ["Basis", "rebase"]
