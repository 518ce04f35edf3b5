"""A linear Einsum as a MatMul with a constant weight, between Transposes and Reshapes where its axes lie otherwise.

bihd,hde->bie    =    x[b, i, (hd)] W[(hd), e]                   h and d are contracted
bid,dhe->bihe    =    x[b, i, d] W[d, (he)]                      h and e are outputs
bhid,hde->bhie   =    x[b, h, i, d] W[h, d, e]                   for each h, a matrix of its own
"""

from dataclasses import dataclass
from math import prod

import onnx_ir as ir

from ..build import follow, precede
from ..constants import constant_shape, is_constant
from ..linear import FEWEST_CHANNELS
from ..refusal import Refusal
from .weight_layouts import WeightLayouts

_FIRST_PLACEHOLDER = 0x100
"""The first letter for axes that an ellipsis stands for; ONNX allows a to z and A to Z."""


@dataclass(frozen=True)
class EinsumProduct:
    """The labels of an Einsum of data and a weight, by what it does along them.

    ``rows`` are in the data and the output, ``batch`` in all three, ``inputs`` (contracted) in data and weight,
    ``outputs`` in the weight and the output. ``position`` is the input that is the weight.
    """

    position: int
    data: str
    weight: str
    output: str
    rows: str
    batch: str
    inputs: str
    outputs: str

    def sizes(self, labels: str, shape: tuple[int, ...]) -> list[int]:
        """Return the sizes of axes of the weight."""
        return [shape[self.weight.index(label)] for label in labels]


def as_product(node: ir.Node) -> EinsumProduct | Refusal | None:
    """View ``node`` as a product with a weight, or refuse to write it as a MatMul; None for no layer."""
    constants = [position for position, value in enumerate(node.inputs) if is_constant(value)]
    if len(constants) != 1:
        return None
    terms = _terms(node, constants[0])
    if terms is None:
        return Refusal.at(node, "its equation does not fit a MatMul")
    data, weight, output = terms
    inputs = "".join(label for label in data if label in weight and label not in output)
    outputs = "".join(label for label in output if label in weight and label not in data)
    if not inputs:
        return None
    rows = "".join(label for label in output if label in data and label not in weight)
    batch = "".join(label for label in weight if label in data and label in output)
    product = EinsumProduct(constants[0], data, weight, output, rows, batch, inputs, outputs)
    if len(rows + batch + inputs) != len(data) or len(batch + inputs + outputs) != len(weight):
        return Refusal.at(node, "it sums its data or its weight, or takes a diagonal")
    shape = constant_shape(node.inputs[constants[0]])
    channels = prod(product.sizes(inputs, shape)), prod(product.sizes(outputs, shape))
    if min(channels) < FEWEST_CHANNELS:
        reason = f"{channels[0]} to {channels[1]} channels are too few for an integer kernel to pay"
        return Refusal.at(node, reason)
    return product


def _terms(node: ir.Node, position: int) -> tuple[str, str, str] | None:
    """Return the labels of data, weight and output; None where there are not two inputs, or a rank is unknown."""
    equation = node.attributes.get_string("equation", "").replace(" ", "")
    left, arrow, output = equation.partition("->")
    terms = left.split(",")
    data = node.inputs[1 - position] if len(terms) == len(node.inputs) == 2 else None
    if data is None or data.shape is None:
        return None
    labels, weight = terms[1 - position], terms[position]
    if not arrow:
        single = sorted(label for label in left if left.count(label) == 1 and label.isalpha())
        output = ("..." if "..." in labels else "") + "".join(single)
    hidden = len(data.shape) - len(labels.replace("...", ""))
    letters = "".join(chr(_FIRST_PLACEHOLDER + index) for index in range(hidden))
    labels, output = labels.replace("...", letters), output.replace("...", letters)
    fits = len(labels) == len(data.shape) and len(weight) == len(constant_shape(node.inputs[position]))
    return (labels, weight, output) if fits and "." not in weight + output else None


def as_matmul(weights: WeightLayouts, node: ir.Node) -> bool:
    """Turn a linear Einsum into a MatMul."""
    product = as_product(node)
    if not isinstance(product, EinsumProduct):
        return False
    shape = constant_shape(node.inputs[product.position])
    data, weight = node.inputs[1 - product.position], node.inputs[product.position]
    node.op_type = "MatMul"
    node.attributes.clear()
    node.replace_input_with(0, data)
    node.replace_input_with(1, weight)
    wanted = product.batch + product.inputs + product.outputs
    matrices = [
        *product.sizes(product.batch, shape),
        prod(product.sizes(product.inputs, shape)),
        prod(product.sizes(product.outputs, shape)),
    ]
    order = [product.weight.index(label) for label in wanted]
    name = f"matrix.{''.join(map(str, order))}"
    weights.replace(node, name, lambda array: array.transpose(order).reshape(matrices), tuple(matrices))
    leading = _lay_out_data(weights.graph, node, product, matrices)
    _lay_out_output(weights.graph, node, product, leading, product.sizes(product.outputs, shape))
    return True


def _lay_out_data(graph: ir.Graph, node: ir.Node, product: EinsumProduct, matrices: list[int]) -> str:
    """Bring the data into the order of the MatMul; returns the labels of its axes before the channels."""
    rows = product.rows
    own = "".join(label for label in product.data if label in rows)
    as_is = _order(own, product.batch)
    leading = as_is if product.data == as_is + product.inputs else _order(rows, product.batch)
    perm = [product.data.index(label) for label in leading + product.inputs]
    if perm != sorted(perm):
        precede(graph, node, 0, "Transpose", perm=perm)
    if product.batch and not rows:
        precede(graph, node, 0, "Reshape", [*matrices[:-2], 1, matrices[-2]])
    elif len(product.inputs) > 1:
        precede(graph, node, 0, "Reshape", [0] * len(leading) + [matrices[-2]])
    return leading


def _order(rows: str, batch: str) -> str:
    """Return the axes as a MatMul takes them: those of a batch stand before the last row axis."""
    return rows[:-1] + batch + rows[-1:]


def _lay_out_output(graph: ir.Graph, node: ir.Node, product: EinsumProduct, leading: str, sizes: list[int]) -> None:
    """Bring the product into the order of the output."""
    labels = leading + product.outputs
    perm = [labels.index(label) for label in product.output]
    if perm != sorted(perm):
        follow(graph, node, "Transpose", perm=perm)
    if len(sizes) > 1 or (product.batch and not product.rows):
        follow(graph, node, "Reshape", [0] * len(leading) + sizes)
