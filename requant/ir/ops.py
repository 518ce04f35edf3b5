"""Traits of standard operators, as sets of their names, from which passes and rules build the sets that they take.

An op belongs to each set whose sentence holds for it. A literal list of ops elsewhere has a comment that says why no
expression over these sets is right there.
"""

import onnx_ir as ir

UNIT_AXES = frozenset({"Squeeze", "Unsqueeze"})
"""Axes of size 1 come or go."""

RESHAPING = UNIT_AXES | {"Flatten", "Reshape"}
"""The output has the elements of the input in the same order, in another shape."""

BLOCKING = frozenset({"DepthToSpace", "SpaceToDepth"})
"""Blocks of pixels become channels, or channels become blocks of pixels."""

LAYOUT = RESHAPING | BLOCKING | {"Identity", "Transpose"}
"""Every element of the input is in the output once."""

POINT_GATHERS = frozenset({"GatherElements", "GatherND"})
"""Elements of the first input are picked one by one, from anywhere."""

SCATTERS = frozenset({"ScatterElements", "ScatterND"})
"""Elements of the first input are replaced one by one, anywhere."""

SLICING = frozenset({"Slice", "Split"})
"""Ranges of the first input are picked along an axis."""

SELECTION = POINT_GATHERS | SLICING | {"Gather"}
"""Elements of the first input are picked, and none is changed."""

REPETITION = frozenset({"Expand", "Tile"})
"""Elements of the first input are repeated, and none is changed."""

JOINING = frozenset({"Concat"})
"""Elements of all inputs are put beside each other, and none is changed."""

SHAPED = frozenset({"Expand", "Reshape"})
"""The second input is the shape of the output."""

MOVEMENT = LAYOUT | SELECTION | REPETITION | JOINING
"""The output has no other elements than the inputs."""

FRAMING = frozenset({"Pad", "Slice"})
"""The output is the first input with its borders moved."""

MASKING = frozenset({"Trilu", "Where"})
"""Elements are the same where a condition or their place says so, and replaced elsewhere."""

GENERATORS = frozenset({"Constant", "ConstantOfShape", "Range"})
"""Elements are made of attributes, a shape or bounds."""

