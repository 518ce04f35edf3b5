"""The tally of an engine: which kernels TensorRT's builder makes of a Q/DQ graph, and what they read and write."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from ..ir.names import separate_nodes
from .engine_plan import PlannedAttention, PlannedProduct, planned_attentions, planned_products
from .gpu import gpu_name
from .profiles import Profiles
from .rules.qdq_graph import QdqGraph, qdq_graph
from .rules.traverse import label
from .targets import target as find_target
from .trt.api import tensorrt
from .trt.engine_kernel import EngineKernel, engine_kernels
from .trt.list_layers import list_layers
from .trt.roofline import GpuPeaks, seconds

CAPABILITY = "8.9"
"""The compute capability to build for where there is no GPU: Ada, the first with products in fp8."""

Kernels = tuple[EngineKernel, ...]


@dataclass(frozen=True)
class Tally:
    """The kernels of an engine beside the plan of the graph that it was built from.

    ``capability`` is empty where the engine was built for the GPU of this machine. ``products`` and ``attentions`` map
    those of the graph to the kernels that compute them: one where all is well, none where the builder lists none.
    ``op_types`` has those of the graph's nodes, by name.
    """

    target: str
    version: str
    capability: str
    kernels: Kernels
    products: Mapping[PlannedProduct, Kernels]
    attentions: Mapping[PlannedAttention, Kernels]
    op_types: Mapping[str, str]

    @property
    def megabytes(self) -> float:
        """The traffic of all kernels without caches: each tensor that one reads or writes, once and whole.

        Infinite where shapes are dynamic.
        """
        return sum(kernel.layer.nbytes for kernel in self.kernels) / 1e6

    @property
    def types(self) -> Counter[str]:
        """The numbers of kernels that are products, by kind and type."""
        return Counter(kernel.title for kernel in self.kernels if kernel.kind != "other")

    @property
    def merged_layers(self) -> list[tuple[str, ...]]:
        """The layers of the graph that became one product, such as Q, K and V."""
        groups = dict[EngineKernel, list[str]]()
        for product, kernels in self.products.items():
            for kernel in kernels:
                groups.setdefault(kernel, []).append(product.name)
        return [tuple(names) for names in groups.values() if len(names) > 1]

    @property
    def formats(self) -> dict[str, tuple[int, int]]:
        """The number of layers that are planned in each format, and of those whose kernels read it."""
        counts = Counter(product.format for product in self.products if product.format)
        exact = Counter(item.format for item, kernels in self.products.items() if reads(kernels, item.format))
        return {fmt: (count, exact[fmt]) for fmt, count in counts.items()}

    @property
    def fused_attentions(self) -> list[PlannedAttention]:
        """The attentions that are one kernel."""
        return [attention for attention, kernels in self.attentions.items() if is_fused(kernels)]

    @property
    def other_kernels(self) -> dict[str, Kernels]:
        """The kernels that are no product, by the ops in them."""
        groups = dict[str, Kernels]()
        for kernel in self.kernels:
            if kernel.kind == "other":
                ops = self._ops(kernel)
                groups[ops] = (*groups.get(ops, ()), kernel)
        return groups

    def microseconds(self, gpu: GpuPeaks) -> float:
        """Estimate the time of all kernels, one after the other; see `requant.runtime.trt.roofline`."""
        return sum(seconds(kernel, gpu) for kernel in self.kernels) * 1e6

    def to_dict(self) -> dict[str, Any]:  # JSON: values of any plain type
        """Return plain dictionaries, lists and numbers."""
        return {
            "target": self.target,
            "version": self.version,
            "capability": self.capability,
            "megabytes": self.megabytes,
            "kernels": [_entry(kernel) for kernel in self.kernels],
            "products": [{**vars(product), **_names(kernels)} for product, kernels in self.products.items()],
            "merged": [list(names) for names in self.merged_layers],
            "attentions": [
                {"name": attention.name, "format": attention.format, "fused": is_fused(kernels), **_names(kernels)}
                for attention, kernels in self.attentions.items()
            ],
        }

    def _ops(self, kernel: EngineKernel) -> str:
        """Name the op types of the nodes of a ``kernel`` that is no product; it may have the scales of one."""
        computed = {product.name for product, kernels in self.products.items() if kernel not in kernels}
        names = [name for name in kernel.layer.nodes if name in self.op_types and name not in computed]
        return ", ".join(sorted({self.op_types[name] for name in names})) or kernel.title


def tally(model: ir.Model, target: str, *, capability: str = "", profiles: Profiles | None = None) -> Tally:
    """Build an engine of ``model`` and count its kernels; the engine is dropped. Takes as long as the build.

    Args:
        model: a graph, quantized or not; not modified.
        target: "tensorrt" or "tensorrt-rtx".
        capability: "tensorrt-rtx" alone: the compute capability to build for; the GPU's, or else `CAPABILITY`.
        profiles: for each dynamic input its smallest, usual and largest shape. Where the three are the same, the engine
            is that of the static shape; elsewhere the builder lists no sizes, and there is no traffic.

    Raises:
        TargetError: TensorRT is not there or finds no GPU, or an input has no profile.
        BuildError: TensorRT refuses a node, or cannot build.
        SourceError: the model cannot be read.
    """
    trt = tensorrt(target)
    if target == "tensorrt-rtx" and not gpu_name():
        capability = capability or CAPABILITY
    graph = qdq_graph(model, find_target(target))
    for node in graph.model.graph.all_nodes():
        node.name = label(node)
    separate_nodes(graph.model)
    kernels = engine_kernels(list_layers(graph.model, target, profiles=profiles or {}, capability=capability))
    op_types = {node.name or "": node.op_type for node in graph.model.graph.all_nodes()}
    return Tally(target, trt.__version__, capability, kernels, *_computed(graph, kernels), op_types)


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


def _of(names: Iterable[str], by_node: Mapping[str, list[EngineKernel]]) -> Kernels:
    return tuple(dict.fromkeys(kernel for name in names for kernel in by_node.get(name, ())))


def reads(kernels: Kernels, fmt: str) -> bool:
    """Tell whether ``kernels``, those of a product, read data in ``fmt`` and nothing else."""
    return {kernel.dtype for kernel in kernels} == {fmt}


def is_fused(kernels: Kernels) -> bool:
    """Tell whether ``kernels``, those of an attention, are one that does all of it."""
    return [kernel.kind for kernel in kernels] == ["attention"]


def _names(kernels: Kernels) -> dict[str, Any]:  # JSON: values of any plain type
    return {"kernels": [kernel.layer.name for kernel in kernels], "types": [kernel.dtype for kernel in kernels]}


def _entry(kernel: EngineKernel) -> dict[str, Any]:  # JSON: values of any plain type
    layer = kernel.layer
    return {
        "name": layer.name, "kind": kernel.kind, "ops": list(kernel.words), "type": kernel.dtype,
        "weights": kernel.weights, "megabytes": layer.nbytes / 1e6, "nodes": list(layer.nodes),
    }  # fmt: skip
