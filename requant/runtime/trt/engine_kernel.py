"""Kernels of TensorRT: what each computes and in which type, by the words of its name and the types of its tensors.

The builder writes the ops of a kernel into its name, such as `__myl_FcAddMulAdd`, in their order. A product of integers
is a layer of its own; where Casts stand before `Fc`, integers are dequantized first.
"""

import re
from collections.abc import Iterable

from ..engine_kernel import EngineKernel, KernelKind
from ..engine_layer import WIDTHS, EngineLayer, EngineTensor

_KINDS: dict[str, KernelKind] = {"gemm": "product", "correlation": "convolution", "deconv": "convolution"}
_NO_KERNELS = frozenset({"signal", "wait", "shape_call"})
"""Layers that let one stream wait for another, or that compute shapes."""
_GENERATED = re.compile(r"^__myl_(\w*?)_myl\d+_\d+$")
_ATTENTION = re.compile(r"^_gemm_mha_v\d+_myl\d+_\d+$")
_WORDS = re.compile("[A-Z][a-z]*")
_PRODUCT = "Fc"


def engine_kernels(layers: Iterable[EngineLayer]) -> tuple[EngineKernel, ...]:
    """Return the layers that are kernels: all but those that run none."""
    return tuple(_kernel(layer) for layer in layers if layer.kind not in _NO_KERNELS)


def _kernel(layer: EngineLayer) -> EngineKernel:
    generated = _GENERATED.match(layer.name)
    words = tuple(_WORDS.findall(generated[1])) if generated else ()
    kind = _kind(layer, words)
    dtype = "" if kind == "other" else _dtype(layer, words)
    matrices = [tensor for tensor in layer.constants if len(tensor.shape) > 1]
    weight = max(matrices, key=lambda tensor: tensor.elements, default=None)
    return EngineKernel(layer, kind, words, dtype, weight.dtype if weight is not None else "")


def _kind(layer: EngineLayer, words: tuple[str, ...]) -> KernelKind:
    if _ATTENTION.match(layer.name):
        return "attention"
    return _KINDS.get(layer.kind, "product" if _PRODUCT in words else "other")


def _dtype(layer: EngineLayer, words: tuple[str, ...]) -> str:
    """Return the type of the narrowest input, unless it is cast to a wider one before the product."""
    tensors = (*layer.inputs, *layer.outputs)
    if _PRODUCT in words and "Cast" in words[: words.index(_PRODUCT)]:
        floats = [tensor for tensor in tensors if WIDTHS.get(tensor.dtype, 0) > 1]
        return max(floats, key=_width).dtype if floats else ""
    return min(layer.inputs, key=_width).dtype if layer.inputs else ""


def _width(tensor: EngineTensor) -> float:
    return WIDTHS.get(tensor.dtype, 0)
