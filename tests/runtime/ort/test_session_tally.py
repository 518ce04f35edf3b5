"""The tally of a session: kernels as ONNX Runtime runs them, their bytes, and the layers that they compute."""

import json
from collections.abc import Callable

import onnx
import onnx_ir as ir
import pytest

import requant
from models import synthetic
from requant.errors import BuildError, TargetError
from requant.ir.load import load
from requant.runtime import SessionTally, tally
from requant.runtime.check import check
from requant.runtime.ort import session_tally
from requant.runtime.ort.profiled_graph import ProfiledNode
from requant.runtime.ort.session_kernel import session_kernels
from requant.runtime.profiles import Profiles
from requant.runtime.tally_findings import tally_findings
from tests.engine import needs
from tests.runtime.check_graphs import CONV, UINT8, M, W, Y, graph, qdq, weight
from tests.runtime.engine_facts import BAD, GOOD

Build = Callable[[str], onnx.ModelProto]

ROW = 2 * 3 * 16
"""Elements of x in most of the graphs."""

LOOP = """(float[4,16] x) => (float z) <float[16,16] W, int64[1] n = {3}, bool t = {1}> {
    z = Loop (n, t, x) <body = l (int64 i, bool k, float[4,16] s) => (bool o, float[4,16] u) {
        o = Identity(k) u = MatMul(s, W) }> }"""

ADDED = UINT8 + qdq("u128", "z", "zd") + "a = Add (xd, zd)\n" + qdq("u128", "a", "y")


def shapes(model: ir.Model) -> Profiles:
    sizes = {
        value.name or "": [size if isinstance(size, int) else 3 for size in value.shape or ()]
        for value in model.graph.inputs
    }
    return {name: (dims, dims, dims) for name, dims in sizes.items()}


def counted(model: ir.Model) -> SessionTally:
    return tally(model, "cpu", profiles=shapes(model), threads=1)


def consequences(name: str) -> set[str]:
    """Say what the rules find in a graph, for the ONNX Runtime that is installed."""
    _, body, options = BAD[name]
    violations = [one for one in check(graph(body, **options), "cpu") if one.rule != "nothing-quantized"]
    return {one.consequence.partition(":")[0] for one in violations}


def ops(result: SessionTally) -> list[str]:
    return [kernel.layer.kind for kernel in result.kernels]


def test_kernels_have_types_shapes_bytes_and_times() -> None:
    result = counted(graph("m = MatMul (x, wf) r = Relu (m) y = Softmax (r)"))
    product, relu, softmax = result.kernels
    assert (product.title, product.kind, product.weights) == ("MatMul in float32", "product", "float32")
    assert [(tensor.dtype, tensor.shape) for tensor in product.layer.inputs] == [("float32", (2, 3, 16))]
    assert [(tensor.dtype, tensor.shape) for tensor in product.layer.constants] == [("float32", (16, 16))]
    assert (product.nbytes, relu.nbytes) == (4 * (2 * ROW + 256), 4 * 2 * ROW)
    assert result.megabytes == 4 * (6 * ROW + 256) / 1e6
    assert list(result.other_kernels) == ["Relu", "Softmax"]
    assert result.milliseconds == sum(kernel.microseconds for kernel in (product, relu, softmax)) / 1e3 > 0


def test_what_is_picked_from_a_table_counts_and_not_the_table() -> None:
    (gather,) = counted(graph("y = Gather (wf, i)", "int64[2] i")).kernels
    assert gather.nbytes == 2 * 8 + 2 * 4 * 2 * 16


def test_an_integer_product_has_the_weight_that_it_has_packed() -> None:
    result = counted(graph(UINT8 + W + Y))
    quantize, product = result.kernels
    assert (quantize.title, quantize.nbytes) == ("QuantizeLinear", 4 * ROW + 4 + 1 + ROW)
    assert product.title == "MatMulIntegerToFloat in int8"
    assert {((16, 16), "int8"), ((16,), "float32")} <= {(one.shape, one.dtype) for one in product.layer.constants}
    assert result.formats == {"int8": (1, 1)}
    assert result.quantizers == [quantize]


def test_a_view_moves_nothing_unless_it_is_an_output() -> None:
    view = counted(graph("r = Flatten <axis = 2> (x) y = Relu (r)"))
    output = counted(graph("r = Relu (x) y = Flatten <axis = 2> (r)"))
    assert [kernel.nbytes for kernel in view.kernels] == [0, 8 * ROW]
    assert [kernel.nbytes for kernel in output.kernels] == [8 * ROW, 8 * ROW]


