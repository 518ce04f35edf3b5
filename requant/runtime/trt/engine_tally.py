"""The tally of a TensorRT engine: which kernels the builder makes of a Q/DQ graph, and what they read and write."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import onnx_ir as ir

from ...ir.names import separate_nodes
from ..engine_kernel import EngineKernel, Kernels
from ..engine_plan import PlannedAttention, PlannedProduct, planned_attentions, planned_products
from ..gpu import gpu_name
from ..kernel_tally import Tally, names
from ..profiles import Profiles
from ..rules.qdq_graph import QdqGraph, qdq_graph
from ..rules.traverse import label
from ..targets import target as find_target
from .api import tensorrt
from .engine_kernel import engine_kernels
from .list_layers import list_layers

CAPABILITY = "8.9"
"""The compute capability to build for where there is no GPU: Ada, the first with products in fp8."""


@dataclass(frozen=True)
class EngineTally(Tally):
    """The kernels of a TensorRT engine.

    ``capability`` is empty where the engine was built for the GPU of this machine. ``attentions`` map those of the
    graph to the kernels that compute them, as ``products`` do. ``op_types`` has those of the graph's nodes, by name.
    """

    lister: ClassVar[str] = "the builder"

    capability: str
    attentions: Mapping[PlannedAttention, Kernels]
    op_types: Mapping[str, str]

    @property
    def title(self) -> str:
        """The engine with its version and its compute capability."""
        return f"{super().title}{f', compute capability {self.capability}' if self.capability else ''}"

    @property
    def fused_attentions(self) -> list[PlannedAttention]:
        """The attentions that are one kernel."""
        return [attention for attention, kernels in self.attentions.items() if is_fused(kernels)]

    def ops(self, kernel: EngineKernel) -> str:
        """Name the op types of the nodes of a ``kernel`` that is no product; it may have the scales of one."""
        computed = {product.name for product, kernels in self.products.items() if kernel not in kernels}
        nodes = [name for name in kernel.layer.nodes if name in self.op_types and name not in computed]
        return ", ".join(sorted({self.op_types[name] for name in nodes})) or kernel.title

    def to_dict(self) -> dict[str, Any]:  # JSON: values of any plain type
        """Return plain dictionaries, lists and numbers."""
        attentions = [
            {"name": attention.name, "format": attention.format, "fused": is_fused(kernels), **names(kernels)}
            for attention, kernels in self.attentions.items()
        ]
        return {**super().to_dict(), "capability": self.capability, "attentions": attentions}


def engine_tally(model: ir.Model, target: str, *, capability: str, profiles: Profiles) -> EngineTally:
    """Build an engine of ``model`` and count its kernels; see `requant.runtime.tally`."""
    trt = tensorrt(target)
    if target == "tensorrt-rtx" and not gpu_name():
        capability = capability or CAPABILITY
    graph = qdq_graph(model, find_target(target))
    for node in graph.model.graph.all_nodes():
        node.name = label(node)
    separate_nodes(graph.model)
    kernels = engine_kernels(list_layers(graph.model, target, profiles=profiles, capability=capability))
    op_types = {node.name or "": node.op_type for node in graph.model.graph.all_nodes()}
    products, attentions = _computed(graph, kernels)
    return EngineTally(target, trt.__version__, kernels, products, capability, attentions, op_types)


def _computed(
    graph: QdqGraph, kernels: Kernels
) -> tuple[dict[PlannedProduct, Kernels], dict[PlannedAttention, Kernels]]:
    """Map the products and attentions of ``graph`` to their kernels."""
    products, rest = _by_node(item for item in kernels if item.kind != "other"), _by_node(kernels)
    return (
        {item: _of([item.name], products) or _of([item.name], rest) for item in planned_products(graph)},
        {item: _of(item.products, products) for item in planned_attentions(graph)},
    )


def _by_node(kernels: Iterable[EngineKernel]) -> dict[str, list[EngineKernel]]:
    groups = dict[str, list[EngineKernel]]()
    for kernel in kernels:
        for name in kernel.layer.nodes:
            groups.setdefault(name, []).append(kernel)
    return groups


def _of(nodes: Iterable[str], by_node: Mapping[str, list[EngineKernel]]) -> Kernels:
    return tuple(dict.fromkeys(kernel for name in nodes for kernel in by_node.get(name, ())))


def is_fused(kernels: Kernels) -> bool:
    """Tell whether ``kernels``, those of an attention, are one that does all of it."""
    return [kernel.kind for kernel in kernels] == ["attention"]
