"""Expressions of constants, evaluated by ONNX's reference implementation each time that they are read.

    v = Mul(w, g)    ⇒    v is a tensor that multiplies when it is read

Half precision is computed in float32 and rounded behind each node, as ONNX Runtime does. A value is dropped behind its
last consumer, so that an evaluation takes the memory of its largest node, whatever their number.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

Array: TypeAlias = NDArray[np.generic]
Content: TypeAlias = Array | list[Array]
"""A tensor, or a sequence of tensors."""

_HALVES = (ir.DataType.FLOAT16.numpy(), ir.DataType.BFLOAT16.numpy())


class GatherElements(OpRun):
    """The op of this name; onnx's reference implementation takes 64 rows at most."""

    op_domain = ""

    def _run(self, data: Array, indices: NDArray[np.int64], axis: int | None = None) -> tuple[Array]:
        along = (axis or 0) % data.ndim
        rows = tuple(slice(None if place == along else size) for place, size in enumerate(indices.shape))
        return (np.take_along_axis(data[rows], indices, along),)


@dataclass(frozen=True)
class Step:
    """A node of an expression: the types of its outputs, by name, and the values that no later node reads."""

    function: onnx.FunctionProto
    inputs: frozenset[str]
    dtypes: Mapping[str, ir.DataType | None]
    dropped: frozenset[str]

    def run(self, values: Mapping[str, Content]) -> dict[str, Content]:
        """Compute the outputs of the node."""
        feeds = {name: _converted(values[name], _widened) for name in self.inputs}
        with np.errstate(all="ignore"):  # an expression may divide by zero where a Where masks it
            outputs = ReferenceEvaluator(self.function, new_ops=[GatherElements]).run(None, feeds, {})
        pairs = zip(self.dtypes.items(), outputs, strict=True)
        return {name: _converted(output, _caster(dtype)) for (name, dtype), output in pairs}


@dataclass(frozen=True)
class Expression:
    """Nodes that compute the value ``result`` of the tensors ``constants``."""

    steps: Sequence[Step]
    constants: Mapping[str, ir.TensorProtocol]
    result: str

    @classmethod
    def of(cls, result: ir.Value, nodes: Sequence[ir.Node], opset: int) -> "Expression":
        """Make the expression of ``nodes``, in order; it stays as it is when the nodes are rewritten."""
        inputs = [value for node in nodes for value in node.inputs if value is not None]
        computed = {value for node in nodes for value in node.outputs}
        constants = {_name(value): value.const_value for value in inputs if value not in computed}
        last = {_name(value): node for node in nodes for value in (*node.outputs, *node.inputs) if value is not None}
        del last[_name(result)]
        steps = [_step(node, frozenset(name for name, user in last.items() if user is node), opset) for node in nodes]
        return cls(steps, {name: tensor for name, tensor in constants.items() if tensor is not None}, _name(result))

    def evaluate(self) -> Content:
        """Compute the value of the expression."""
        values: dict[str, Content] = {}
        for step in self.steps:
            values |= {name: self.constants[name].numpy() for name in step.inputs if name not in values}
            values |= step.run(values)
            for name in step.dropped:
                del values[name]
        return values[self.result]

    def lazily(self, result: Array) -> ir.LazyTensor:
        """Wrap the expression as a tensor of the type and shape of ``result``, which is not held."""
        dtype = ir.DataType.from_numpy(result.dtype)
        return ir.LazyTensor(self._tensor, dtype=dtype, shape=ir.Shape(result.shape), name=self.result)

    def _tensor(self) -> ir.TensorProtocol:
        return ir.Tensor(np.ascontiguousarray(self.evaluate()))


def _step(node: ir.Node, dropped: frozenset[str], opset: int) -> Step:
    inputs = list(dict.fromkeys(_name(value) for value in node.inputs if value is not None))
    dtypes = {_name(value): value.dtype for value in node.outputs if value.name}
    function = onnx.helper.make_function(
        "requant", "step", inputs, list(dtypes), [ir.to_proto(node)], [onnx.helper.make_opsetid("", opset)]
    )
    return Step(function, frozenset(inputs), dtypes, dropped)


def _name(value: ir.Value) -> str:
    assert value.name is not None
    return value.name


def _converted(content: Content, convert: Callable[[Array], Array]) -> Content:
    return [convert(array) for array in content] if isinstance(content, list) else convert(content)


def _widened(array: Array) -> Array:
    return array.astype(np.float32) if array.dtype in _HALVES else array


def _caster(dtype: ir.DataType | None) -> Callable[[Array], Array]:
    """Make the function that rounds to ``dtype``."""
    if dtype is None or dtype == ir.DataType.STRING:
        return np.asarray
    return lambda array: np.asarray(array).astype(dtype.numpy(), copy=False)
