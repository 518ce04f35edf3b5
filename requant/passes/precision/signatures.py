"""The types of a node's inputs and outputs when it computes in a type narrower than float32.

ONNX's schemas have the answer: all inputs and outputs with one letter, say T: tensor(float16), tensor(float), …,
change together, and what has a letter that does not allow the narrow type stays float32.

    Σ q_x q_w · (s_x · s_w)

is the exception. An engine takes the type of the sum of integers, and of the product of scales, from the scales of
both DequantizeLinear. The sum leaves float16 in most layers, and the product of scales is among its smallest numbers.
So these scales stay float32, and `output_dtype` says that the result is narrow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import onnx
import onnx_ir as ir
from onnx_ir.schemas import OpSignature, Parameter

from ...ir.ops import QUANTIZERS

Types = tuple[ir.DataType | None, ...]
"""A type for each input or output; None for one that is no float32 tensor or may be of either type."""

_PRODUCERS_OF_ANY = frozenset({"Cast", "ConstantOfShape", "DequantizeLinear"})  # a fact of engines, so no trait
"""Ops that on every engine produce any float type, whatever they read; random numbers, say, are better cast."""

_ALWAYS_WIDE = {("Resize", "roi")}
"""Coordinates, which the schema would allow to be rounded."""

EXACT_SCALES = 23
"""The first opset where a DequantizeLinear has `output_dtype`."""


@dataclass(frozen=True)
class Signature:
    """The types of a node's inputs and outputs where it computes in the narrow type, if all of them are ``tensors``."""

    inputs: Types
    outputs: Types
    tensors: bool


def is_float(value: ir.Value | None) -> bool:
    """Tell whether ``value`` is a tensor of float32."""
    return value is not None and isinstance(value.type, ir.TensorType) and value.dtype == ir.DataType.FLOAT


def signature(node: ir.Node, opset: int, dtype: ir.DataType) -> Signature | None:
    """Return the types of ``node`` in ``dtype`` at ``opset``, or None where ONNX has no schema of its operator."""
    schema = _schema(node.domain, node.op_type, opset)
    if schema is None:
        return None
    inputs, outputs = _floats(node.inputs, schema.inputs), _floats(node.outputs, schema.outputs)
    letters = [parameter.type_constraint.name for parameter in inputs if parameter]
    keeps_scale = opset >= EXACT_SCALES and scales_integer_product(node)
    alike = any(inputs) and "dtype" in schema and "dtype" not in node.attributes
    either = (node.op_type == "Cast" or not any(outputs)) and node.op_type not in QUANTIZERS  # its scale sets the type

    def input_type(parameter: Parameter | None) -> ir.DataType | None:
        if parameter is None or (either and letters.count(parameter.type_constraint.name) == 1 and allows(parameter)):
            return None
        in_float32 = keeps_scale or (node.op_type, parameter.name) in _ALWAYS_WIDE
        return dtype if allows(parameter) and not in_float32 else ir.DataType.FLOAT

    def output_type(parameter: Parameter | None) -> ir.DataType | None:
        if parameter is None:
            return None
        follows = parameter.type_constraint.name in letters or node.op_type in _PRODUCERS_OF_ANY or alike
        return dtype if allows(parameter) and follows and not _widens(node) else ir.DataType.FLOAT

    def allows(parameter: Parameter) -> bool:
        return ir.TensorType(dtype) in parameter.type_constraint.allowed_types

    tensors = all(map(_may_be_tensor, filter(None, (*inputs, *outputs))))
    return Signature(tuple(map(input_type, inputs)), tuple(map(output_type, outputs)), tensors)


def scales_integer_product(node: ir.Node) -> bool:
    """Tell whether ``node`` is a DequantizeLinear whose result is multiplied by that of another one."""
    return node.op_type == "DequantizeLinear" and any(
        other is not node and other.op_type == "DequantizeLinear"
        for consumer in node.successors()
        for other in consumer.predecessors()
    )


@cache
def _schema(domain: str, op_type: str, opset: int) -> OpSignature | None:
    try:
        return OpSignature.from_op_schema(onnx.defs.get_schema(op_type, opset, domain))
    except onnx.defs.SchemaError:
        return None


def _floats(values: Sequence[ir.Value | None], parameters: Sequence[Parameter]) -> list[Parameter | None]:
    """Return the parameter of each value that is a float32 tensor; the last one may stand for many."""
    last = len(parameters) - 1
    return [parameters[min(position, last)] if is_float(value) else None for position, value in enumerate(values)]


def _may_be_tensor(parameter: Parameter) -> bool:
    return any(isinstance(allowed_type, ir.TensorType) for allowed_type in parameter.type_constraint.allowed_types)


def _widens(node: ir.Node) -> bool:
    """Tell whether ``node`` is a Cast from a narrower type, which the model has for precision."""
    source = node.inputs[0] if node.op_type == "Cast" else None
    return source is not None and source.dtype in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
