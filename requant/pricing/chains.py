"""Chains: models in which a few nodes follow each other again and again, in float and as the target's integers.

A chain begins with a Conv, so that what follows runs in the layout of Convs.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from math import prod

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import ShapeInferencePass

from ..calib.activations import ACTIVATION, Activation
from ..ir.formats import INT8, INT8_DYNAMIC
from ..ir.kernels import find_kernels
from ..ir.linear import find_linears
from ..ir.load import load
from ..ir.quantizer import QUANTIZER, Quantizer
from ..passes.annotations import DYNAMIC, INTEGER
from ..passes.insert_qdq import InsertQDQ
from ..passes.regions.prices import amounts, name, size
from ..passes.scales import weight_quantizer
from ..runtime.prices import BORDER, DYNAMIC_PRODUCT, PRODUCT, Amounts
from ..runtime.targets import Target
from .units import FLOAT, WEIGHTS, Shape, Unit

_HEADER = '<ir_version: 8, opset_import: ["": 17]>'

_SYMMETRIC = Quantizer(np.asarray(0.05, np.float32), interval=(-6.4, 6.35))
"""The quantizer of all values: times do not depend on numbers."""

Counts = Mapping[tuple[str, bool], NDArray[np.float64]]
"""Multiplications, elements, taps and calls of kernels, by their name and whether they run on integers, [4]."""


def chain(unit: Unit, shape: Shape, length: int) -> ir.Model:
    """Return ``length`` repetitions of ``unit`` in float."""
    is_product = PRODUCT in unit.names or DYNAMIC_PRODUCT in unit.names
    dims = f"{shape.side**2}, {shape.channels}" if is_product else f"1, {shape.channels}, {shape.side}, {shape.side}"
    start = "x0 = Relu(x)" if is_product else "x0 = Conv(x, w, b) s = Sigmoid(x0)"
    repeated = (unit.body.format(i=index, n=index + 1, channels=shape.channels) for index in range(length))
    text = f"{_HEADER} g (float[{dims}] x) => (float[{dims}] x{length}) {{ {start} {' '.join(repeated)} }}"
    proto = onnx.parser.parse_model(text)
    made = {output for node in proto.graph.node for output in node.output} | {"x", ""}
    read = dict.fromkeys(value for node in proto.graph.node for value in node.input if value not in made)
    for value in read:
        proto.graph.initializer.append(onnx.numpy_helper.from_array(_constant(value, shape.channels), value))
    model = load(proto)
    ShapeInferencePass()(model)
    for node in model.graph:
        for known in (*node.inputs, *node.outputs):
            if known is not None and known.shape is not None and known.shape.is_static():
                sizes = known.shape.numpy()
                known.meta[ACTIVATION] = Activation(tuple(sizes), prod(sizes))
    return model


def _constant(value: str, channels: int) -> NDArray[np.generic]:
    """Return the constant called ``value``: a weight that keeps the size of data, a bias, or a parameter of an op."""
    parameters: dict[str, NDArray[np.generic]] = {
        "b": np.full(channels, 0.01, np.float32),
        "first": np.array([channels // 2]),
        "last": np.array([channels // 2 + channels]),
        "channel_axis": np.array([1]),
        "twice": np.array([1, 1, 2, 2], np.float32),
    }
    if value in parameters:
        return parameters[value]
    shape = WEIGHTS[value[0]](channels)
    fan_in = prod(shape[1:]) if len(shape) > 2 else shape[0]
    weight = np.random.default_rng(len(value)).standard_normal(shape, np.float32) / np.float32(fan_in**0.5)
    return np.asarray(weight)


def on_integers(model: ir.Model, engine: Target, *, dynamic: bool) -> ir.Model:
    """Return a chain as ``engine`` runs it on integers, but for the layers whose weights stay in float."""
    copy, layer_format = model.clone(), replace(INT8_DYNAMIC if dynamic else INT8, bits=engine.weight_bits)
    for linear in find_linears(copy.graph):
        if (linear.weight.name or "").startswith(FLOAT):
            continue
        linear.weight.meta[QUANTIZER] = weight_quantizer(linear, layer_format)
        if dynamic:
            DYNAMIC.set(linear.node, content=True)
        else:
            linear.data.meta[QUANTIZER] = _SYMMETRIC
    plan = _SYMMETRIC.with_zero_point(engine.activations[ir.DataType.INT8].dtype)
    for value in dict.fromkeys(value for kernel in find_kernels(copy.graph) for value in kernel.values):
        INTEGER.set(value, plan)
    InsertQDQ(replace(engine, prices=None))(copy)  # none is too small
    return copy


def counts(model: ir.Model, *, integers: bool, dynamic: bool) -> Counts:
    """Count what the times of the kernels of a chain in float go by, ``integers`` where it is to run on these."""
    totals: dict[tuple[str, bool], NDArray[np.float64]] = defaultdict(lambda: np.zeros(4))
    for kernel in find_kernels(model.graph):
        is_float = kernel.linear is not None and (kernel.linear.weight.name or "").startswith(FLOAT)
        on_integers = integers and not is_float
        totals[name(kernel), on_integers] += (*amounts(kernel, on_integers=on_integers), 1)
        if integers and is_float:
            totals[BORDER, True] += (0, size(kernel.inputs[0]) + size(kernel.outputs[0]), 0, 2)
    for linear in find_linears(model.graph):
        if linear.node.op_type == "MatMul":
            rows = size(linear.data) / linear.inputs
            row = Amounts(linear.inputs * linear.outputs, linear.inputs + linear.outputs)
            kind = DYNAMIC_PRODUCT if dynamic else PRODUCT
            totals[kind, integers] += (rows * row.multiplications, rows * row.elements, 0, 1)
    return totals
