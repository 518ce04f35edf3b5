"""Kernels of an ONNX Runtime session: the nodes of the graph that it runs, with their bytes and times."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from ...ir.ops import ATTENTION, CONVOLUTIONS, PRODUCTS, RECURRENT, RESHAPING
from ...ir.quantized import COMPRESSED_LAYERS, holds_quantized_data
from ..engine_kernel import EngineKernel, KernelKind
from ..engine_layer import EngineLayer, EngineTensor
from .profiled_graph import ProfiledNode, tensor

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

    ``calls`` is 0 in a branch that was not taken. ``moves`` is False where the output is the memory of the input.
    """

    microseconds: float = 0.0
    calls: int = 1
    moves: bool = True

    @property
    def title(self) -> str:
        """The op, and the types of a product."""
        return self.layer.kind if self.kind == "other" else f"{self.layer.kind} in {self.types}"

    @property
    def nbytes(self) -> float:
        """The bytes that it reads and writes in a run, each tensor once and whole in each call."""
        return self.layer.nbytes * self.calls if self.moves else 0.0


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
    constants = tuple(constant for value in values if (constant := tensor(value)) is not None)
    inputs = tuple(tensors[value.name or ""] for value in values if value.const_value is None and value.name in tensors)
    layer = EngineLayer(
        node.name or node.op_type, node.op_type, inputs, constants, tuple(profiled.outputs), (node.name or "",)
    )
    kind: KernelKind = next((kind for kind, ops in _KINDS.items() if node.op_type in ops), "other")
    moves = node.op_type not in _VIEWS or any(value.is_graph_output() for value in node.outputs)
    reads = "" if kind == "other" else _dtype(node, inputs)
    return SessionKernel(
        layer, kind, (node.op_type,), reads, _weights(node, constants), profiled.microseconds, profiled.calls, moves
    )


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
