"""Annotations: what passes leave on nodes, values and models for the passes after them, and for the report.

| annotation      | on    | written by                                 | read by                                    |
|-----------------|-------|--------------------------------------------|--------------------------------------------|
| `KEPT`          | node  | SelectLayers, PlanQuantizers, a limit      | every pass after them                      |
| `SKIPPED`       | node  | SelectLayers                               | SplitChannels, passes that transform sites |
| `DIRECT`        | node  | SelectLayers                               | `Split…` passes, SearchTransforms          |
| `DYNAMIC`       | node  | PlanQuantizers                             | InsertQDQ                                  |
| `ROW_WEIGHTS`   | node  | Gptq                                       | InsertQDQ (bias correction)                |
| `INTEGER`       | value | PlanIntegerValues                          | InsertQDQ                                  |
| `FLOAT`         | node  | PlanIntegerValues                          | InsertQDQ                                  |
| `ATTENTION`     | node  | PlanAttention                              | InsertQDQ                                  |
| `ATTENTION_REFUSAL` | node | PlanAttention                         | the report                                 |
| `NOISE`         | value | MeasureRoundingNoise                       | PlanIntegerValues                          |
| `PLACE`         | node  | `number_layers`                            | `noisy_layers`, `layer_places`             |
| `MARGIN`        | value | passes that transform sites                | PlanQuantizers                             |
| `CHANNEL_ORDER` | value | SplitChannels                              | SearchTransforms                           |
| `SITES`         | model | SplitChannels, passes that transform sites | the report                                 |
| `LAYERS`        | model | InsertQDQ                                  | the report                                 |
| `FLOAT32_NODES` | model | ConvertPrecision                           | the report                                 |
| `META`          | value | `collect`; passes that transform or split  | every pass that needs statistics           |
| `FIRST`         | graph | `collect`                                  | SearchTransforms (sensitivity probe)       |
| `DROPPED`       | value | `collect`                                  | SelectLayers, PlanQuantizers               |
| `UNREACHED`     | node  | `collect`                                  | SelectLayers, PlanQuantizers               |
| `QUANTIZER`     | value | PlanQuantizers, Gptq                       | Gptq, InsertQDQ                            |
| `ORIGINAL_NAME` | node  | `forget_names`                             | SelectLayers (`keep`)                      |
| file types      | graph | `to_float32`, or `remember_types`          | ConvertPrecision, RestoreTypes, `batches`  |

`META` and `FIRST` are in `requant.calib.collect`, `DROPPED` and `UNREACHED` in `requant.calib.rows`, `QUANTIZER` in
`requant.ir.quantizer`, `ORIGINAL_NAME` in `requant.ir.names`, file types in `requant.ir.float_types`; the remaining
keys are here.
Passes that transform sites are FoldScalesIntoNorms, MigrateChannelShifts, ReparameterizeScales and SearchTransforms.
A clone of a model has the annotations of its graph, nodes and values, and none of the model's.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..ir.linear import Linear
from ..ir.quantizer import Quantizer
from ..ir.refusal import Refusal
from .records import LayerRecord, PrecisionRecord, SiteRecord

_Content = TypeVar("_Content")
_Owner = TypeVar("_Owner", ir.Node, ir.Value, ir.Model)


@dataclass(frozen=True)
class Annotation(Generic[_Owner, _Content]):
    """A key in the ``meta`` of a node, a value or a model, and the type of what it holds."""

    key: str
    content: type[_Content]

    def get(self, owner: _Owner) -> _Content | None:
        """Return the annotation of ``owner``, or None where it has none."""
        content = owner.meta.get(self.key)
        return content if isinstance(content, self.content) else None

    def set(self, owner: _Owner, content: _Content) -> None:
        """Leave ``content`` on ``owner`` in place of what was there."""
        owner.meta[self.key] = content


KEPT = Annotation[ir.Node, Refusal]("requant.kept", Refusal)
"""The refusal of a linear node that stays in float on every target."""

SKIPPED = Annotation[ir.Node, Refusal]("requant.skipped", Refusal)
"""The refusal of a linear node for which no transform is searched, though another target may quantize it."""

DIRECT = Annotation[ir.Node, bool]("requant.direct", bool)
"""Marks a linear node that reads the integers of the layer before it, with no float op in between."""

DYNAMIC = Annotation[ir.Node, bool]("requant.dynamic", bool)
"""Marks a linear node whose activation gets its scale at run time."""

PLACE = Annotation[ir.Node, int]("requant.place", int)
"""The number of a linear node in the model before it was planned; its clones and its plans have it too."""

ROW_WEIGHTS = Annotation[ir.Node, NDArray[np.float64]]("requant.row_weights", np.ndarray)
"""The weight of each calibration row, [R], in the mean that bias correction restores."""

INTEGER = Annotation[ir.Value, Quantizer]("requant.integer", Quantizer)
"""The quantizer of a value that goes as integers from one kernel to the next."""

FLOAT = Annotation[ir.Node, Refusal]("requant.float", Refusal)
"""The refusal of a Conv that stays in float where kernels write integers, by `PlanIntegerValues`."""

ATTENTION = Annotation[ir.Node, tuple[Quantizer, Quantizer]]("requant.attention", tuple)
"""The quantizers of both operands of a product in attention."""

ATTENTION_REFUSAL = Annotation[ir.Node, Refusal]("requant.attention_refusal", Refusal)
"""The refusal of an attention, on its last product."""

NOISE = Annotation[ir.Value, NDArray[np.float64]]("requant.noise", np.ndarray)
"""The noise in each piece of the outputs, [P], that rounding a value makes."""

MARGIN = Annotation[ir.Value, float]("requant.margin", float)
"""The range margin that the channel transform of a value was chosen with."""

CHANNEL_ORDER = Annotation[ir.Value, NDArray[np.intp]]("requant.channel_order", np.ndarray)
"""The original channel of each channel of a value that was split, [C]."""

SITES = Annotation[ir.Model, tuple[SiteRecord, ...]]("requant.sites", tuple)
LAYERS = Annotation[ir.Model, tuple[LayerRecord, ...]]("requant.layers", tuple)
FLOAT32_NODES = Annotation[ir.Model, tuple[PrecisionRecord, ...]]("requant.float32_nodes", tuple)


def is_kept(linear: Linear) -> bool:
    """Tell whether the layer stays in float on every target."""
    return KEPT.get(linear.node) is not None


def is_quantized(linear: Linear) -> bool:
    """Tell whether the search for transforms takes the layer for a quantized one."""
    return not is_kept(linear) and SKIPPED.get(linear.node) is None


def is_direct(linear: Linear) -> bool:
    """Tell whether a node between the layer and the one before it would keep both from being in int8."""
    return DIRECT.get(linear.node) is not None


def site_records(model: ir.Model) -> tuple[SiteRecord, ...]:
    """Return the records of the sites of ``model``, in the order of the passes."""
    return SITES.get(model) or ()


def layer_records(model: ir.Model) -> tuple[LayerRecord, ...]:
    """Return the records of the linear layers of ``model``, in graph order."""
    return LAYERS.get(model) or ()


def precision_records(model: ir.Model) -> tuple[PrecisionRecord, ...]:
    """Return the records of the nodes that `ConvertPrecision` left in float32, in graph order."""
    return FLOAT32_NODES.get(model) or ()
