"""Types of values that are no tensors: sequences, optionals and maps.

onnx_ir's inference takes for a tensor what has no type yet; a type that is there, it leaves as it is.
"""

import onnx
import onnx_ir as ir

LARGEST = 1024
"""Bytes of a constant above which inference is not told what it holds."""


def infer_containers(model: ir.Model) -> None:
    """Give the values of ``model`` that are no tensors their types, if any node makes such."""
    opsets = model.graph.opset_imports
    if not any(_makes_container(node, opsets) for node in model.graph.all_nodes()):
        return
    inferred = ir.from_proto(onnx.shape_inference.infer_shapes(ir.to_proto(_light(model)), data_prop=True))
    for graph, other in zip(model.graphs(), inferred.graphs(), strict=True):
        found = ir.convenience.create_value_mapping(other)
        for name, value in ir.convenience.create_value_mapping(graph).items():
            kind = found[name].type if name in found else None
            if kind is not None and not isinstance(kind, ir.TensorType | ir.SparseTensorType):
                value.type, value.shape = kind, None


def _makes_container(node: ir.Node, opsets: dict[str, int]) -> bool:
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
    """A copy of ``model`` in which large constants are inputs."""
    copy = model.clone()
    for name, value in list(copy.graph.initializers.items()):
        if value.const_value is not None and value.const_value.nbytes > LARGEST:
            del copy.graph.initializers[name]
            value.const_value = None
            copy.graph.inputs.append(value)
    return copy
