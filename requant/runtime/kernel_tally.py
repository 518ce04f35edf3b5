"""What the tallies of all engines have: kernels beside the plan of the graph that they were made of."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from .engine_kernel import EngineKernel, Kernels
from .engine_plan import PlannedProduct


@dataclass(frozen=True)
class Tally:
    """The kernels of an engine beside the plan of the graph that it was made of.

    ``products`` map those of the graph to the kernels that compute them: one where all is well, none where the engine
    lists none. ``lister`` is what lists the kernels, in a sentence.
    """

    lister: ClassVar[str] = "the engine"

    target: str
    version: str
    kernels: Kernels
    products: Mapping[PlannedProduct, Kernels]

    @property
    def title(self) -> str:
        """The engine with its version, and what it is for."""
        return f"{self.target} {self.version}"

    @property
    def megabytes(self) -> float:
        """The traffic of all kernels without caches: each tensor that one reads or writes, once and whole.

        Infinite where shapes are dynamic.
        """
        return sum(kernel.nbytes for kernel in self.kernels) / 1e6

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
    def other_kernels(self) -> dict[str, Kernels]:
        """The kernels that are no product, by the ops in them."""
        groups = dict[str, Kernels]()
        for kernel in self.kernels:
            if kernel.kind == "other":
                ops = self.ops(kernel)
                groups[ops] = (*groups.get(ops, ()), kernel)
        return groups

    def ops(self, kernel: EngineKernel) -> str:
        """Name the ops in a ``kernel`` that is no product."""
        return kernel.title

    def to_dict(self) -> dict[str, Any]:  # JSON: values of any plain type
        """Return plain dictionaries, lists and numbers."""
        return {
            "target": self.target,
            "version": self.version,
            "megabytes": self.megabytes,
            "kernels": [self._entry(kernel) for kernel in self.kernels],
            "products": [{**vars(product), **names(kernels)} for product, kernels in self.products.items()],
            "merged": [list(group) for group in self.merged_layers],
        }

    def _entry(self, kernel: EngineKernel) -> dict[str, Any]:  # JSON: values of any plain type
        layer = kernel.layer
        return {
            "name": layer.name, "kind": kernel.kind, "ops": list(kernel.words), "type": kernel.dtype,
            "weights": kernel.weights, "megabytes": kernel.nbytes / 1e6, "nodes": list(layer.nodes),
        }  # fmt: skip


def reads(kernels: Kernels, fmt: str) -> bool:
    """Tell whether ``kernels``, those of a product, read data in ``fmt`` and nothing else."""
    return {kernel.dtype for kernel in kernels} == {fmt}


def names(kernels: Kernels) -> dict[str, Any]:  # JSON: values of any plain type
    """Return the names and the types of ``kernels``."""
    return {"kernels": [kernel.layer.name for kernel in kernels], "types": [kernel.dtype for kernel in kernels]}
