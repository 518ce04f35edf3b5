"""The tally of an engine: which kernels TensorRT's builder makes of a Q/DQ graph, and what they read and write."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from .check import Finding
from .engine_plan import PlannedAttention, PlannedProduct, planned_attentions, planned_products, unambiguous
from .gpu import gpu_name
from .profiles import Profiles
from .rules.qdq_graph import qdq_graph
from .targets import target as find_target
from .trt.api import tensorrt
from .trt.engine_kernel import EngineKernel, engine_kernels
from .trt.list_layers import list_layers

CAPABILITY = "8.9"
"""The compute capability to build for where there is no GPU: Ada, the first with products in fp8."""


@dataclass(frozen=True)
class Tally:
    """The kernels of an engine beside the plan of the graph that it was built from.

    ``capability`` is empty where the engine was built for the GPU of this machine. ``products`` and ``attentions`` map
    those of the graph to the kernels that compute them: one where all is well, none where the builder lists none.
    """

    target: str
    version: str
    capability: str
    kernels: tuple[EngineKernel, ...]
    products: Mapping[PlannedProduct, tuple[EngineKernel, ...]]
    attentions: Mapping[PlannedAttention, tuple[EngineKernel, ...]]

    @property
    def megabytes(self) -> float:
        """The traffic of all kernels, each tensor read or written once by each, without caches."""
        return sum(kernel.layer.nbytes for kernel in self.kernels) / 1e6

    @property
    def types(self) -> Counter[tuple[str, str, str]]:
        """The numbers of kernels that are products, by kind, type of the operands and type of the stored weights."""
        return Counter((item.kind, item.dtype, item.weights) for item in self.kernels if item.kind != "other")

    @property
    def merged(self) -> list[tuple[str, ...]]:
        """The layers of the graph that became one product, such as Q, K and V."""
        groups = dict[EngineKernel, list[str]]()
        for product, kernels in self.products.items():
            for kernel in kernels:
                groups.setdefault(kernel, []).append(product.name)
        return [tuple(names) for kernel, names in groups.items() if len(names) > 1 and kernel.kind != "attention"]

    @property
    def fused(self) -> list[str]:
        """The attentions that are one kernel, by the name of the node behind the softmax."""
        return [attention.name for attention, kernels in self.attentions.items() if _is_fused(kernels)]

    @property
    def findings(self) -> list[Finding]:
        """The products of the plan that are no integer kernels, and attentions in float that are not one kernel."""
        return [*self._float_products(), *self._open_attentions()]

    def _float_products(self) -> Iterator[Finding]:
        for product, kernels in self.products.items():
            types = {kernel.dtype for kernel in kernels}
            if product.format and types != {product.format}:
                made = ", ".join(f"{kernel.title} in {kernel.dtype}" for kernel in kernels) or "no kernel"
                consequence = f"runs in float: planned in {product.format}, the builder lists {made}"
                yield Finding("built-product", product.name, consequence, "leave the layer in float")

    def _open_attentions(self) -> Iterator[Finding]:
        for attention, kernels in self.attentions.items():
            if not _is_fused(kernels):
                consequence = f"slower: attention is {len(kernels)} products and not one kernel"
                wide = any(kernel.dtype == "float32" for kernel in kernels)
                fix = (
                    'compute in half precision: precision="float16"'
                    if wide
                    else "quantize Q, K, V and softmax, or none"
                )
                yield Finding("built-attention", attention.name, consequence, fix)

    def to_dict(self) -> dict[str, Any]:  # JSON: values of any plain type
        """Return plain dictionaries, lists and numbers."""
        return {
            "target": self.target,
            "version": self.version,
            "capability": self.capability,
            "kernels": [_entry(kernel) for kernel in self.kernels],
            "megabytes": self.megabytes,
            "products": [
                {"name": product.name, "planned": product.format, "kernels": [kernel.layer.name for kernel in kernels],
                 "types": [kernel.dtype for kernel in kernels]}
                for product, kernels in self.products.items()
            ],
            "merged": [list(names) for names in self.merged],
            "attentions": [
                {"name": attention.name, "fused": _is_fused(kernels)} for attention, kernels in self.attentions.items()
            ],
            "findings": [finding.to_dict() for finding in self.findings],
        }  # fmt: skip


def tally(model: ir.Model, target: str, *, capability: str = "", profiles: Profiles | None = None) -> Tally:
    """Build an engine of ``model`` and count its kernels; the engine is dropped. Takes as long as the build.

    Args:
        model: a graph, quantized or not; not modified.
        target: "tensorrt" or "tensorrt-rtx".
        capability: "tensorrt-rtx" alone: the compute capability to build for; the GPU's, or else `CAPABILITY`.
        profiles: for each dynamic input its smallest, usual and largest shape; where they are the same, the engine is
            that of the static shape.

    Raises:
        TargetError: TensorRT is not there, finds no GPU, refuses a node, or cannot build; or an input has no profile.
        SourceError: the model cannot be read.
    """
    trt = tensorrt(target)
    if target == "tensorrt-rtx" and not gpu_name():
        capability = capability or CAPABILITY
    graph = qdq_graph(model, find_target(target))
    unambiguous(graph.model)
    kernels = engine_kernels(list_layers(graph.model, target, profiles=profiles or {}, capability=capability))
    by_node = dict[str, list[EngineKernel]]()
    for kernel in kernels:
        for name in kernel.layer.nodes if kernel.kind != "other" else ():
            by_node.setdefault(name, []).append(kernel)
    return Tally(
        target, trt.__version__, capability, kernels,
        {product: tuple(by_node.get(product.name, ())) for product in planned_products(graph)},
        {item: _of(item.products, by_node) for item in planned_attentions(graph)},
    )  # fmt: skip


def _of(names: tuple[str, ...], by_node: Mapping[str, list[EngineKernel]]) -> tuple[EngineKernel, ...]:
    return tuple(dict.fromkeys(kernel for name in names for kernel in by_node.get(name, ())))


def _is_fused(kernels: tuple[EngineKernel, ...]) -> bool:
    return len(kernels) == 1 and kernels[0].kind == "attention"


def _entry(kernel: EngineKernel) -> dict[str, Any]:  # JSON: values of any plain type
    layer = kernel.layer
    return {
        "name": layer.name, "kind": kernel.kind, "ops": list(kernel.words), "type": kernel.dtype,
        "weights": kernel.weights, "megabytes": layer.nbytes / 1e6, "nodes": list(layer.nodes),
    }  # fmt: skip
