"""The rewrites: exact ones that transform channels, the plan of quantizers, and its lowering for an engine."""

from ..deprecation import renamed
from .convert_precision import ConvertPrecision
from .fold_scales_into_norms import FoldScalesIntoNorms
from .gptq import Gptq
from .insert_qdq import InsertQDQ
from .measure_rounding_noise import MeasureRoundingNoise
from .migrate_channel_shifts import MigrateChannelShifts
from .plan_attention import PlanAttention
from .plan_integer_values import PlanIntegerValues
from .plan_quantizers import PlanQuantizers
from .prevent_fusions import PreventFusions
from .reparameterize_scales import ReparameterizeScales
from .restore_types import RestoreTypes
from .search_transforms import SearchTransforms
from .select_layers import SelectLayers
from .split_channels import SplitChannels
from .split_hard_swish import SplitHardSwish

__all__ = [
    "ConvertPrecision",
    "FoldScalesIntoNorms",
    "Gptq",
    "InsertQDQ",
    "MeasureRoundingNoise",
    "MigrateChannelShifts",
    "PlanAttention",
    "PlanIntegerValues",
    "PlanQuantizers",
    "PreventFusions",
    "ReparameterizeScales",
    "RestoreTypes",
    "SearchTransforms",
    "SelectLayers",
    "SplitChannels",
    "SplitHardSwish",
]

_RENAMED = {
    "ChooseLayers": "SelectLayers",
    "HalvePrecision": "ConvertPrecision",
    "RebaseSites": "SearchTransforms",
    "RoundWeights": "Gptq",
}
__getattr__ = renamed(globals(), _RENAMED)
