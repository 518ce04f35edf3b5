"""The graph: load and save, canonical form, linear ops seen one way, channel analysis, the exact rewrite."""

from .canonical import canonicalize
from .channels import Refused, Site, find_sites
from .load import load
from .save import save
from .transform import Basis, rebase

__all__ = ["Basis", "Refused", "Site", "canonicalize", "find_sites", "load", "rebase", "save"]
