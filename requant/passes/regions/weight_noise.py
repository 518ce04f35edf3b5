"""The noise that rounding the weight of a Conv makes in the model's outputs, from that of rounding its output v:

N_w = N_v · E(δ f'(v))² / E(f(v̂) - f(v))²         δ: what rounding the weight adds to v, f: the activation behind it
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ...calib.activations import activation
from ...calib.collect import statistics
from ...ir.kernels import Kernel, readers
from ...ir.linear import Linear
from ...ir.quantizer import Quantizer, quantizer
from .ranges import Reading, reading, rounded, sample
from .rounding_noise import Noise


def weight_noise(
    kernels: Sequence[Kernel], grids: Mapping[ir.Value, Quantizer], noise: Mapping[ir.Value, Noise]
) -> Iterator[tuple[ir.Node, Noise]]:
    """Yield the noise of each Conv's weight, from that of its output by the ratio of the two errors there."""
    consumers = readers(kernels)
    for kernel in kernels:
        output = kernel.outputs[0]
        entry = activation(output)
        if kernel.linear is None or output not in noise or entry is None or entry.statistics is None:
            continue
        read_as, x = reading([output], consumers.get(output, [])), sample(entry.statistics)
        error = float(np.square(read_as(rounded(x, grids[output])) - read_as(x)).mean())
        added = _weight_error(kernel.linear)
        yield kernel.linear.node, noise[output] * (_amplified(x, added, read_as) / max(error, 1e-30))


def _amplified(x: NDArray[np.float64], power: float, read_as: Reading) -> float:
    """Return the mean square of what an error of ``power`` in x makes of f(x)."""
    delta = np.sqrt(power)
    return float(np.square((read_as(x + delta) - read_as(x - delta)) / 2).mean())


def _weight_error(conv: Linear) -> float:
    """Return the mean square of what rounding the weight adds to the output, over its channels."""
    plan, stats = quantizer(conv.weight), statistics(conv.data)
    tensor = conv.weight.const_value
    if plan is None or stats is None or tensor is None:
        return 0.0
    weight = tensor.numpy().astype(np.float64)
    integers = plan.encode(tensor.numpy()) if plan.codes is None else plan.codes
    difference = np.square(weight - plan.decode(integers)).reshape(*weight.shape[:2], -1).sum(axis=2)  # [N, K/groups]
    squares = (stats.variance + stats.mean**2).reshape(conv.groups, -1)
    per_output = np.repeat(squares, conv.outputs // conv.groups, axis=0)
    return float((difference * per_output).sum(axis=1).mean())
