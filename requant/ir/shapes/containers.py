"""Types of values that are not tensors: sequences, optionals and maps.

onnx_ir's inference takes a value without a type for a tensor; types that are set, it keeps.
"""

import onnx
import onnx_ir as ir

LARGEST = 1024
"""Bytes of a constant above which inference does not get its data."""


def infer_containers(model: ir.Model) -> None:
    """Infer the types of the values of ``model`` that are not tensors, if any node produces such."""
    opsets = model.graph.opset_imports
    if not any(_produces_container(node, opsets) for node in model.graph.all_nodes()):
        return
    inferred = ir.from_proto(onnx.shape_inference.infer_shapes(ir.to_proto(_light(model)), data_prop=True))
    for graph, inferred_graph in zip(model.graphs(), inferred.graphs(), strict=True):
        inferred_values = ir.convenience.create_value_mapping(inferred_graph)
        for name, value in ir.convenience.create_value_mapping(graph).items():
            kind = inferred_values[name].type if name in inferred_values else None
            if kind is not None and not isinstance(kind, ir.TensorType | ir.SparseTensorType):
                value.type, value.shape = kind, None


def _produces_container(node: ir.Node, opsets: dict[str, int]) -> bool:
    """Tell whether an output of ``node`` is never a tensor."""
    version = opsets.get(node.domain)
    if version is None or not onnx.defs.has(node.op_type, domain=node.domain):
        return False
    try:
        schema = onnx.defs.get_schema(node.op_type, version, node.domain)
    except onnx.defs.SchemaError:  # the op is younger than the model's opset
        return False
    return any(not any(kind.startswith("tensor(") for kind in output.types) for output in schema.outputs)


def _light(model: ir.Model) -> ir.Model:
    """Copy ``model`` with its large constants as inputs."""
    copy = model.clone()
    for name, value in list(copy.graph.initializers.items()):
        if value.const_value is not None and value.const_value.nbytes > LARGEST:
            del copy.graph.initializers[name]
            value.const_value = None
            copy.graph.inputs.append(value)
    return copy
