"""Small networks of Convs as text, planned and lowered for an engine whose kernels write integers."""

from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from requant.calib.activations import measure_activations
from requant.calib.collect import collect
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.constants import array
from requant.ir.load import load
from requant.passes import InsertQDQ, PlanQuantizers, SelectLayers
from requant.passes.annotations import layer_records
from requant.runtime.feeds import Feed
from requant.runtime.session import runner
from tests.passes.optimized import unintended

Arrays = Mapping[str, NDArray[np.generic]]

STEM = "c = Conv(x, u, b) r = Relu(c) p = MaxPool<kernel_shape = [2, 2]>(r)"
BLOCK = (
    f"{STEM} d = Conv(p, w, b) e = Relu(d) f = Conv<pads = [1, 1, 1, 1]>(e, v) s = Add(f, p) t = Relu(s) "
    "g = Conv(t, w, b) m = Clip(g, zero, six) k = Conv(m, w) l = Add(t, k) y = GlobalAveragePool(l)"
)
WEIGHTS = {"u": (32, 3, 3, 3), "w": (32, 32, 1, 1), "q": (32, 32, 1, 1), "v": (32, 32, 3, 3), "b": (32,)}


def random(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return small normal draws, the same for each shape."""
    return (0.1 * np.random.default_rng(len(shape) + shape[-1]).normal(size=shape)).astype(np.float32)


def source(body: str, weights: Arrays | None = None, side: int = 14) -> onnx.ModelProto:
    """Return the network of ``body`` from ``x`` [1, 3, side, side] to ``y``, with `WEIGHTS` and ``weights``."""
    header = '<ir_version: 8, opset_import: ["": 17]>'
    arrays: dict[str, NDArray[np.generic]] = {name: random(shape) for name, shape in WEIGHTS.items()}
    arrays |= {"zero": np.zeros((), np.float32), "six": np.full((), 6, np.float32), **(weights or {})}
    text = f"{header} g (float[1, 3, {side}, {side}] x) => (float[n, k, h, w] y) {{ {body} }}"
    proto = onnx.parser.parse_model(text)
    read = {name for node in proto.graph.node for name in node.input}
    read -= {name for node in proto.graph.node for name in node.output}
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(array, name) for name, array in arrays.items() if name in read
    )
    return proto


def feeds(count: int = 4, side: int = 14) -> list[Feed]:
    """Return normal draws for ``x``."""
    rng = np.random.default_rng(1)
    return [{"x": rng.normal(size=(1, 3, side, side)).astype(np.float32)} for _ in range(count)]


def measured(proto: onnx.ModelProto, data: list[Feed] | None = None) -> ir.Model:
    """Return the canonical model with the statistics of ``data``."""
    model = load(proto)
    canonicalize(model)
    collect(model, data or feeds())
    measure_activations(model, data or feeds())
    return model


def planned(body: str, target: str = "cpu", weights: Arrays | None = None, keep: tuple[str, ...] = ()) -> ir.Model:
    """Return the network of ``body`` with a plan in int8."""
    model = measured(source(body, weights))
    SelectLayers(keep, target)(model)
    PlanQuantizers()(model)
    return model


def lowered(model: ir.Model, target: str = "cpu") -> ir.Model:
    """Return the artifact of a planned ``model``, in which `check` finds nothing."""
    copy = model.clone()
    InsertQDQ(target)(copy)
    assert unintended(copy, target) == []
    return copy


def output(model: ir.Model, feed: Feed, *, optimized: bool = False) -> NDArray[np.float64]:
    """Return the first output of ``model``."""
    return runner(model, optimized=optimized)(feed)[0].astype(np.float64)


def last_step(artifact: ir.Model) -> float:
    """Return the step of the first output, which a DequantizeLinear writes."""
    node = artifact.graph.outputs[0].producer()
    assert node is not None
    assert node.op_type == "DequantizeLinear"
    return float(array(node.inputs[1]))  # type: ignore[arg-type]  # a constant


def reasons(model: ir.Model) -> list[str]:
    """Return the reasons of the layers that stay in float."""
    return [record.reason for record in layer_records(model) if record.reason]
