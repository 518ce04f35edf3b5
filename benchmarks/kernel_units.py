"""What the chains of `benchmarks.kernels` repeat, and the kernels of ONNX Runtime that each has to become."""

from dataclasses import dataclass
from functools import partial

import numpy as np

from .kernel_amounts import Kernel, dense, depthwise, elementwise, per_channel, pool
from .kernel_chains import ANY, GATE, Build, Chain


@dataclass(frozen=True)
class Unit:
    """What a chain repeats, and the kernels that each repetition becomes: no more and no less."""

    name: str
    build: Build
    kernels: tuple[Kernel, ...]
    quantized: bool


def unary(chain: Chain, x: str, op: str) -> str:
    """Append an op of one operand."""
    return chain.apply(op, x, grid=GATE if op == "Sigmoid" else ANY)


def silu(chain: Chain, x: str) -> str:
    """Append x · σ(x)."""
    return chain.apply("Mul", x, chain.apply("Sigmoid", x, grid=GATE))


def saturated_sum(chain: Chain, x: str) -> str:
    """Append HardSwish, x · sat(x/6 + 1/2), with an Add of codes whose range is that of the second factor."""
    sixth, half = chain.read(x, (ANY[0] / 6, ANY[1])), chain.read(chain.constant(255, (0.5 / 255, 0)))
    return chain.apply("Mul", x, chain.write(chain.op("Add", sixth, half), (1 / 255, 0)))


def saturated_table(chain: Chain, x: str) -> str:
    """Append HardSwish with the table of a LeakyRelu that moves the codes of x to the grid of its second factor."""
    codes = chain.apply("LeakyRelu", x, grid=(6 / 256, 128), alpha=1.0)
    return chain.write(chain.op("Mul", chain.read(x), chain.read(codes, GATE)))


