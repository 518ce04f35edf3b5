"""Kernels of an ONNX Runtime session: the nodes of the graph that it runs, with their bytes and times."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from ...ir.ops import ATTENTION, CONVOLUTIONS, PRODUCTS, RECURRENT, RESHAPING, SELECTION
from ...ir.quantized import COMPRESSED_LAYERS, holds_quantized_data
from ..engine_kernel import EngineKernel, KernelKind
from ..engine_layer import EngineLayer, EngineTensor
from .profiled_graph import ProfiledNode, engine_tensor

_KINDS: dict[KernelKind, frozenset[str]] = {
    "product": PRODUCTS | COMPRESSED_LAYERS | {"FusedGemm", "FusedMatMul", "QGemm", "QLinearMatMul"}
    | {"DynamicQuantizeMatMul", "MatMulInteger", "MatMulIntegerToFloat"},
    "convolution": CONVOLUTIONS | {"ConvInteger", "FusedConv", "NhwcFusedConv", "QLinearConv"},
    "recurrent": RECURRENT | {"DynamicQuantizeLSTM"},
    "attention": ATTENTION | {"GroupQueryAttention", "QAttention"},
}  # fmt: skip
"""By the kind of a kernel, ops of the standard and of ONNX Runtime's own domains, which have no traits."""

_VIEWS = RESHAPING | {"Identity"}
"""Ops whose output is the memory of their input, unless the graph outputs it."""


@dataclass(frozen=True)
class SessionKernel(EngineKernel):
    """A node of the graph that a session runs: its median time in a run, and how often it ran in one.

    ``calls`` is 0 in a branch that was not taken. ``traffic`` are the bytes of a call: each tensor that it reads or
    writes, once and whole, but for what it does not look at or shares with its output.
    """

    microseconds: float = 0.0
    calls: int = 1
    traffic: float = 0.0

    @property
    def title(self) -> str:
        """The op, and the types of a product."""
        return self.layer.kind if self.kind == "other" else f"{self.layer.kind} in {self.types}"

    @property
    def nbytes(self) -> float:
        """The bytes that it reads and writes in a run."""
        return self.traffic * self.calls


def session_kernels(nodes: Sequence[ProfiledNode], feed: Mapping[str, EngineTensor]) -> dict[ir.Node, SessionKernel]:
    """Return the kernel of each node, in order; ``feed`` are the inputs of the model.

    A node with a body, such as a loop, takes what the nodes in it do not.
    """
    tensors = dict(feed)
    kernels = dict[ir.Node, SessionKernel]()
    times = {profiled.node: profiled.microseconds for profiled in nodes}
    for profiled in nodes:
        tensors |= {output.name: output for output in profiled.outputs}
        within = sum(times.get(inner, 0.0) for body in _bodies(profiled.node) for inner in body)
        kernels[profiled.node] = _kernel(profiled, max(profiled.microseconds - within, 0.0), tensors)
    return kernels


def _bodies(node: ir.Node) -> Iterator[ir.Graph]:
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()


def _kernel(profiled: ProfiledNode, microseconds: float, tensors: Mapping[str, EngineTensor]) -> SessionKernel:
    node = profiled.node
    values = [value for value in dict.fromkeys(node.inputs) if value is not None and value.name]
    read = dict(zip(values, _read(values, profiled, tensors), strict=True))
    constants, inputs = (
        tuple(
            tensor for value, tensor in read.items() if tensor is not None and (value.const_value is not None) is stored
        )
        for stored in (True, False)
    )
    layer = EngineLayer(
        node.name or node.op_type, node.op_type, inputs, constants, tuple(profiled.outputs), (node.name or "",)
    )
    kind: KernelKind = next((kind for kind, ops in _KINDS.items() if node.op_type in ops), "other")
    reads = "" if kind == "other" else _dtype(node, inputs)
    measured = microseconds, profiled.calls, _traffic(node, layer)
    return SessionKernel(layer, kind, (node.op_type,), reads, _weights(node, constants), *measured)


def _read(
    values: Sequence[ir.Value], profiled: ProfiledNode, tensors: Mapping[str, EngineTensor]
) -> Iterator[EngineTensor | None]:
    """Yield the tensor of each of ``values``; those that no node has written, as the inputs of a loop's body, in order.

    The profiler tells what was read, but not as which input.
    """
    known = {value: tensors.get(value.name or "") or _constant(value) for value in values}
    rest = [(tensor.dtype, tensor.shape) for tensor in profiled.reads]
    for tensor in known.values():
        if tensor is not None and (tensor.dtype, tensor.shape) in rest:
            rest.remove((tensor.dtype, tensor.shape))
    for value, tensor in known.items():
        if tensor is None and value.const_value is None and rest:
            dtype, shape = rest.pop(0)
            yield EngineTensor(value.name or "", shape, dtype)
        else:
            yield tensor


def _constant(value: ir.Value) -> EngineTensor | None:
    stored = value.const_value
    return engine_tensor(value.name, stored.shape.numpy(), stored.dtype) if stored is not None else None


def _traffic(node: ir.Node, layer: EngineLayer) -> float:
    """Return the bytes that a call moves; of a table that elements are picked from, it reads as many as it writes."""
    if node.op_type in _VIEWS and not any(value.is_graph_output() for value in node.outputs):
        return 0.0
    written = sum(tensor.nbytes for tensor in layer.outputs)
    tables = [tensor.nbytes for tensor in (*layer.inputs, *layer.constants) if _is_picked_from(tensor, node)]
    return layer.nbytes - sum(max(table - written, 0.0) for table in tables)


def _is_picked_from(tensor: EngineTensor, node: ir.Node) -> bool:
    source = node.inputs[0] if node.op_type in SELECTION else None
    return source is not None and source.name == tensor.name


def _dtype(node: ir.Node, inputs: tuple[EngineTensor, ...]) -> str:
    """Return the type in which a product reads its data; integers are "int8", whatever their zero point."""
    if holds_quantized_data(node):
        return "int8"
    if inputs:
        return inputs[0].dtype
    declared = (value.dtype for value in node.inputs if value is not None and value.const_value is None)
    scalars = (engine_tensor("", (), dtype) for dtype in declared if dtype is not None)  # a branch that was not taken
    return next((scalar.dtype for scalar in scalars if scalar is not None), "")


def _weights(node: ir.Node, constants: tuple[EngineTensor, ...]) -> str:
    if node.op_type in COMPRESSED_LAYERS and (bits := node.attributes.get_int("bits", 0)):
        return f"int{bits}"  # they are packed into bytes
    matrices = [constant for constant in constants if len(constant.shape) > 1]
    weight = max(matrices, key=lambda constant: constant.elements, default=None)
    return weight.dtype if weight is not None else ""
