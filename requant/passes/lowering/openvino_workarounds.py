"""A workaround for OpenVINO, which scales the output of an integer Conv for some of its consumers only:

    y = Conv(DQ(q), DQ(w))    becomes    y = Conv(DQ(q), DQ(w), 2⁻²⁴)        where several nodes read y

It fuses the scale into the kernel for all consumers, after it has moved it behind others of them (shapes not all
known; 2026.4.1). With a bias in between it does not, and one of zeros it removes.
"""

from collections.abc import Iterable

from ...ir.linear import Linear
from ...runtime.fixes.biases import small_bias
from ...runtime.targets.openvino_rules import has_bias


def bias_shared_outputs(layers: Iterable[Linear]) -> None:
    """Give the quantized Convs among ``layers`` that have several consumers and no bias a very small one."""
    for linear in layers:
        output = linear.node.outputs[0]
        shared = len(output.uses()) + output.is_graph_output() > 1
        if linear.node.op_type == "Conv" and shared and not has_bias(linear.node):
            small_bias(linear.node)
