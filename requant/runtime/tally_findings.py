"""The findings of a tally: where the engine is not what the graph plans."""

from collections.abc import Iterator

from .check import Finding
from .engine_kernel import Kernels
from .kernel_tally import Tally, reads
from .trt.engine_tally import EngineTally, is_fused


def tally_findings(tally: Tally) -> list[Finding]:
    """List the quantized products that run in float, weights that are dequantized, and attentions in several kernels.

    The names of the rules begin with "built-", those of `requant.check` do not.
    """
    attentions = _open_attentions(tally) if isinstance(tally, EngineTally) else ()
    return [*_float_products(tally), *_dequantized_weights(tally), *attentions]


def _float_products(tally: Tally) -> Iterator[Finding]:
    for product, kernels in tally.products.items():
        if product.format and not reads(kernels, product.format):
            consequence = f"runs in float: planned in {product.format}, {tally.lister} lists {_titles(kernels)}"
            yield Finding("built-product", product.name, consequence, "leave the layer in float")


def _dequantized_weights(tally: Tally) -> Iterator[Finding]:
    built = isinstance(tally, EngineTally)
    fix = (
        "a weight in blocks, or several rows of data" if built else "quantize the data too, or keep the weight in float"
    )
    for product, kernels in tally.products.items():
        if product.weight and not product.data and {kernel.weights for kernel in kernels} != {product.weight}:
            consequence = f"slower: a kernel of its own dequantizes the weight in every run for {_titles(kernels)}"
            yield Finding("built-weight", product.name, consequence, fix)


def _open_attentions(tally: EngineTally) -> Iterator[Finding]:
    for attention, kernels in tally.attentions.items():
        if not kernels and not attention.format:
            continue  # a single query: its products are sums in kernels of other ops
        if not is_fused(kernels):
            wide = any(kernel.dtype == "float32" for kernel in kernels)
            fix = 'precision="float16"' if wide else "quantize Q, K, V and the softmax, or none of them"
            consequence = f"slower: attention is not one kernel, but {_titles(kernels)} and what is between"
            yield Finding("built-attention", attention.name, consequence, fix)
        elif attention.format and not reads(kernels, attention.format):
            consequence = f"runs in float: planned in {attention.format}, the builder lists {_titles(kernels)}"
            yield Finding("built-attention", attention.name, consequence, "leave the attention in float")


def _titles(kernels: Kernels) -> str:
    return ", ".join(kernel.title for kernel in kernels) or "no kernel"