@pytest.mark.parametrize("name", [name for name in BAD if consequences(name) == {"runs in float"}])
def test_a_layer_that_the_rules_say_is_in_float_is_found(name: str) -> None:
    _, body, options = BAD[name]
    (finding,) = tally_findings(counted(graph(body, **options)))
    assert finding.rule in ("built-product", "built-weight")
    assert "float32" in finding.consequence


@pytest.mark.parametrize("name", GOOD)
def test_nothing_is_found_where_the_rules_find_nothing(name: str) -> None:
    body, options = GOOD[name]
    assert tally_findings(counted(graph(body, **options))) == []


@pytest.mark.parametrize(
    ("body", "x"),
    [
        (
            "q, t, z = DynamicQuantizeLinear (x) m = MatMulInteger (q, w, z) c = Cast <to = 1> (m) y = Mul (c, t)",
            "float[2,3,16] x",
        ),
        (UINT8 + CONV + qdq("u128", "c", "y"), "float[1,16,6,6] x"),
    ],
    ids=["scaled at run time", "Conv"],
)
def test_layers_on_integers(body: str, x: str) -> None:
    result = counted(graph(body, x))
    ((product, kernels),) = result.products.items()
    assert (product.data, product.weight, [one.dtype for one in kernels]) == ("int8", "int8", ["int8"])
    assert tally_findings(result) == []


@pytest.mark.parametrize(
    ("body", "dtype"),
    [
        ("p = Conv (x, kf) o = Conv (p, kf) r = Relu (o) c = Conv (r, kf) y = Relu (c)", "float32"),
        (
            UINT8 + CONV + qdq("u128", "c", "cd") + "e = Conv (cd, wd)" + qdq("u128", "e", "ed") + "g = Sigmoid (ed)"
            + qdq("u0", "g", "gd") + "f = Conv (gd, wd)" + qdq("u128", "f", "y"),
            "int8",
        ),
    ],
    ids=["in blocks", "channels last"],
)  # fmt: skip
def test_each_layer_of_a_chain_has_its_kernel_in_any_layout(body: str, dtype: str) -> None:
    result = counted(graph(body, "float[1,16,6,6] x"))
    kernels = [kernel for group in result.products.values() for kernel in group]
    assert (len(result.products), len(set(kernels)), {one.dtype for one in kernels}) == (3, 3, {dtype})
    assert {one.kind for one in kernels} == {"convolution"}
    assert result.merged_layers == []


@needs("MatMulNBits of 8 bits")
def test_a_weight_alone_is_read_as_it_is_stored() -> None:
    result = counted(graph(W + "y = MatMul (x, wd)"))
    ((product, kernels),) = result.products.items()
    assert (product.format, product.weight) == ("", "int8")
    assert [one.title for one in kernels] == ["MatMulNBits in float32 with int8 weights"]
    assert tally_findings(result) == []


def test_a_weight_that_is_dequantized_in_every_run_is_found() -> None:
    result = counted(graph(weight("kernel", axis=0) + "y = Conv (x, wd)", "float[1,16,6,6] x"))
    (finding,) = tally_findings(result)
    assert (finding.rule, finding.fix) == ("built-weight", "quantize the data too, or keep the weight in float")
    assert len(result.quantizers) == 1


def test_nodes_between_dq_and_q_are_on_integers_or_not() -> None:
    result = counted(graph(ADDED, "float[2,3,16] x, float[2,3,16] z"))
    assert (result.integer_nodes, list(result.between)) == (["a"], ["a"])
    assert "QLinearAdd" in ops(result)
    result = counted(graph(ADDED.replace("Add", "Sub"), "float[2,3,16] x, float[2,3,16] z"))
    assert (result.integer_nodes, list(result.between)) == ([], ["a"])
    assert result.between["a"].title == "Sub"


def test_a_loop_runs_its_kernels_several_times(build: Build) -> None:
    loop, product = (next(one for one in counted(load(build(LOOP))).kernels if one.layer.name == name) for name in "zu")
    assert (loop.calls, product.calls, product.title) == (1, 3, "MatMul in float32")
    assert product.nbytes == 3 * 4 * (2 * 4 * 16 + 16 * 16)