RANDOM = frozenset(
    {"Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
"""Elements are drawn at random, those of Dropout in training."""

IDENTITIES = frozenset({"Dropout", "Identity"})
"""The output is the first input, at inference."""

SIZES = frozenset({"Shape", "Size"})
"""Elements are not looked at."""

CONVERSIONS = frozenset({"Cast", "Identity"})
"""The output is the input, possibly in another type."""

SIGN_CHANGES = frozenset({"Abs", "Neg"})
"""The magnitude is the same, and the sign may be another."""

RECTIFIERS = frozenset({"LeakyRelu", "PRelu", "Relu"})
"""Elements above 0 are the same, and those below are scaled."""

SIGN_FREE = SIGN_CHANGES | RECTIFIERS
"""Unary, and commutes with a positive scale: f(a x) = a f(x)."""

CLIPPING = frozenset({"Clip", "Relu"})
"""Elements are the same within bounds, and the bounds beyond."""

LOWER_BOUNDS = frozenset({"Max", "Relu"})
"""Elements below a bound are raised to it, and the others are the same."""

SIGMOIDS = frozenset({"HardSigmoid", "Sigmoid"})
"""One element in, one out, between 0 and 1."""

S_CURVES = frozenset({"Erf", "Sigmoid", "Tanh"})
"""One element in, one out, along a smooth step made of exponentials."""

RARE_ACTIVATIONS = frozenset({"Celu", "Mish", "Selu", "Softsign", "Swish", "ThresholdedRelu"})
"""Activations that exporters seldom write as one node."""

ACTIVATIONS = CLIPPING | RECTIFIERS | SIGMOIDS | S_CURVES | RARE_ACTIVATIONS | {"Elu", "Gelu", "HardSwish", "Softplus"}
"""One element in, one out, as between the layers of a network."""

GELUS = frozenset({"BiasGelu", "FastGelu", "Gelu", "QuickGelu"})
"""x Φ(x) or close to it, in any domain."""

ROUNDING = frozenset({"Ceil", "Floor", "Round", "Sign"})
"""One element in, one whole number out."""

TRIGONOMETRIC = frozenset({"Cos", "Sin"})
"""Periodic: the argument needs all its digits, also where it is large."""

EXPONENTIALS = frozenset({"Exp", "Log"})
"""An exponential, or its inverse."""

POWERS = frozenset({"Pow", "Reciprocal", "Sqrt"})
"""Elements are raised to a power."""

MATH = ROUNDING | TRIGONOMETRIC | EXPONENTIALS | SIGN_CHANGES | (POWERS - {"Pow"})
"""One element in, one out, as in formulas that are written out."""

ADDITIVE = frozenset({"Add", "Sub"})
MULTIPLICATIVE = frozenset({"Div", "Mul"})
ARITHMETIC = ADDITIVE | MULTIPLICATIVE
"""Two elements in, one out, with broadcasting."""

COMMUTATIVE = frozenset({"Add", "Mul"})
"""Arithmetic whose inputs may be exchanged."""

DIVISIONS = frozenset({"Div", "Reciprocal"})
"""The last input divides."""

SQUARES = frozenset({"Mul", "Pow"})
"""The output is a square, for some second inputs."""

EXTREMA = frozenset({"Max", "Min"})
VARIADIC = EXTREMA | {"Mean", "Sum"}
"""An element of each of any number of inputs in, one out, with broadcasting."""

COMPARISONS = frozenset({"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"})

CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
PRODUCTS = frozenset({"Gemm", "MatMul"})
LINEAR = CONVOLUTIONS | PRODUCTS
"""Products with a weight, where that is constant."""

BIASED = CONVOLUTIONS | {"Gemm"}
"""Products that add a bias themselves."""

LOGICAL = frozenset({"And", "Not", "Or", "Xor"})

RECURRENT = frozenset({"GRU", "LSTM", "RNN"})

CONTROL_FLOW = frozenset({"If", "Loop", "Scan"})
"""Nodes have bodies, which may read values from outside."""

GLOBAL_POOLING = frozenset({"GlobalAveragePool", "GlobalMaxPool"})
MAX_POOLING = frozenset({"GlobalMaxPool", "MaxPool"})
MEAN_POOLING = frozenset({"AveragePool", "GlobalAveragePool"})
POOLING = MAX_POOLING | MEAN_POOLING

SQUARE_SUMS = frozenset({"ReduceL2", "ReduceSumSquare"})
"""Squares are added up along axes."""

LINEAR_REDUCTIONS = frozenset({"ReduceMean", "ReduceSum"})
"""The output is linear in the input, with one weight for all elements."""

SUMS = SQUARE_SUMS | {"ReduceL1", "ReduceLogSum", "ReduceLogSumExp", "ReduceSum"}
EXTREME_REDUCTIONS = frozenset({"ReduceMax", "ReduceMin"})
REDUCTIONS = SUMS | LINEAR_REDUCTIONS | EXTREME_REDUCTIONS | {"ReduceProd"}

LP_NORMS = frozenset({"GlobalLpPool", "LpNormalization", "LpPool"})
"""‖x‖ₚ is computed, for any p."""

COMMUTING = (LAYOUT - {"Identity"}) | SLICING | JOINING | MAX_POOLING
"""Commutes with quantization, Q(f(x)) = f(Q(x)), and engines have kernels for integers."""

RESAMPLING = frozenset({"Resize", "Upsample"})

AVERAGING = MEAN_POOLING | RESAMPLING | {"ReduceMean"}
"""Elements of the output are weighted means of elements of the input."""

ATTENTION = frozenset({"Attention", "MultiHeadAttention"})
"""Softmax(Q Kᵀ) V as one node."""

SOFTMAXES = frozenset({"LogSoftmax", "Softmax"})

LAYER_NORMS = frozenset({"LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"})

CENTRED_NORMS = frozenset({"BatchNormalization", "GroupNormalization", "InstanceNormalization", "LayerNormalization"})
"""γ (x - μ) / σ + β."""

QUANTIZERS = frozenset({"DequantizeLinear", "QuantizeLinear"})
DYNAMIC_QUANTIZERS = frozenset({"DynamicQuantizeLinear"})
INTEGER_PRODUCTS = frozenset({"ConvInteger", "MatMulInteger"})
QLINEAR_PRODUCTS = frozenset({"QLinearConv", "QLinearMatMul"})
"""Products of integers, requantized to integers."""


def is_op(node: ir.Node, op_types: frozenset[str]) -> bool:
    """Tell whether ``node`` is a standard op of one of the ``op_types``."""
    return node.domain == "" and node.op_type in op_types