def joined(chain: Chain, x: str, other: str) -> str:
    """Append a Concat and a Slice of half of it."""
    both, channels = chain.apply("Concat", x, other, axis=1), chain.shape.channels
    ends = chain.ints(channels // 2), chain.ints(channels * 3 // 2), chain.ints(1)
    return chain.write(chain.op("Slice", chain.read(both), *ends))


def pooled(chain: Chain, x: str, op: str, size: int, stride: int = 1) -> str:
    """Append a pool over windows of a size."""
    pads = [size // 2] * 4 if stride == 1 else [0] * 4
    return chain.apply(op, x, kernel_shape=[size] * 2, strides=[stride] * 2, pads=pads)


def upsampled(chain: Chain, x: str) -> str:
    """Append a Conv, a nearest Resize to twice the size, and a pool back."""
    scales = chain.weight(np.array([1, 1, 2, 2], np.float32))
    large = chain.apply(
        "Resize",
        *(chain.convolution(x), "", scales),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    return pooled(chain, large, "MaxPool", 2, 2)


def float_conv_between(chain: Chain, x: str) -> str:
    """Append an int8 Conv, then a float one with SiLU."""
    y = chain.float_conv(chain.read(chain.convolution(x)))
    return chain.write(chain.op("Mul", y, chain.op("Sigmoid", y)))


CONV, CONV_INT8 = dense("Conv 1x1", "nchwc.Conv", 1), dense("QLinearConv 1x1", "QLinearConv", 1)
SILU, SIGMOID = elementwise("QuickGelu", "QuickGelu"), elementwise("Sigmoid", "Sigmoid")
ADD, MUL, NEG = (elementwise(op, op) for op in ("Add", "Mul", "Neg"))
GATING, GATING_INT8 = per_channel("Mul by gate", "Mul"), per_channel("QLinearMul by gate", "QLinearMul")
SIGMOID_INT8, ADD_INT8, MUL_INT8 = (elementwise(op, op) for op in ("QLinearSigmoid", "QLinearAdd", "QLinearMul"))
LEAKY_INT8 = elementwise("QLinearLeakyRelu", "QLinearLeakyRelu")
ADD_SCALAR = elementwise("QLinearAdd of a scalar", "QLinearAdd")
QUANTIZE, DEQUANTIZE = elementwise("Q", "QuantizeLinear"), elementwise("DQ", "DequantizeLinear")
REORDER = elementwise("ReorderInput and -Output", "nchwc.ReorderInput", "nchwc.ReorderOutput")
TRANSPOSE = elementwise("Transpose, uint8", "Transpose")
AVERAGE = elementwise("GlobalAveragePool", "GlobalAveragePool")
AVERAGE_INT8 = per_channel("QLinearGlobalAveragePool", "QLinearGlobalAveragePool")
DEPTHWISE, DEPTHWISE_INT8 = (
    [depthwise(name, op, size) for size in (3, 5)]
    for name, op in (("depthwise", "nchwc.Conv"), ("QLinearConv depthwise", "QLinearConv"))
)
FLOAT_BETWEEN = (CONV_INT8, TRANSPOSE, DEQUANTIZE, REORDER, CONV, SILU, QUANTIZE, TRANSPOSE)

Row = tuple[str, Build, tuple[Kernel, ...]]

FLOAT: tuple[Row, ...] = (
    ("Conv 1x1", Chain.convolution, (CONV,)),
    ("Conv 3x3", partial(Chain.convolution, size=3), (dense("Conv 3x3", "nchwc.Conv", 3),)),
    ("depthwise 3x3", partial(Chain.convolution, size=3, depthwise=True), (DEPTHWISE[0],)),
    ("depthwise 5x5", partial(Chain.convolution, size=5, depthwise=True), (DEPTHWISE[1],)),
    ("SiLU", silu, (SILU,)),
    ("HardSwish", partial(unary, op="HardSwish"), (elementwise("HardSigmoid", "HardSigmoid"), MUL)),
    ("HardSigmoid", partial(unary, op="HardSigmoid"), (elementwise("HardSigmoid", "HardSigmoid"),)),
    ("Sigmoid", partial(unary, op="Sigmoid"), (SIGMOID,)),
    ("Neg", partial(unary, op="Neg"), (NEG,)),
    ("Add", lambda chain, x: chain.apply("Add", x, chain.start), (ADD,)),
    ("Mul", lambda chain, x: chain.apply("Mul", x, chain.share), (MUL,)),
    ("gate", lambda chain, x: chain.apply("Mul", x, chain.gate), (GATING,)),
    (
        "gate behind Conv",
        lambda chain, x: chain.apply("Mul", chain.convolution(x), chain.gate),
        (CONV, REORDER, GATING),
    ),
    (
        "squeeze and gate",
        lambda chain, x: chain.apply("Mul", chain.share, chain.apply("GlobalAveragePool", x)),
        (AVERAGE, GATING),
    ),
    (
        "Concat and Slice",
        lambda chain, x: joined(chain, x, chain.start),
        (elementwise("Concat and Slice", "Concat", "Slice", elements=3),),
    ),
    *(
        (f"MaxPool {k}x{k}", partial(pooled, op="MaxPool", size=k), (pool("MaxPool", "nchwc.MaxPool", k),))
        for k in (3, 5)
    ),
    (
        "AveragePool 3x3",
        partial(pooled, op="AveragePool", size=3),
        (elementwise("AveragePool 3x3", "nchwc.AveragePool"),),
    ),
    (
        "Resize",
        upsampled,
        (CONV, elementwise("Upsample", "nchwc.Upsample", elements=4), pool("MaxPool", "nchwc.MaxPool", 2)),
    ),
)

INT8: tuple[Row, ...] = (
    ("Conv 1x1", Chain.convolution, (CONV_INT8,)),
    ("Conv 3x3", partial(Chain.convolution, size=3), (dense("QLinearConv 3x3", "QLinearConv", 3),)),
    ("depthwise 3x3", partial(Chain.convolution, size=3, depthwise=True), (DEPTHWISE_INT8[0],)),
    ("depthwise 5x5", partial(Chain.convolution, size=5, depthwise=True), (DEPTHWISE_INT8[1],)),
    ("SiLU", silu, (SIGMOID_INT8, MUL_INT8)),
    ("HardSwish by Add", saturated_sum, (ADD_SCALAR, MUL_INT8)),
    ("HardSwish by table", saturated_table, (LEAKY_INT8, MUL_INT8)),
    ("Sigmoid", partial(unary, op="Sigmoid"), (SIGMOID_INT8,)),
    ("Add", lambda chain, x: chain.apply("Add", x, chain.start), (ADD_INT8,)),
    ("Mul", lambda chain, x: chain.apply("Mul", x, chain.share), (MUL_INT8,)),
    ("gate", lambda chain, x: chain.apply("Mul", x, chain.gate), (GATING_INT8,)),
    (
        "squeeze and gate",
        lambda chain, x: chain.apply("Mul", chain.share, chain.apply("GlobalAveragePool", x)),
        (AVERAGE_INT8, GATING_INT8),
    ),
    (
        "Concat and Slice, one grid",
        lambda chain, x: joined(chain, x, chain.start),
        (elementwise("QLinearConcat and Slice, one grid", "QLinearConcat", "Slice", elements=3),),
    ),
    (
        "Concat and Slice, two grids",
        lambda chain, x: joined(chain, x, chain.share),
        (elementwise("QLinearConcat and Slice, two grids", "QLinearConcat", "Slice", elements=3),),
    ),
    *(
        (f"MaxPool {k}x{k}", partial(pooled, op="MaxPool", size=k), (pool("NhwcMaxPool", "NhwcMaxPool", k),))
        for k in (3, 5)
    ),
    (
        "AveragePool 3x3",
        partial(pooled, op="AveragePool", size=3),
        (elementwise("QLinearAveragePool 3x3", "QLinearAveragePool"),),
    ),
    (
        "Resize",
        upsampled,
        (CONV_INT8, elementwise("Resize, uint8", "Resize", elements=4), pool("NhwcMaxPool", "NhwcMaxPool", 2)),
    ),
    ("DQ, Neg, Q", lambda chain, x: chain.write(chain.op("Neg", chain.read(x))), (DEQUANTIZE, NEG, QUANTIZE)),
    (
        "two DQ, Sigmoid, Mul, Q",
        lambda chain, x: chain.write(chain.op("Mul", chain.read(x), chain.op("Sigmoid", chain.read(x)))),
        (DEQUANTIZE, DEQUANTIZE, SIGMOID, MUL, QUANTIZE),
    ),
    ("int8 Conv, float Conv with SiLU", float_conv_between, FLOAT_BETWEEN),
)

UNITS = (
    *(Unit(f"{name}, float", build, kernels, quantized=False) for name, build, kernels in FLOAT),
    *(Unit(f"{name}, int8", build, kernels, quantized=True) for name, build, kernels in INT8),
)
