"""The analysis: where a per-channel basis can be changed, who takes part, and why other places are refused."""

from .find import find_sites
from .inserted import find_explicit
from .site import Refused, Site

__all__ = ["Refused", "Site", "find_explicit", "find_sites"]
