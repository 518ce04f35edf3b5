"""The rewrites: exact ones that re-base channels, the plan of quantizers, and its lowering for an engine."""

from .convert_precision import HalvePrecision
from .fold_scales_into_norms import FoldScalesIntoNorms
from .gptq import RoundWeights
from .insert_qdq import InsertQDQ
from .migrate_channel_shifts import MigrateChannelShifts
from .plan_quantizers import PlanQuantizers
from .reparameterize_scales import ReparameterizeScales
from .search_transforms import RebaseSites
from .select_layers import ChooseLayers
from .split_channels import SplitChannels

__all__ = [
    "ChooseLayers",
    "FoldScalesIntoNorms",
    "HalvePrecision",
    "InsertQDQ",
    "MigrateChannelShifts",
    "PlanQuantizers",
    "RebaseSites",
    "ReparameterizeScales",
    "RoundWeights",
    "SplitChannels",
]
