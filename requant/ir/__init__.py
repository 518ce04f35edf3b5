"""The graph: load and save, canonical form, linear ops seen one way, channel analysis, the exact rewrite."""

from .canonical import canonicalize
from .load import load
from .rewrite import Basis, rebase
from .save import save
from .sites import Refused, Site, find_sites

__all__ = ["Basis", "Refused", "Site", "canonicalize", "find_sites", "load", "rebase", "save"]
