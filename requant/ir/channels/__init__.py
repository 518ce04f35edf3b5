"""The analysis: where a per-channel transform can be changed, who takes part, and why other places are refused."""

from .find import find_sites
from .inserted import find_inserted
from .site import Refusal, Site

__all__ = ["Refusal", "Site", "find_inserted", "find_sites"]