def test_a_branch_that_is_not_taken_takes_no_time(build: Build) -> None:
    text = """(bool c, float[4,16] x) => (float y) <float[16,16] W> {
        y = If (c) <then_branch = a () => (float p) { p = MatMul(x, W) },
                    else_branch = b () => (float p) { p = Relu(x) }> }"""
    result = counted(load(build(text)))
    branches = {one.layer.kind: one for one in result.kernels if one.layer.name.startswith("p")}
    assert sorted(one.calls for one in branches.values()) == [0, 1]
    assert branches["MatMul"].title == "MatMul in float32"


def test_a_node_with_a_body_takes_what_the_nodes_in_it_do_not(build: Build) -> None:
    model = load(build(LOOP))
    nodes = [ProfiledNode(node, 100.0 if node.op_type == "Loop" else 10.0, 1) for node in model.graph.all_nodes()]
    times = {node.op_type: kernel.microseconds for node, kernel in session_kernels(nodes, {}).items()}
    assert times == {"Loop": 80.0, "Identity": 10.0, "MatMul": 10.0}


def test_a_dynamic_input_runs_in_its_usual_shape() -> None:
    model = graph(UINT8 + W + Y, "float[n,16] x")
    with pytest.raises(TargetError, match="input 'x' of shape nx16 is dynamic"):
        tally(model, "cpu")
    result = tally(model, "cpu", profiles={"x": ((1, 16), (5, 16), (9, 16))})
    assert result.kernels[0].layer.outputs[0].shape == (5, 16)


def test_what_cannot_run_is_an_error() -> None:
    with pytest.raises(BuildError, match="ONNX Runtime"):
        counted(graph(BAD["scale-per-channel"][1]))
    with pytest.raises(TargetError, match="input 'x' is not a tensor of numbers"):
        counted(graph("y = Identity (x)", "string[2] x"))
    with pytest.raises(
        TargetError, match="'openvino' cannot be counted: choose one of cpu, cpu-avx2, cpu-arm, tensorrt"
    ):
        tally(graph("y = Relu (x)"), "openvino")
    with pytest.raises(TargetError, match="'cpu' takes no compute capability and no GPU"):
        tally(graph("y = Relu (x)"), "cpu", capability="8.9")


@pytest.mark.parametrize(
    ("here", "target", "runs"),
    [
        ("cpu", "cpu-avx2", True), ("cpu-avx2", "cpu-avx2", True), ("cpu", "cpu-arm", False),
        ("cpu-arm", "cpu-arm", True), ("cpu-arm", "cpu", True), ("cpu-arm", "cpu-avx2", False),
    ],
)  # fmt: skip
def test_kernels_are_those_of_a_processor_of_the_same_kind(
    here: str, target: str, runs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_tally, "processor", lambda: here)
    if runs:
        session_tally.require_processor(target)
    else:
        with pytest.raises(TargetError, match=f"{target} is another processor than this one"):
            session_tally.require_processor(target)


def test_an_artifact_runs_as_planned() -> None:
    source = synthetic.pre_norm(synthetic.Transformer(64, 2, 1, tokens=8, batch=1))
    model = requant.optimize(source, [dict(feed) for feed in synthetic.feeds(source, 2)], "int8-plain", "cpu").model
    result = counted(model)
    layers = sum(bool(product.format) for product in result.products)
    assert layers > 3
    assert result.formats == {"int8": (layers, layers)}
    assert tally_findings(result) == []
    assert not any("duplicated" in product.name for product in result.products)


def test_the_record_is_json() -> None:
    content = json.loads(json.dumps(counted(graph(ADDED, "float[2,3,16] x, float[2,3,16] z")).to_dict()))
    (added,) = (one for one in content["kernels"] if one["ops"] == ["QLinearAdd"])
    assert added["outputs"] == [{"type": "uint8", "shape": [2, 3, 16]}]
    assert (added["calls"], added["microseconds"] >= 0, content["threads"]) == (1, True, 1)
    assert content["between"] == [{"name": "a", "kernels": [added["name"]], "types": [""]}]


def test_the_model_stays_as_it_is() -> None:
    model = graph(UINT8 + W + M + "y = Relu (m)")
    before = ir.to_proto(model).SerializeToString()
    counted(model)
    assert ir.to_proto(model).SerializeToString() == before
