"""Plan quantizers for the products of attention, whose operands are both computed: softmax(Q Kᵀ) V.

    fp8     Q, K, V: the calibrated range, as any activation            softmax: s = 1/448
    int8    the same                                                    softmax: s = r / 127, r of least ‖(P̂ - P) V‖

An engine makes one kernel of an attention if all four operands are quantized, or none. In int8 a step of 1/127 is more
than most probabilities: the range of the softmax is cut where that errs least, which still costs a ViT-S many decibels.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import onnx_ir as ir

from ..calib.operand_ranges import operand_ranges, probability_ranges
from ..calib.ranges import Interval
from ..ir.attention import AttentionBlock, find_attentions
from ..ir.formats import FP8, Format
from ..ir.linear import find_linears
from ..ir.ops import QUANTIZERS
from ..ir.quantizer import E4M3_LARGEST, Quantizer, quantizer
from ..ir.refusal import Refusal
from ..runtime.feeds import Feed
from ..runtime.targets import Target, target
from .annotations import ATTENTION, ATTENTION_REFUSAL
from .scales import activation_quantizer

_MOST_FEEDS = 4
"""The most feeds that the range of a softmax is chosen on."""


@dataclass(frozen=True)
class PlanAttention(ir.passes.InPlacePass):
    """A pass that gives quantizers to the operands of each attention that ``target`` runs as one kernel in the format.

    Costs a pass over ``feeds``, and in int8 one over the first of them. Writes the annotations `ATTENTION` and
    `ATTENTION_REFUSAL`; reads `QUANTIZER`.

    Attributes:
        feeds: the calibration data.
        format: `FP8` or `INT8`.
        target: the engine, a key of `requant.runtime.TARGETS` or a row like those.
        body: the type that what is not quantized computes in.
    """

    feeds: Iterable[Feed]
    format: Format = FP8
    target: str | Target = "tensorrt-rtx"
    body: ir.DataType = ir.DataType.FLOAT16

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        engine, planned = target(self.target), list[AttentionBlock]()
        plans = (quantizer(linear.data) for linear in find_linears(model.graph))
        around = {self.body, *(plan.dtype for plan in plans if plan is not None)}
        for block in find_attentions(model.graph):
            refusal = _refusal(block, engine, self.format, around)
            if refusal is None:
                planned.append(block)
            else:
                ATTENTION_REFUSAL.set(block.mixture, refusal)
        ranges = self._ranges(model, planned)
        for block in planned:
            if all(value in ranges for value in block.operands):
                q, k, p, v = (self._quantizer(value, ranges) for value in block.operands)
                probabilities = p if self.format != FP8 else _probabilities()
                ATTENTION.set(block.scores, (q, k))
                ATTENTION.set(block.mixture, (probabilities, v))
            else:
                ATTENTION_REFUSAL.set(block.mixture, Refusal.at(block.mixture, "its operands are not calibrated"))
        return ir.passes.PassResult(model, bool(planned))

    def _ranges(self, model: ir.Model, blocks: Sequence[AttentionBlock]) -> dict[ir.Value, Interval]:
        if not blocks:
            return {}
        values = list(dict.fromkeys(value for block in blocks for value in block.operands))
        ranges = operand_ranges(model, values, self.feeds)
        if self.format != FP8:
            mixtures = [(block.operands[2], block.operands[3]) for block in blocks]
            ranges |= probability_ranges(model, mixtures, islice(self.feeds, _MOST_FEEDS))
        return ranges

    def _quantizer(self, value: ir.Value, ranges: dict[ir.Value, Interval]) -> Quantizer:
        return activation_quantizer(ranges[value], self.format)


def _refusal(
    block: AttentionBlock, engine: Target, layer_format: Format, around: Collection[ir.DataType]
) -> Refusal | None:
    if any(quantizer(value) is not None for value in block.operands):
        return Refusal.at(block.mixture, "a linear layer reads one of its operands")
    producers = (value.producer() for value in block.operands)
    if any(node is not None and node.op_type in QUANTIZERS for node in producers):
        return Refusal.at(block.mixture, "it is quantized already")
    return engine.excludes_attention(block, layer_format, around)


def _probabilities() -> Quantizer:
    """Return the quantizer of numbers up to 1 to fp8."""
    return Quantizer(np.asarray(1 / E4M3_LARGEST, np.float32), dtype=ir.DataType.FLOAT8E4M3FN, interval=(0.0, 1.0))


def forget_attention(model: ir.Model) -> None:
    """Leave the attentions of ``model`` in float, as if it were not planned."""
    for block in find_attentions(model.graph):
        for node in (block.scores, block.mixture):
            node.meta.pop(ATTENTION.key, None)
            node.meta.pop(ATTENTION_REFUSAL.key, None)
