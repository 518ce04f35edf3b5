"""Kernels of an engine: what each computes and in which type, by the words of its name and the types of its tensors.

The builder writes the ops of a kernel into its name, such as `__myl_FcAddMulAdd`, in their order. An integer product is
a layer of its own or begins with `Fc`; where Casts stand before it, integers are dequantized first.
"""

import re
from dataclasses import dataclass
from typing import Literal

from .engine_layers import WIDTHS, EngineLayer, EngineTensor

KernelKind = Literal["product", "convolution", "attention", "other"]

TYPES = {
    "Float": "float32", "Half": "float16", "BFloat16": "bfloat16", "Int8": "int8", "FP8": "fp8", "Int4": "int4",
    "FP4": "fp4",
}  # fmt: skip
"""The type of a product by the builder's name of it."""

_KINDS: dict[str, KernelKind] = {"gemm": "product", "correlation": "convolution", "deconv": "convolution"}
_SYNCHRONIZATION = frozenset({"signal", "wait"})
_GENERATED = re.compile(r"^__myl_(\w*?)_myl\d+_\d+$")
_WORDS = re.compile("[A-Z][a-z]*")
_CASTS = frozenset({"Cast", "Mul", "Sub"})
"""Words of a dequantization before the product."""


@dataclass(frozen=True)
class EngineKernel:
    """A kernel: its ``kind``, the ``words`` for its ops in order, and the layer that the builder lists.

    ``dtype`` is the type of a product's operands, ``weights`` that of its stored weights; both are empty where there is
    no product.
    """

    layer: EngineLayer
    kind: KernelKind
    words: tuple[str, ...]
    dtype: str = ""
    weights: str = ""

    @property
    def title(self) -> str:
        """What it computes, for a table."""
        return self.kind if self.kind != "other" else "·".join(self.words) or self.layer.kind


def engine_kernels(layers: tuple[EngineLayer, ...]) -> tuple[EngineKernel, ...]:
    """Return the layers that are kernels: all but those that let one stream wait for another."""
    return tuple(_kernel(layer) for layer in layers if layer.kind not in _SYNCHRONIZATION)


def _kernel(layer: EngineLayer) -> EngineKernel:
    generated = _GENERATED.match(layer.name)
    words = tuple(_WORDS.findall(generated[1])) if generated else ()
    kind = _kind(layer, words)
    if kind == "other":
        return EngineKernel(layer, kind, words)
    weight = max(layer.constants, key=lambda tensor: tensor.nbytes, default=None)
    return EngineKernel(layer, kind, words, _dtype(layer, words), _type(weight) if weight is not None else "")


def _kind(layer: EngineLayer, words: tuple[str, ...]) -> KernelKind:
    if "_mha" in layer.name and not words:
        return "attention"
    return _KINDS.get(layer.kind, "product" if "Fc" in words else "other")


def _dtype(layer: EngineLayer, words: tuple[str, ...]) -> str:
    """Return the type that the product reads: the narrowest input's, unless that is cast to a wider one first."""
    before = words[: words.index("Fc")] if "Fc" in words else ()
    floats = [tensor for tensor in (*layer.inputs, *layer.outputs) if WIDTHS[tensor.dtype] >= WIDTHS["Half"]]
    if _CASTS.intersection(before):
        return _type(max(floats, key=_width)) if floats else ""
    return _type(min(layer.inputs, key=_width)) if layer.inputs else ""


def _width(tensor: EngineTensor) -> float:
    return WIDTHS[tensor.dtype]


def _type(tensor: EngineTensor) -> str:
    return TYPES.get(tensor.dtype, tensor.dtype)
