"""The tally: recorded lists of layers beside the graphs that they came from, and the real builder where it is."""

from types import SimpleNamespace

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import requant
from models import synthetic
from requant.errors import BuildError, TargetError
from requant.ir.load import load
from requant.runtime import EngineTally, tally
from requant.runtime.tally_findings import tally_findings
from requant.runtime.trt.roofline import GPUS, microseconds
from tests.engine import needs_tensorrt_rtx
from tests.runtime.trt.fake_tensorrt import Calls, fake_tensorrt_rtx
from tests.runtime.trt.listings import listing

WEIGHTS: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]] = {
    "W": np.ones((256, 512), np.int8),
    "D": np.ones((64, 64, 2, 2), np.int8),
    "z": np.array(0, np.int8),
    "zx": np.zeros(256, np.int8),
    "s": np.array(0.1, np.float16),
    "s32": np.array(0.1, np.float32),
    "sx": np.full(256, 0.1, np.float32),
    "sw": np.full(512, 0.1, np.float32),
    "sd": np.full(64, 0.1, np.float32),
}

GRAPHS = {
    "activation_scales": """(float[128,256] x) => (float[128,512] y) {
        q = QuantizeLinear <axis=1> (x, sx, zx) d = DequantizeLinear <axis=1> (q, sx, zx)
        w = DequantizeLinear <axis=1> (W, sw) y = MatMul(d, w) }""",
    "weight_of_a_row": """(float16[1,256] x) => (float16[1,512] y) {
        w = DequantizeLinear <axis=1, output_dtype=10> (W, sw) p = MatMul(x, w) y = Relu(p) }""",
    "conv_transpose": """(float16[2,64,28,28] x) => (float16[2,64,56,56] y) {
        q = QuantizeLinear(x, s, z) d = DequantizeLinear <output_dtype=10> (q, s32, z)
        w = DequantizeLinear <axis=1, output_dtype=10> (D, sd) y = ConvTranspose <strides=[2,2]> (d, w) }""",
}

