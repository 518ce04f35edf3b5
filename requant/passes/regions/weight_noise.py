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


def _amplified(x: NDArray[np.float64], power: NDArray[np.float64], read_as: Reading) -> float:
    """Return the mean square of what an error of ``power`` in x, [C], makes of f(x)."""
    delta = np.sqrt(power)
    return float(np.square((read_as(x + delta) - read_as(x - delta)) / 2).mean())


def _weight_error(conv: Linear) -> NDArray[np.float64]:
    """Return the mean square of what rounding the weight adds to each channel of the output, [N].

    Of a Conv 1 × 1 the sampled rows say it, with what `Gptq` cancels: its bias takes the mean. Of others it is a sum
    over taps, as if they did not correlate.
    """
    plan, stats = quantizer(conv.weight), statistics(conv.data)
    tensor = conv.weight.const_value
    if plan is None or stats is None or tensor is None:
        return np.zeros(1)
    weight = tensor.numpy().astype(np.float64)
    integers = plan.encode(tensor.numpy()) if plan.codes is None else plan.codes
    difference = (weight - plan.decode(integers)).reshape(*weight.shape[:2], -1)  # [N, K/groups, taps]
    if conv.groups == 1 and difference.shape[2] == 1:
        added = stats.rows @ difference[:, :, 0].T
        is_corrected = plan.codes is not None and conv.bias is not None
        of_rows: NDArray[np.float64] = added.var(axis=0) if is_corrected else np.square(added).mean(axis=0)
        return of_rows
    squares = (stats.variance + stats.mean**2).reshape(conv.groups, -1)
    per_output = np.repeat(squares, conv.outputs // conv.groups, axis=0)
    error: NDArray[np.float64] = (np.square(difference).sum(axis=2) * per_output).sum(axis=1)
    return error
