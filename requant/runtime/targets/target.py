"""A target: an engine's row of facts for the lowering, its rules for the checker, and its safe fixes."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import onnx_ir as ir

from ...ir.attention import AttentionBlock
from ...ir.formats import ActivationType, Format
from ...ir.linear import FEWEST_CHANNELS, Linear
from ...ir.ops import CONVOLUTIONS
from ...ir.refusal import Refusal
from ..feeds import Runner
from ..fixes.safe_fix import FixTable
from ..ort.provider import Provider
from ..prices import LEAST_REGION_GAIN, Prices
from ..rules.rule import Rule

INT8, FP8, INT4, UINT4 = (
    ir.DataType.INT8,
    ir.DataType.FLOAT8E4M3FN,
    ir.DataType.INT4,
    ir.DataType.UINT4,
)


class AttentionKernel(NamedTuple):
    """A kernel that is a whole attention of quantized operands: the sizes that it takes.

    Attributes:
        head_sizes: the channels of a head.
        keys: the numbers of keys; a dynamic one is taken to be among them.
        half: whether what is around it has to be in half precision.
        never_beside: the types of layers beside which it is no kernel.
    """

    head_sizes: Collection[int]
    keys: range
    half: bool = False
    never_beside: frozenset[ir.DataType] = frozenset()


@dataclass(frozen=True)
class Target:
    """An engine that runs quantized graphs.

    Attributes:
        name: the name that users give.
        activations: by the type in which a plan quantizes activations, the type that the engine takes them in; plans
            of other types have no kernel.
        ops: the linear ops that have an integer kernel when their inputs are quantized and their output is not.
        weight_only: types of weights that it multiplies float data by.
        dynamic: whether it has products whose data are quantized at run time.
        reasons: for messages, why a layer stays in float: by other ops; under "static", by calibrated scales; under
            "grouped", by several groups.
        fewest_channels: the smallest K and N that pay, but for ops that write integers: there it pays to have no
            float layer between; and for products of integers that have ``prices``.
        integer_products: whether products are written as operators on integers and not behind DequantizeLinear (see
            `requant.passes.lowering.integer_product`).
        grouped: whether a Conv with several groups has an integer kernel that pays.
        integer_residuals: whether a Conv adds an int8 residual in its integer kernel.
        loudest_residual: the most noise that such a residual may bring, over that of rounding the Conv's own data: a
            real ResNet's bring 0.5 to 12.
        integer_outputs: the ops among `ops` whose integer kernel rounds its output to integers.
        prices: what kernels take, where that decides which of them run on integers; with ``integer_outputs`` it does.
        common_scale: whether products are written in half precision only where their weight has one scale (see
            `requant.passes.lowering.common_scale`).
        attention: its kernels for attention whose operands are all quantized, by their type.
        shared_bias: whether an integer Conv with several consumers needs a bias.
        one_sided: the ops among `ops` whose integer kernel takes data without negative values alone.
        recurrent: the recurrent ops that have an integer kernel whose data are quantized at run time.
        weight_bits: width of int8 weights; 7 where the kernel would saturate.
        zero_points: whether activations may have any zero point.
        asymmetric: whether they have one of their own unasked, since it costs the engine nothing.
        half_precision: whether it computes in half precision; if not, models in half precision get float32 inside.
        body: the type in which layers that are not quantized compute if nothing else is asked for.
        half_products: whether integer products may give float16: a Conv that writes integers, on the CPU, may not.
        highest_opset, highest_ir: the newest that it reads with Q/DQ.
        onnx_versions: the same by the engine's version, where older versions read less.
        engine: the name of the software, which has versions; several targets may share it.
        distributions: the Python packages that bring it, of which one is installed.
        rules: what it refuses, runs in float or runs slowly.
        fixes: what can be done about that without data and decisions.
        provider: how ONNX Runtime runs it, if it does.
        runner: how it runs models itself, if ONNX Runtime does not.
    """

    name: str
    activations: Mapping[ir.DataType, ActivationType]
    ops: frozenset[str]
    weight_only: frozenset[ir.DataType] = frozenset()
    dynamic: bool = False
    reasons: Mapping[str, str] = field(default_factory=dict)
    fewest_channels: int = FEWEST_CHANNELS
    integer_products: bool = False
    grouped: bool = True
    integer_residuals: bool = False
    loudest_residual: float = 10.0
    integer_outputs: frozenset[str] = frozenset()
    prices: Prices | None = None
    common_scale: bool = False
    attention: Mapping[ir.DataType, AttentionKernel] = field(default_factory=dict)
    shared_bias: bool = False
    one_sided: frozenset[str] = frozenset()
    recurrent: frozenset[str] = frozenset()
    weight_bits: int = 8
    zero_points: bool = False
    asymmetric: bool = False
    half_precision: bool = True
    body: ir.DataType = ir.DataType.FLOAT
    half_products: bool = True
    highest_opset: int = 27
    highest_ir: int = 14
    onnx_versions: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    engine: str = "onnxruntime"
    distributions: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    fixes: FixTable = field(default_factory=dict)
    provider: Provider | None = None
    runner: Runner | None = None

    @property
    def takes_whole_graph(self) -> bool:
        """True where ONNX Runtime hands the graph to the engine as it is written, without optimizations of its own."""
        return self.provider is not None and self.provider.level == "ORT_DISABLE_ALL"

    def excludes(self, linear: Linear, layer_format: Format) -> Refusal | None:
        """Refuse ``linear`` where this engine should not run it in the format ``layer_format``."""
        reason = next(self._exclusions(linear, layer_format), None)
        return None if reason is None else Refusal.at(linear.node, reason)

    def _exclusions(self, linear: Linear, layer_format: Format) -> Iterator[str]:
        op_type, channels = linear.node.op_type, min(linear.inputs, linear.outputs)
        if reason := self.lacks(layer_format):
            yield reason
        if op_type not in self.ops:
            yield self.reasons.get(op_type, f"{self.name} has no integer {op_type}")
        elif linear.groups > 1 and not self.grouped:
            yield self.reasons["grouped"]
        elif layer_format.activations is None and op_type in CONVOLUTIONS:
            yield f"{self.name} has no {op_type} of float data by a quantized weight"
        elif layer_format.activations is None and linear.batched:
            yield f"{self.name} has no product of float data by a batch of quantized matrices"
        elif layer_format.dynamic and op_type in CONVOLUTIONS:
            yield f"{self.name} has no {op_type} whose data are quantized at run time"
        elif layer_format.bits < 8 and op_type in self.integer_outputs:
            yield f"an integer {op_type} writes 8 bits, but it is planned with {layer_format.bits}"
        aligned = op_type in CONVOLUTIONS and channels % 8 == 0
        if self.prices is not None and op_type not in CONVOLUTIONS and layer_format.activations is not None:
            gain = self.prices.product_gain(linear.inputs, linear.outputs, dynamic=layer_format.dynamic)
            if gain < LEAST_REGION_GAIN:
                yield (
                    f"int8 is estimated to run {linear.inputs} to {linear.outputs} channels {gain:.2f} times as fast "
                    f"as float, less than {LEAST_REGION_GAIN} times"
                )
        elif not (channels >= self.fewest_channels or op_type in self.integer_outputs or aligned):
            yield f"{linear.inputs} to {linear.outputs} channels are too few for an integer kernel to pay"

    def excludes_attention(
        self, block: AttentionBlock, layer_format: Format, around: Collection[ir.DataType] = ()
    ) -> Refusal | None:
        """Refuse an attention that no kernel is for in ``layer_format``, with layers of the types ``around`` it."""
        kernel = self.attention.get(layer_format.activations or ir.DataType.UNDEFINED)
        reason = f"{self.name} has no attention of operands in {layer_format.activations}"
        if kernel is not None:
            reason = _unfit(kernel, block, around)
        return Refusal.at(block.mixture, reason) if reason else None

    def lacks(self, layer_format: Format) -> str | None:
        """Return which kernel the engine lacks for the format ``layer_format``, whatever the layer; None if none."""
        if layer_format.activations is None:
            if layer_format.weights in self.weight_only:
                return None
            return f"{self.name} has no product of float activations by {layer_format.weights.name.lower()} weights"
        if layer_format.dynamic:
            return None if self.dynamic else f"{self.name} has no product whose data are quantized at run time"
        if layer_format.activations in self.activations:
            return None
        return self.reasons.get("static", f"{self.name} has no {layer_format.activations.name.lower()} products")


def _unfit(kernel: AttentionKernel, block: AttentionBlock, around: Collection[ir.DataType]) -> str:
    """Give the reason why ``kernel`` is not for ``block``; nothing where it is."""
    if kernel.half and ir.DataType.FLOAT in around:
        return "it is one kernel only beside layers in half precision"
    if others := kernel.never_beside.intersection(around):
        return f"it is no kernel beside layers in {', '.join(sorted(map(str, others)))}"
    if block.head_size not in kernel.head_sizes:
        return f"heads of {block.head_size or 'unknown'} channels do not become one kernel"
    if block.queries == 1:
        return "a single query has no product to be faster"
    if block.keys is not None and block.keys not in kernel.keys:
        return f"{block.keys} keys do not become one kernel, but {kernel.keys[0]} to {kernel.keys[-1]} do"
    return ""
