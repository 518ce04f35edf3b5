"""Kernels of an ONNX Runtime session: the nodes of the graph that it runs, with their bytes and times."""

from collections.abc import Iterable, Mapping
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


def session_kernels(nodes: Iterable[ProfiledNode], feed: Mapping[str, EngineTensor]) -> dict[ir.Node, SessionKernel]:
    """Return the kernel of each node, in order; ``feed`` are the inputs of the model."""
    tensors = dict(feed)
    kernels = dict[ir.Node, SessionKernel]()
    for profiled in nodes:
        tensors |= {output.name: output for output in profiled.outputs}
        kernels[profiled.node] = _kernel(profiled, tensors)
    return kernels


def _kernel(profiled: ProfiledNode, tensors: Mapping[str, EngineTensor]) -> SessionKernel:
    node = profiled.node
    values = [value for value in dict.fromkeys(node.inputs) if value is not None and value.name]
    read = [(tensors.get(value.name or "") or _declared(value), value.const_value is not None) for value in values]
    constants = tuple(tensor for tensor, stored in read if stored and tensor is not None)
    inputs = tuple(tensor for tensor, stored in read if not stored and tensor is not None)
    layer = EngineLayer(
        node.name or node.op_type, node.op_type, inputs, constants, tuple(profiled.outputs), (node.name or "",)
    )
    kind: KernelKind = next((kind for kind, ops in _KINDS.items() if node.op_type in ops), "other")
    reads = "" if kind == "other" else _dtype(node, inputs)
    measured = profiled.microseconds, profiled.calls, _traffic(node, layer)
    return SessionKernel(layer, kind, (node.op_type,), reads, _weights(node, constants), *measured)


def _declared(value: ir.Value) -> EngineTensor | None:
    """Describe a constant, or a value that no node of its graph writes, as the graph declares it."""
    shape = tuple(value.shape or ()) if value.const_value is None else value.const_value.shape.numpy()
    dtype = value.dtype if value.const_value is None else value.const_value.dtype
    sizes = [size for size in shape if isinstance(size, int)]
    return engine_tensor(value.name, sizes, dtype) if dtype is not None and len(sizes) == len(shape) else None


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
    return inputs[0].dtype if inputs else ""


def _weights(node: ir.Node, constants: tuple[EngineTensor, ...]) -> str:
    if node.op_type in COMPRESSED_LAYERS and (bits := node.attributes.get_int("bits", 0)):
        return f"int{bits}"  # they are packed into bytes
    matrices = [constant for constant in constants if len(constant.shape) > 1]
    weight = max(matrices, key=lambda constant: constant.elements, default=None)
    return weight.dtype if weight is not None else ""
