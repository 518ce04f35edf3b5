"""Tensors of a clone of a model, which shares its weights with the model that it comes from."""

from copy import copy

import onnx_ir as ir


def own_tensors(model: ir.Model) -> None:
    """Give a clone's weights names of their own; their data stays shared with the model they came from."""
    for graph in model.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                value.const_value = _renamable(value.const_value)
        for node in graph:
            for name, attribute in node.attributes.items():
                if attribute.type == ir.AttributeType.TENSOR:
                    node.attributes[name] = ir.AttrTensor(name, _renamable(attribute.as_tensor()))


def _renamable(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    if isinstance(tensor, ir.serde.TensorProtoTensor):
        return ir.LazyTensor(lambda: tensor, dtype=tensor.dtype, shape=tensor.shape, name=tensor.name)
    return copy(tensor)
