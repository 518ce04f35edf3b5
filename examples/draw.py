"""An ONNX graph as a mermaid diagram: python -m examples.draw MODEL.onnx"""

import sys
from collections.abc import Iterator

import onnx_ir as ir

from requant.ir import load

QUANTIZERS = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")
"""Ops that are drawn dashed."""


def mermaid(model: ir.Model) -> str:
    """Draw the nodes of ``model`` and what they hand on; weights are left out, quantizers dashed."""
    return "\n".join(_lines(model.graph))


def _lines(graph: ir.Graph) -> Iterator[str]:
    yield "flowchart TD"
    names = {value: f"i{index}" for index, value in enumerate(graph.inputs)}
    yield from (f'    {name}(["{value.name}"])' for value, name in names.items())
    for index, node in enumerate(graph):
        yield f'    n{index}["{node.op_type}"]{":::quantizer" if node.op_type in QUANTIZERS else ""}'
        producers = dict.fromkeys(names[value] for value in node.inputs if value in names)
        yield from (f"    {producer} --> n{index}" for producer in producers)
        names |= dict.fromkeys(node.outputs, f"n{index}")
    yield from (f'    {names[value]} --> o{index}(["{value.name}"])' for index, value in enumerate(graph.outputs))
    yield "    classDef quantizer stroke-dasharray: 4 3"


if __name__ == "__main__":
    print(mermaid(load(sys.argv[1])))
