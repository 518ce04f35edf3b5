"""The rewrites: exact ones that re-base channels, the plan of quantizers, and its lowering for an engine."""

from .choose_layers import ChooseLayers
from .fold_scales_into_norms import FoldScalesIntoNorms
from .halve_precision import HalvePrecision
from .insert_qdq import InsertQDQ
from .migrate_channel_shifts import MigrateChannelShifts
from .plan_quantizers import PlanQuantizers
from .rebase_sites import RebaseSites
from .reparameterize_scales import ReparameterizeScales
from .round_weights import RoundWeights
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
