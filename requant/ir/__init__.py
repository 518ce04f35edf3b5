"""The graph: load and save, canonical form, linear ops seen one way, channel analysis, the exact rewrite."""

from .canonical import canonicalize
from .channels import Refusal, Site, find_sites
from .load import load
from .save import save
from .transform import ChannelTransform, apply_transform

__all__ = ["ChannelTransform", "Refusal", "Site", "apply_transform", "canonicalize", "find_sites", "load", "save"]
