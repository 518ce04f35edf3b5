"""The data: sources, mergeable statistics, the collector, ranges."""

from .collect import collect, statistics
from .sources import batches
from .statistics import ChannelStatistics, measure

__all__ = ["ChannelStatistics", "batches", "collect", "measure", "statistics"]
