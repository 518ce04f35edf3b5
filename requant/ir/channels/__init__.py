"""The analysis: where a per-channel transform can be changed, what takes part, and why other places are refused."""

from ..refusal import Refusal
from .find import find_sites
from .inserted import find_inserted
from .site import Site

__all__ = ["Refusal", "Site", "find_inserted", "find_sites"]
