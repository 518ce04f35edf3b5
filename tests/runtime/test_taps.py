"""Taps in bodies: all that a value was comes out, and the model computes what it did."""

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from requant.ir.load import load
from requant.ir.names import fresh_name, separate_values
from requant.runtime.scan import as_loop
from requant.runtime.session import runner

Build = Callable[[str], onnx.ModelProto]

SCALARS = "<float two = {2}, float zero = {0}, int64 n = {3}, int64 one = {1}, bool yes = {1}>"
IF = """y = If (p) <then_branch = t () => (float[2] ty) { v = Mul(x, two) ty = Neg(v) },
                    else_branch = e () => (float[2] ey) { ey = Identity(x) }>"""
LOOP = """y, z = Loop (n, yes, x) <body = b (int64 i, bool go, float[2] s) => (bool on, float[2] d, float[2] out) {
    on = Identity(go) v = Mul(s, two) d = Identity(v) out = Neg(v) }>"""
GROWS = """y, z = Loop (n, yes, x) <body = b (int64 i, bool go, float[k] s) => (bool on, float[l] d, float[] out) {
    on = Identity(go) v = Concat<axis = 0>(s, x) d = Identity(v) out = ReduceSum<keepdims = 0>(v) }>"""
SCAN = """y, z = Scan <num_scan_inputs = 1, ATTRIBUTES body = b (float[] s, float[] e) => (float[] d, float[] out) {
    v = Add(s, e) d = Identity(v) out = Neg(v) }> (zero, x)"""
INNER = """Loop (n, yes, x) <body = b (int64 i, bool go, float[2] s) => (bool on, float[2] d) { on = Identity(go)
    m = Mod(i, two_) q = Equal(m, one)
    d = If (q) <then_branch = t () => (float[2] ty) { v = Mul(s, two) ty = Neg(v) },
                else_branch = e () => (float[2] ey) { ey = Identity(s) }> }>"""
OUTER = """Loop (n, yes, x) <body = o (int64 j, bool go_, float[2] r) => (bool on_, float[2] u) { on_ = Identity(go_)
    u = Loop (n, yes, r) <body = b (int64 i, bool go, float[2] s) => (bool on, float[2] d) {
        on = Identity(go) v = Mul(s, two) d = Identity(v) }> }>"""
IN_SCAN = """y, z = Scan <num_scan_inputs = 1, body = b (float[] s, float[] e) => (float[] d, float[] out) {
    q = Greater(e, zero) d = If (q) <then_branch = t () => (float[] ty) { v = Mul(e, two) ty = Add(s, v) },
                                     else_branch = f () => (float[] ey) { ey = Identity(s) }>
    out = Neg(d) }> (zero, x)"""

X = [1.0, -3.0]
CASES = {
    "the branch taken": (f"p = Greater(two, zero) {IF}", [[2, -6]]),
    "a branch not taken": (f"p = Greater(zero, two) {IF}", []),
    "iterations": (LOOP, [[2, -6], [4, -12], [8, -24]]),
    "another shape each time": (GROWS, [[1, -3, 1, -3], [1, -3] * 3, [1, -3] * 4]),
    "elements": (SCAN.replace("ATTRIBUTES", ""), [1, -2]),
    "elements from the last": (SCAN.replace("ATTRIBUTES", "scan_input_directions = [1],"), [-3, -2]),
    "outputs from the last": (SCAN.replace("ATTRIBUTES", "scan_output_directions = [1],"), [1, -2]),
    "a branch in a loop": (f"two_ = Add(one, one) y = {INNER}", [[2, -6]]),
    "a loop in a loop": (f"y = {OUTER}", [[2.0**k, -3 * 2.0**k] for k in range(1, 10)]),
    "a branch in a Scan": (IN_SCAN, [2]),
}


@pytest.mark.parametrize("optimized", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_all_that_a_value_was(name: str, optimized: bool, build: Build) -> None:
    text, expected = CASES[name]
    outputs = "float[a] y, float[b, c] z" if "y, z" in text else "float[a] y"
    model = load(build(f"(float[2] x) => ({outputs}) {SCALARS} {{ {text} }}".replace("float[b, c] z", _rank(name))))
    feed = {"x": np.array(X, np.float32)}
    values = runner(model, optimized=optimized)(feed)
    *same, tapped = runner(model, ["v"], optimized=optimized)(feed)
    for value, other in zip(values, same, strict=True):
        np.testing.assert_array_equal(value, other)
    assert [np.asarray(part).tolist() for part in tapped] == expected


def _rank(name: str) -> str:
    return "float[b] z" if name != "iterations" else "float[b, c] z"


def test_a_value_outside_that_a_body_makes_comes_out_as_it_is(build: Build) -> None:
    text = SCAN.replace("ATTRIBUTES", "scan_output_directions = [1],")
    model = load(build(f"(float[2] x) => (float[1] w) {SCALARS} {{ {text} w = ReduceMax(z) }}"))
    largest, elements, stacked = runner(model, ["v", "z"])({"x": np.array(X, np.float32)})
    assert (largest.tolist(), np.asarray(elements).tolist(), stacked.tolist()) == ([2], [1, -2], [2, -1])


def test_the_loop_that_a_scan_stands_for(build: Build) -> None:
    attributes = "scan_input_directions = [1], scan_output_directions = [1],"
    text = SCAN.replace("ATTRIBUTES", attributes)
    model = ir.from_proto(build(f"(float[2] x) => (float y, float[2] z) {SCALARS} {{ {text} }}"))
    as_loop(model.graph[0], model.graph)
    assert [node.op_type for node in model.graph] == ["Shape", "Gather", "Loop", "Slice"]
    body = next(node for node in model.graph if node.op_type == "Loop").attributes["body"].as_graph()
    assert [node.op_type for node in body] == ["Sub", "Gather", "Identity", "Add", "Identity", "Neg"]
    assert [value.tolist() for value in runner(model)({"x": np.array(X, np.float32)})] == [-2, [2, 3]]


def test_values_of_two_branches_get_names_of_their_own(build: Build) -> None:
    branches = "then_branch = t () => (float[2] o) { v = Neg(x) o = Neg(v) }, else_branch = e () => (float[2] o) "
    text = f"p = Greater(two, zero) y = If (p) <{branches} {{ v = Abs(x) o = Neg(v) }}>"
    model = ir.from_proto(build(f"(float[2] x) => (float[2] y) {SCALARS} {{ {text} }}"))
    separate_values(model)
    names = [value.name for node in model.graph.all_nodes() for value in node.outputs]
    assert sorted(filter(None, names)) == ["o", "o.1", "p", "v", "v.1", "y"]
    body = next(iter(model.graph.subgraphs()))
    assert fresh_name(model.graph, "v") == "v.2"
    assert fresh_name(body, "p") == "p.1"
