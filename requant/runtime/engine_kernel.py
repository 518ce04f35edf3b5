"""Kernels of an engine, whichever it is: what each computes, and in which type."""

from dataclasses import dataclass
from typing import Literal

from .engine_layer import EngineLayer

KernelKind = Literal["product", "convolution", "recurrent", "attention", "other"]


@dataclass(frozen=True)
class EngineKernel:
    """A kernel: its ``kind``, the ``words`` for its ops in order, and the layer that the engine lists.

    ``dtype`` is the type in which a product reads its data, ``weights`` that of the largest constant; both are empty
    where there is none.
    """

    layer: EngineLayer
    kind: KernelKind
    words: tuple[str, ...]
    dtype: str
    weights: str

    @property
    def title(self) -> str:
        """The kind and the types of a product, the ops of another kernel."""
        if self.kind == "other":
            return "·".join(self.words) or self.layer.kind
        return f"{self.kind} in {self.types}"

    @property
    def types(self) -> str:
        """The types of a product's data, and of its weights where they differ."""
        stored = f" with {self.weights} weights" if self.weights not in ("", self.dtype) else ""
        return f"{self.dtype}{stored}"

    @property
    def nbytes(self) -> float:
        """The bytes that it moves in a run; infinite where shapes are dynamic."""
        return self.layer.nbytes


Kernels = tuple[EngineKernel, ...]
