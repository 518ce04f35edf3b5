"""What standard operators do, as sets of their names: the alphabet from which passes and rules say what they take.

An op belongs to each set whose sentence holds for it. A literal list of ops elsewhere has a comment that says why no
expression over these sets is right there.
"""

import onnx_ir as ir

LAYOUT = frozenset(
    {"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze", "DepthToSpace", "SpaceToDepth"}
)
"""Every element of the input is in the output once."""

GATHERS = frozenset({"Gather", "GatherElements", "GatherND"})
"""Elements of the first input are picked by indices."""

SELECTION = GATHERS | {"Slice", "Split"}
"""Elements of the first input are picked, and none is changed."""

REPETITION = frozenset({"Expand", "Tile"})
"""Elements of the first input are repeated, and none is changed."""

JOINING = frozenset({"Concat"})
"""Elements of all inputs are put beside each other, and none is changed."""

MOVEMENT = LAYOUT | SELECTION | REPETITION | JOINING
"""The output has no other elements than the inputs."""

IDENTITIES = frozenset({"Dropout", "Identity"})
"""The output is the first input, at inference."""

SIZES = frozenset({"Shape", "Size"})
"""Elements are not looked at."""

SIGN_FREE = frozenset({"Abs", "LeakyRelu", "Neg", "PRelu", "Relu"})
"""Unary, and commutes with a positive scale: f(a x) = a f(x)."""

CLIPPING = frozenset({"Clip", "Relu"})
"""Elements are the same within bounds, and the bounds beyond."""

ACTIVATIONS = CLIPPING | {
    *("Celu", "Elu", "Erf", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "PRelu", "Selu"),
    *("Sigmoid", "Softplus", "Softsign", "Swish", "Tanh", "ThresholdedRelu"),
}
"""One element in, one out, as between the layers of a network."""

MATH = frozenset({"Abs", "Ceil", "Cos", "Exp", "Floor", "Log", "Neg", "Reciprocal", "Round", "Sign", "Sin", "Sqrt"})
"""One element in, one out, as in formulas that are written out."""

ADDITIVE = frozenset({"Add", "Sub"})
MULTIPLICATIVE = frozenset({"Div", "Mul"})
EXTREMA = frozenset({"Max", "Min"})
ARITHMETIC = ADDITIVE | MULTIPLICATIVE
"""Two elements in, one out, with broadcasting."""

COMPARISONS = frozenset({"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"})

CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
PRODUCTS = frozenset({"Gemm", "MatMul"})
LINEAR = CONVOLUTIONS | PRODUCTS
"""Products with a weight, where that is constant."""

RECURRENT = frozenset({"GRU", "LSTM", "RNN"})

MAX_POOLING = frozenset({"GlobalMaxPool", "MaxPool"})
MEAN_POOLING = frozenset({"AveragePool", "GlobalAveragePool"})
POOLING = MAX_POOLING | MEAN_POOLING

SUMS = frozenset({"ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSum", "ReduceSumSquare"})
EXTREME_REDUCTIONS = frozenset({"ReduceMax", "ReduceMin"})
REDUCTIONS = SUMS | EXTREME_REDUCTIONS | {"ReduceMean", "ReduceProd"}

COMMUTING = (LAYOUT - {"Identity"}) | {"Slice", "Split"} | JOINING | MAX_POOLING
"""Commutes with quantization, Q(f(x)) = f(Q(x)), and engines have kernels for integers."""

RESAMPLING = frozenset({"Resize", "Upsample"})

ATTENTION = frozenset({"Attention", "MultiHeadAttention"})
"""Softmax(Q Kᵀ) V as one node."""

SOFTMAXES = frozenset({"LogSoftmax", "Softmax"})

LAYER_NORMS = frozenset({"LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"})

QUANTIZERS = frozenset({"DequantizeLinear", "QuantizeLinear"})
INTEGER_PRODUCTS = frozenset({"ConvInteger", "MatMulInteger"})


def is_op(node: ir.Node, op_types: frozenset[str]) -> bool:
    """Tell whether ``node`` is a standard op of one of the ``op_types``."""
    return node.domain == "" and node.op_type in op_types
