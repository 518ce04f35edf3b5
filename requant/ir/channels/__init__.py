"""The analysis: where a per-channel transform can be changed, what takes part, and why other places are refused."""

from .find import find_sites
from .inserted import find_inserted
from .site import Refusal, RefusedSite, Site

__all__ = ["Refusal", "RefusedSite", "Site", "find_inserted", "find_sites"]