SPEC = synthetic.Transformer(256, 4, 1, hidden=1024, tokens=64, batch=8)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Put a fake TensorRT-RTX in place."""
    return fake_tensorrt_rtx(monkeypatch)


def model(text: str) -> ir.Model:
    """Build a graph whose nodes are named as those of the recorded lists are: after output and type."""
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 23]> g {text}')
    reads = {name for node in proto.graph.node for name in node.input}
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(array, name) for name, array in WEIGHTS.items() if name in reads
    )
    for node in proto.graph.node:
        node.name = f"{node.output[0]}_{node.op_type}"
    return ir.from_proto(proto)


def artifact(precision: requant.result.Precision, recipe: str = "int8-plain") -> ir.Model:
    source = synthetic.pre_norm(SPEC)
    feeds = [dict(feed) for feed in synthetic.feeds(source, 2)]
    return requant.optimize(source, feeds, recipe, "tensorrt-rtx", precision=precision).model


def recorded(name: str, graph: ir.Model, calls: Calls) -> EngineTally:
    calls.listing = listing(name)
    return tally(graph, "tensorrt-rtx")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "activation_scales",
            "y_MatMul: built-product: runs in float: planned in int8, "
            "the builder lists product in float32 with int8 weights",
        ),
        (
            "conv_transpose",
            "y_ConvTranspose: built-product: runs in float: planned in int8, the builder lists convolution in float16",
        ),
    ],
)
def test_a_planned_product_in_float_is_found(name: str, text: str, calls: Calls) -> None:
    (finding,) = tally_findings(recorded(name, model(GRAPHS[name]), calls))
    assert text in str(finding)


def test_a_product_of_a_row_reads_its_weight_as_it_is_stored(calls: Calls) -> None:
    result = recorded("weight_of_a_row", model(GRAPHS["weight_of_a_row"]), calls)
    ((product, kernels),) = result.products.items()
    assert (product.data, product.weight, [one.weights for one in kernels]) == ("", "int8", ["int8"])
    assert tally_findings(result) == []
    assert list(result.other_kernels) == ["DequantizeLinear, MatMul, Relu"]


def test_a_weight_that_is_dequantized_in_every_run_is_found(calls: Calls) -> None:
    graph = model(GRAPHS["conv_transpose"].replace("(d, w)", "(x, w)"))
    rules = {finding.rule: finding.consequence for finding in tally_findings(recorded("conv_transpose", graph, calls))}
    assert rules == {
        "built-weight": "slower: a kernel of its own dequantizes the weight in every run for convolution in float16"
    }


def test_a_product_that_the_builder_does_not_list_is_found(calls: Calls) -> None:
    graph = model(GRAPHS["activation_scales"].replace("y = MatMul(d, w)", "p = MatMul(d, w) y = Relu(p)"))
    result = recorded("weight_of_a_row", graph, calls)
    (finding,) = tally_findings(result)
    assert "planned in int8, the builder lists Cast·Mul·Cast·Resh·Mul·Sum·Relu" in finding.consequence


def test_an_artifact_in_float16_is_as_planned(calls: Calls) -> None:
    result = recorded("pre_norm_int8_float16", artifact("float16"), calls)
    assert tally_findings(result) == []
    assert result.merged_layers == [("layers.0.matmul_0", "layers.0.matmul_1", "layers.0.matmul_2")]
    assert (len(result.kernels), len(result.fused_attentions), round(result.megabytes, 1)) == (15, 1, 17.4)
    assert result.types == {"product in int8": 5, "attention in float16": 1}
    assert result.formats == {"int8": (7, 7)}
    assert result.other_kernels.keys() >= {"Add, DequantizeLinear, LayerNormalization, QuantizeLinear", "Transpose"}


def test_attention_in_float32_is_found(calls: Calls) -> None:
    (finding,) = tally_findings(recorded("pre_norm_int8_float32", artifact("float32"), calls))
    assert finding.rule == "built-attention"
    assert finding.consequence.startswith("slower: attention is not one kernel, but product in float32")
    assert finding.fix == 'precision="float16"'


def test_an_estimate_is_the_sum_over_kernels(calls: Calls) -> None:
    result = recorded("pre_norm_int8_float16", artifact("float16"), calls)
    slow, fast = (microseconds(result.kernels, GPUS[name]) for name in ("l4", "4090"))
    assert 15 * 2 < fast < slow < 100


def test_the_build_is_detailed_and_for_the_capability(calls: Calls) -> None:
    graph = model(GRAPHS["activation_scales"])
    calls.listing = listing("activation_scales")
    assert tally(graph, "tensorrt-rtx").capability == "8.9"
    assert tally(graph, "tensorrt-rtx", capability="12.0").capability == "12.0"
    assert (calls.capabilities, calls.verbosity) == (["sm89", "sm120"], "detailed")


def test_one_shape_makes_a_static_input(calls: Calls) -> None:
    calls.listing = listing("activation_scales")
    calls.inputs = [SimpleNamespace(name="x", shape=(-1, 256))]
    graph = model(GRAPHS["activation_scales"].replace("128,", "b,"))
    tally(graph, "tensorrt-rtx", profiles={"x": ((8, 256),) * 3})
    assert (calls.inputs[0].shape, calls.shapes) == ((8, 256), [])
    calls.inputs[0].shape = (-1, 256)
    three = (1, 256), (8, 256), (16, 256)
    tally(graph, "tensorrt-rtx", profiles={"x": three})
    assert (calls.inputs[0].shape, calls.shapes) == ((-1, 256), [("x", *three)])


def test_nodes_get_names_of_their_own_and_those_of_the_model_stay(calls: Calls) -> None:
    graph = model(GRAPHS["activation_scales"])
    for node, name in zip(graph.graph, ("", "a", "a", None), strict=True):
        node.name = name
    calls.listing = listing("activation_scales")
    names = list(tally(graph, "tensorrt-rtx").op_types)
    assert len(set(names)) == 4
    assert "" not in names
    (parsed,) = calls.parsed
    assert isinstance(parsed, bytes)
    assert [node.name for node in onnx.load_from_string(parsed).graph.node] == names
    assert [node.name for node in graph.graph][:3] == ["", "a", "a"]


def test_a_builder_that_lists_nothing_or_refuses_is_an_error(calls: Calls) -> None:
    graph = model(GRAPHS["activation_scales"])
    with pytest.raises(TargetError, match="lists no layers in the log of its build"):
        tally(graph, "tensorrt-rtx")
    calls.refuses = "no tactic"
    with pytest.raises(BuildError, match="cannot build the model: no tactic"):
        tally(graph, "tensorrt-rtx")


@needs_tensorrt_rtx
def test_the_real_builder_lists_what_was_recorded() -> None:
    result = tally(artifact("float16"), "tensorrt-rtx")
    assert tally_findings(result) == []
    assert result.types == {"product in int8": 5, "attention in float16": 1}
    assert result.merged_layers == [("layers.0.matmul_0", "layers.0.matmul_1", "layers.0.matmul_2")]


@needs_tensorrt_rtx
@pytest.mark.trt
@pytest.mark.parametrize(
    ("recipe", "product"),
    [
        ("fp8", "product in fp8"),
        ("int8-weight", "product in float16 with int8 weights"),
        ("int4-weight", "product in float16 with int4 weights"),
    ],
)
@pytest.mark.parametrize("capability", ["8.9", "12.0"])
def test_the_real_builder_makes_what_is_planned(recipe: str, product: str, capability: str) -> None:
    result = tally(artifact("float16", recipe), "tensorrt-rtx", capability=capability)
    assert (set(result.types), tally_findings(result)) == ({product, "attention in float16"}, [])


@needs_tensorrt_rtx
@pytest.mark.trt
@pytest.mark.parametrize("name", GRAPHS)
def test_recorded_lists_are_those_of_the_real_builder(name: str, calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = model(GRAPHS[name])
    old = recorded(name, graph, calls)
    monkeypatch.undo()
    new = tally(graph, "tensorrt-rtx")
    assert [one.title for one in new.kernels] == [one.title for one in old.kernels]
    assert new.megabytes == old.megabytes


@needs_tensorrt_rtx
@pytest.mark.trt
def test_dynamic_shapes_have_kernels_and_no_traffic() -> None:
    source = load(synthetic.pre_norm(synthetic.Transformer(128, 4, 1, tokens=64)))
    dynamic = tally(source, "tensorrt-rtx", profiles={"x": ((1, 64, 128), (2, 64, 128), (4, 64, 128))})
    static = tally(source, "tensorrt-rtx", profiles={"x": ((2, 64, 128),) * 3})
    assert len(dynamic.kernels) == len(static.kernels)
    assert (static.megabytes < 10, dynamic.megabytes) == (True, float("inf"))
