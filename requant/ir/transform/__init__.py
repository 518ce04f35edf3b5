"""The exact rewrites: a site by a basis, channels by copies of them."""

from .apply import rebase
from .transform import Basis

__all__ = ["Basis", "rebase"]
