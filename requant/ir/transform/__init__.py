"""The exact rewrites: a site by a channel transform, channels by copies of them."""

from .apply import apply_transform
from .transform import ChannelTransform

__all__ = ["ChannelTransform", "apply_transform"]
