"""Validation of nodes against the schemas of their operators: the numbers of inputs and outputs, and the attributes.

ONNX Runtime validates the same when it loads a model. Operators that onnx does not define, such as ONNX Runtime's own,
and those that are younger than the model's opset are not validated.
"""

from collections.abc import Callable, Mapping
from functools import cache
from itertools import chain

import onnx
import onnx_ir as ir

from ..errors import SourceError
from .ops import CONVOLUTIONS, GLOBAL_POOLING, POOLING, RESAMPLING
from .order import label
from .structure import roots

_OPTIONAL_INPUTS = RESAMPLING
"""Operators of which exporters omit a required input: a ``roi`` that is not used."""

_KINDS = {
    getattr(onnx.defs.OpSchema.AttrType, kind.name): kind
    for kind in ir.AttributeType
    if hasattr(onnx.defs.OpSchema.AttrType, kind.name)
}

_CONTRIB = "com.microsoft"

_CONTRIB_ATTRIBUTES = {
    **dict.fromkeys(("alpha", "beta", "epsilon"), ir.AttributeType.FLOAT),
    **dict.fromkeys(("transA", "transB", "transBatchA", "transBatchB", "do_rotary", "group"), ir.AttributeType.INT),
    **dict.fromkeys(("activation_alpha", "activation_beta", "activation_gamma"), ir.AttributeType.FLOAT),
    "activation": ir.AttributeType.STRING,
    "activation_params": ir.AttributeType.FLOATS,
    "qkv_hidden_sizes": ir.AttributeType.INTS,
}
"""Attributes of ONNX Runtime's own operators, which have one type wherever they occur; onnx has no schemas."""

_BLANK = onnx.defs.OpSchema.FormalParameterOption.Single


def require_schemas(model: ir.Model, name: str) -> None:
    """Validate each node of ``model`` against the schema of its operator.

    Raises:
        SourceError: names the first node that does not fit its schema, or an opset that onnx does not support.
    """
    newest, opset = onnx.defs.onnx_opset_version(), model.graph.opset_imports.get("")
    if opset is None and any(node.domain == "" for node in model.graph.all_nodes()):
        raise SourceError(f"{name}: declares no opset")
    if opset is not None and not 0 < opset <= newest:
        raise SourceError(f"{name}: has opset {opset}, but the installed onnx supports 1 to {newest}")
    for graph in roots(model):
        for node in graph.all_nodes():
            if problem := _problem(node, graph.opset_imports, model.functions):
                raise SourceError(f"{name}: node {label(node)!r} ({node.op_type}) {problem}")


def _problem(
    node: ir.Node, opsets: Mapping[str, int], functions: Mapping[ir.OperatorIdentifier, ir.Function]
) -> str | None:
    """Describe what is wrong with a node; None where nothing is."""
    if not node.outputs:
        return "has no outputs"
    if node.domain == _CONTRIB and (problem := _wrong_contrib(node)):
        return problem
    schema = (
        None if node.op_identifier() in functions else _schema(node.op_type, opsets.get(node.domain, 1), node.domain)
    )
    if schema is None:
        return None
    return _wrong_arity(node, schema) or _wrong_attributes(node, schema)


@cache
def _schema(op_type: str, opset: int, domain: str) -> onnx.defs.OpSchema | None:
    try:
        schema = onnx.defs.get_schema(op_type, opset, domain)
    except onnx.defs.SchemaError:
        return None
    return None if schema.deprecated else schema


def _wrong_arity(node: ir.Node, schema: onnx.defs.OpSchema) -> str | None:
    for side, count, least, most in (
        ("inputs", len(node.inputs), schema.min_input, schema.max_input),
        ("outputs", len(node.outputs), schema.min_output, schema.max_output),
    ):
        if not least <= count <= most:
            return f"has {count} {side}, but takes {_between(least, most)}"
    for value, parameter in zip(node.inputs, schema.inputs, strict=False):
        if value is None and parameter.option == _BLANK and node.op_type not in _OPTIONAL_INPUTS:
            return f"has no input {parameter.name!r}"
    return None


def _between(least: int, most: int) -> str:
    if least == most:
        return str(least)
    return f"{least} to {most}" if most < 2**31 - 1 else f"{least} or more"


def _wrong_attributes(node: ir.Node, schema: onnx.defs.OpSchema) -> str | None:
    for name, attribute in node.attributes.items():
        definition = schema.attributes.get(name)
        if definition is None and not name.startswith("__"):
            return f"has an unknown attribute {name!r}"
        kind = _KINDS[definition.type] if definition is not None else attribute.type
        if attribute.type != kind:
            return f"has an attribute {name!r} of type {attribute.type.name} instead of {kind.name}"
    for name, definition in schema.attributes.items():
        if definition.required and name not in node.attributes:
            return f"lacks the required attribute {name!r}"
    return _wrong_values(node)


def _wrong_contrib(node: ir.Node) -> str | None:
    for name, kind in _CONTRIB_ATTRIBUTES.items():
        attribute = node.attributes.get(name)
        if attribute is not None and attribute.type != kind:
            return f"has an attribute {name!r} of type {attribute.type.name} instead of {kind.name}"
    return None


def _wrong_values(node: ir.Node) -> str | None:
    """Describe an attribute whose value is invalid for any shape."""
    if node.op_type == "Constant" and len(node.attributes) != 1:
        return f"has {len(node.attributes)} attributes, but takes one value"
    for (op_type, name), (is_valid, description) in _VALUES.items():
        attribute = node.attributes.get(name) if node.op_type == op_type else None
        if attribute is not None and not attribute.is_ref() and not is_valid(attribute.value):
            return f"has {name} {attribute.value}, which is not a {description}"
    return None


def _is_permutation(value: tuple[int, ...]) -> bool:
    return sorted(value) == list(range(len(value)))


_POSITIVE: tuple[Callable[..., bool], str] = (lambda value: 0 < value < 2**31, "positive number")
_POSITIVES: tuple[Callable[..., bool], str] = (
    lambda values: all(0 < value < 2**31 for value in values),
    "list of positive numbers",
)

_VALUES: dict[tuple[str, str], tuple[Callable[..., bool], str]] = {
    ("Transpose", "perm"): (_is_permutation, "permutation of the axes"),
    **{(op_type, "group"): _POSITIVE for op_type in CONVOLUTIONS},
    **dict.fromkeys(
        list(
            chain.from_iterable(
                ((op_type, "kernel_shape"), (op_type, "strides"), (op_type, "dilations"))
                for op_type in CONVOLUTIONS | (POOLING - GLOBAL_POOLING)
            )
        ),
        _POSITIVES,
    ),
}
