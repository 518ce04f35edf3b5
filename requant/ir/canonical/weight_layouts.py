"""Weights in another layout, each made once for all nodes that read it."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ..constants import constant, is_constant, lazily

Layout = Callable[[NDArray[np.generic]], NDArray[np.generic]]


def is_left(node: ir.Node) -> bool:
    """Tell whether the first operand of ``node``, a MatMul or Gemm, is its weight."""
    return is_constant(node.inputs[0]) and not is_constant(node.inputs[1])


@dataclass(frozen=True)
class WeightLayouts:
    """The weights of ``graph`` in the layouts that were asked for, by weight, name of the layout, and shape."""

    graph: ir.Graph
    copies: dict[tuple[ir.Value, str, tuple[int, ...]], ir.Value] = field(default_factory=dict)

    def replace(self, node: ir.Node, name: str, layout: Layout, shape: tuple[int, ...]) -> None:
        """Let ``node`` read its weight, the second input, in another ``layout``, computed when it is read."""
        weight = node.inputs[1]
        assert weight is not None
        assert weight.const_value is not None
        key = weight, name, shape
        if key not in self.copies:
            tensor = lazily(layout, weight.const_value, shape=shape)
            self.copies[key] = constant(self.graph, tensor, f"{weight.name}.{name}")
        node.replace_input_with(1, self.copies[key])
