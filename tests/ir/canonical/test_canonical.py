"""Canonical form computes the same and has the same sites, whatever an exporter writes."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from models.synthetic import BUILDERS, DIALECTS, Dialect, Outliers, Transformer
from requant.errors import SourceError
from requant.ir.canonical.canonicalize import canonicalize
from requant.ir.channels.find import Site, find_sites
from requant.ir.load import load
from tests.engine import needs

Arrays: TypeAlias = list[NDArray[np.generic]]
Build: TypeAlias = Callable[[str], onnx.ModelProto]
Compute: TypeAlias = Callable[[ir.Model], Arrays]
Deviation: TypeAlias = Callable[[Arrays, Arrays], float]

SPEC = Transformer(width=16, heads=2, layers=1, outliers=Outliers(2))
RELATIVE = 1e-5


def _ops(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.all_nodes())


def _outline(model: ir.Model) -> list[tuple[str, int, Counter[str], Counter[str]]]:
    """List what must not depend on the exporter: the sites after norms, their width, consumers and inverse edges."""
    sites = [site for site in find_sites(model) if site.kind in ("LayerNorm", "RMSNorm")]
    assert all(isinstance(site, Site) for site in sites), sites
    return [
        (
            site.kind,
            site.channels,
            Counter(consumer.linear.node.op_type for consumer in site.consumers),
            Counter(edge.slot[0].op_type for edge in site.inverse_edges),
        )
        for site in sites
        if isinstance(site, Site)
    ]


@cache
def _expected(name: str) -> list[tuple[str, int, Counter[str], Counter[str]]]:
    model = load(BUILDERS[name](replace(SPEC, opset=23)))
    canonicalize(model)
    return _outline(model)


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("opset", [11, 14, 17, 23])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_spelling_is_one_function_with_one_set_of_sites(
    name: str, opset: int, dialect: Dialect, compute: Compute, deviation: Deviation
) -> None:
    proto = BUILDERS[name](replace(SPEC, opset=opset, dialect=dialect))
    model = load(proto)
    canonicalize(model)
    assert deviation(compute(load(proto)), compute(model)) < RELATIVE
    assert _outline(model) == _expected(name)
    assert len(_outline(model)) == 3
    assert model.graph.opset_imports[""] == max(opset, 17)
    assert model.ir_version == {17: 8, 23: 11}[max(opset, 17)]
    ops = _ops(model)
    assert not {"Constant", "Identity"} & set(ops)
    if name != "rms_swiglu":
        assert ops["LayerNormalization"] == 3
        assert not {"ReduceMean", "Sqrt", "Pow"} & set(ops)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)


@pytest.mark.parametrize("name", BUILDERS)
def test_canonical_form_is_a_fixpoint(name: str) -> None:
    model = load(BUILDERS[name](replace(SPEC, opset=14, dialect="paddle")))
    canonicalize(model)
    before = ir.to_proto(model)
    canonicalize(model)
    assert _ops(model) == Counter(node.op_type for node in before.graph.node)
    assert [value.name for value in model.graph.outputs] == ["y"]


HEAD = "(float[B,4] x) => (float[B,4] y)"
KEPT = {
    "transposed weight": (f"{HEAD} <float[4,4] w> {{ v = Transpose<perm = [1, 0]>(w)  y = MatMul(x, v) }}", "MatMul"),
    "default transpose": (f"{HEAD} <float[4,4] w> {{ v = Transpose(w)  y = MatMul(x, v) }}", "MatMul"),
    "cast weight": (f"{HEAD} <double[4,4] w> {{ v = Cast<to = 1>(w)  y = MatMul(x, v) }}", "MatMul"),
    "reshaped weight": (
        f"{HEAD} <float[2,8] w, int64[2] s = {{4, -1}}> {{ v = Reshape(w, s)  y = MatMul(x, v) }}",
        "MatMul",
    ),
    "all three": (
        f"""{HEAD} <double[2,8] w, int64[2] s = {{4, 4}}> {{
            a = Cast<to = 1>(w)  b = Reshape(a, s)  v = Transpose(b)  y = MatMul(x, v) }}""",
        "MatMul",
    ),
    "weight in two layouts": (
        f"{HEAD} <float[4,4] w> {{ v = Transpose(w)  a = MatMul(x, v)  y = MatMul(a, w) }}",
        "MatMul MatMul",
    ),
    "identities": (f"{HEAD} {{ a = Identity(x)  b = Relu(a)  c = Identity(b)  y = Abs(c) }}", "Relu Abs"),
    "constant output": (
        "(float[B,4] x) => (float[B,4] y, float[2,2] z) <float[2,2] w> { y = Abs(x)  z = Transpose(w) }",
        "Abs",
    ),
    "unused": (f"{HEAD} {{ a = Relu(x)  y = Abs(x) }}", "Abs"),
    "branches": (
        """(float[B,4] x, bool c) => (float[B,4] y) {
            y = If (c) <then_branch = a () => (float[B,4] p) {
                            k = Constant<value_floats = [1.0, 2.0, 3.0, 4.0]>()  p = Add(x, k) },
                        else_branch = b () => (float[B,4] q) {
                            k = Constant<value = float[4] {5, 6, 7, 8}>()  q = Mul(x, k) }> }""",
        "Add Mul If",
    ),
    "a norm in a branch": (
        """(float[B,4] x, bool c) => (float[B,4] y) <float[4] w, float[4,4] m, float[4] o = {1, 2, 3, 4}> {
            y = If (c) <then_branch = a () => (float[B,4] p) {
                            e = Constant<value_float = 1.0>()  n = com.microsoft.SkipLayerNormalization(x, x, w)
                            s = Mul(n, n)  v = ReduceMean<axes = [-1]>(s)  u = Add(v, e)  r = Sqrt(u)  d = Div(n, r)
                            p = MatMul(d, m) },
                        else_branch = b () => (float[B,4] q) {
                            k = MatMul(x, m)  q = BatchNormalization(k, w, w, w, o) }> }""",
        "Add LayerNormalization Mul ReduceMean Add Sqrt Div Mul MatMul MatMul BatchNormalization If",
    ),
    "a branch that hands on a value from around it": (
        """(float[B,4] x, bool c) => (float[B,4] y) { a = Abs(x)
            y = If (c) <then_branch = a () => (float[B,4] p) { p = Neg(a) },
                        else_branch = b () => (float[B,4] q) { q = Identity(a) }> }""",
        "Abs Neg Identity If",
    ),
    "and one that hands on an output of the body around it": (
        """(float[B,4] x, bool c, bool d) => (float[B,4] y, float[B,4] z) {
            y, z = If (c) <then_branch = a () => (float[B,4] p, float[B,4] r) { r = Abs(x)
                    p = If (d) <then_branch = e () => (float[B,4] s) { s = Identity(r) },
                                else_branch = f () => (float[B,4] t) { t = Neg(r) }> },
                        else_branch = b () => (float[B,4] q, float[B,4] u) { q = Neg(x)  u = Exp(q) }> }""",
        "Abs Identity Neg If Neg Exp If",
    ),
    "loop": (
        """(float[4] x) => (float[4] y) <int64 n = {3}, bool go = {1}> {
            y = Loop (n, go, x) <body = b (int64 i, bool c, float[4] s) => (bool d, float[4] t) {
                d = Identity(c)  t = Add(s, x) }> }""",
        "Identity Add Loop",
    ),
}


@pytest.mark.parametrize("name", KEPT)
def test_small_graphs_keep_their_function(name: str, build: Build, compute: Compute, deviation: Deviation) -> None:
    text, ops = KEPT[name]
    model = load(build(text))
    before = compute(model)
    names = [value.name for value in model.graph.outputs]
    canonicalize(model)
    assert deviation(before, compute(model)) < RELATIVE
    assert [value.name for value in model.graph.outputs] == names
    assert _ops(model) == Counter(ops.split())


def test_a_function_is_inlined(compute: Compute, deviation: Deviation) -> None:
    text = """<ir_version: 8, opset_import: ["": 17, "own": 1]>
        g (float[B,4] x) => (float[B,4] y) { a = own.twice(x)  y = own.twice(a) }
        <domain: "own", opset_import: ["": 17]> twice (a) => (b) {
            k = Constant<value = float[1] {2}>()  b = Mul(a, k) }"""
    model = load(onnx.parser.parse_model(text))
    before = compute(model)
    canonicalize(model)
    assert not model.functions
    assert _ops(model) == {"Mul": 2}
    assert deviation(before, compute(model)) < RELATIVE


def test_a_function_with_a_branch_that_hands_on_a_value_is_inlined(compute: Compute, deviation: Deviation) -> None:
    text = """<ir_version: 8, opset_import: ["": 17, "own": 1]>
        g (float[B,4] x, bool c) => (float[B,4] y) { y = own.choose(x, c) }
        <domain: "own", opset_import: ["": 17]> choose (a, c) => (d) { b = Abs(a)
            d = If (c) <then_branch = t () => (float[B,4] p) { p = Neg(b) },
                        else_branch = e () => (float[B,4] q) { q = Identity(b) }> }"""
    model = load(onnx.parser.parse_model(text))
    before = compute(model)
    canonicalize(model)
    assert _ops(model) == Counter(["Abs", "Neg", "Identity", "If"])
    assert {node.domain for node in model.graph.all_nodes()} == {""}
    assert deviation(before, compute(model)) < RELATIVE


@pytest.mark.parametrize("opset", [14, 17])
def test_the_other_name_of_the_standard_domain_is_known(opset: int, compute: Compute) -> None:
    proto = BUILDERS["pre_norm"](replace(SPEC, opset=opset))
    proto.opset_import[0].domain = "ai.onnx"
    model = load(proto)
    canonicalize(model)
    assert dict(model.graph.opset_imports) == {"": 17}
    assert _outline(model) == _expected("pre_norm")


def test_weights_of_any_size_are_not_computed_until_read(build: Build) -> None:
    model = load(build("(float[B,4] x) => (float[B,4] y) <float[4,4] w> { v = Transpose(w)  y = MatMul(x, v) }"))
    canonicalize(model)
    (node,) = model.graph
    assert node.inputs[1] is not None
    assert isinstance(node.inputs[1].const_value, ir.LazyTensor)


QUANTIZED = {
    "static": """(float[B,4] x) => (float[B,4] y) <float s = {0.1}, int8 z = {0}> {
        q = QuantizeLinear(x, s, z)  y = DequantizeLinear(q, s, z) }""",
    "dynamic": """(float[B,4] x) => (float[B,4] y) {
        q, s, z = DynamicQuantizeLinear(x)  y = DequantizeLinear(q, s, z) }""",
    "integer": """(uint8[B,4] x) => (int32[B,4] y) <int8[4,4] w> { y = MatMulInteger(x, w) }""",
    "in a branch": """(float[4] x, bool c) => (float[4] y) <float s = {0.1}, int8 z = {0}> {
        y = If (c) <then_branch = a () => (float[4] p) { q = QuantizeLinear(x, s, z)
                                                         p = DequantizeLinear(q, s, z) },
                    else_branch = b () => (float[4] r) { r = Abs(x) }> }""",
}


@pytest.mark.parametrize("name", QUANTIZED)
def test_a_quantized_model_is_refused(name: str, build: Build) -> None:
    with pytest.raises(SourceError, match="quantized already"):
        canonicalize(load(build(QUANTIZED[name])))


@pytest.mark.parametrize(
    ("ratio", "training", "refused"), [("r", 1, True), ("", 1, True), ("z", 1, False), ("r", 0, False)]
)
def test_a_dropout_that_is_random_is_named(ratio: str, training: int, refused: bool, build: Build) -> None:
    model = load(
        build(f"""(float[B,4] x) => (float[B,4] y) <float r = {{0.3}}, float z = {{0.0}}, bool t = {{{training}}}> {{
        d = Dropout(x, {ratio}, t)  y = Neg(d) }}""")
    )
    if not refused:
        canonicalize(model)
        return
    with pytest.raises(SourceError, match="node 'd' is a Dropout in training mode: export the model for inference"):
        canonicalize(model)


def test_a_quantized_function_is_refused() -> None:
    text = """<ir_version: 8, opset_import: ["": 17, "own": 1]>
        g (float[4] x) => (uint8[4] y) { y = own.f(x) }
        <domain: "own", opset_import: ["": 17]> f (a) => (b) { b, s, z = DynamicQuantizeLinear(a) }"""
    with pytest.raises(SourceError, match="quantized already"):
        canonicalize(load(onnx.parser.parse_model(text)))


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize(
    ("opset", "ir_version"),
    [
        pytest.param(24, 12, marks=needs("opset 25")),
        pytest.param(25, 13, marks=needs("opset 25")),
        pytest.param(26, 13, marks=needs("opset 26")),
    ],
)
def test_the_newest_opsets_stay(name: str, opset: int, ir_version: int, compute: Compute, deviation: Deviation) -> None:
    proto = BUILDERS[name](replace(SPEC, opset=23))
    proto.opset_import[0].version = opset
    model = load(proto)
    canonicalize(model)
    assert deviation(compute(load(proto)), compute(model)) < RELATIVE
    assert _outline(model) == _expected(name)
    assert (model.graph.opset_imports[""], model.ir_version) == (opset, ir_version)


def test_opset_nine_is_known(compute: Compute, deviation: Deviation) -> None:
    text = """<ir_version: 4, opset_import: ["": 9]> g (float[B,2,3] x) => (float[B,6] y)
        <float[3] g = {1, 2, 3}, float two = {2}, float e = {1}, float[3] scales = {1, 1, 2}> {
        m = ReduceMean<axes = [-1]>(x)  d = Sub(x, m)  s = Pow(d, two)  v = ReduceMean<axes = [-1]>(s)  w = Add(v, e)
        r = Sqrt(w)  n = Div(d, r)  a = Mul(n, g)  l = Add(a, g)  o, k = Dropout<ratio = 0.5>(l)
        u = Upsample<mode = "nearest">(o, scales)  i = Slice<axes = [2], starts = [0], ends = [3]>(u)
        c = Clip<min = -1.0, max = 1.0>(i)  f = Flatten(c)  y = Softmax(f) }"""
    model = load(onnx.parser.parse_model(text))
    before = compute(model)
    canonicalize(model)
    assert [node.op_type for node in model.graph][:2] == ["LayerNormalization", "Resize"]
    assert model.graph.opset_imports[""] == 17
    assert deviation(before, compute(model)) < RELATIVE


def test_canonical_form_takes_time_in_proportion() -> None:
    seconds = []
    for layers in (4, 16):
        model = load(BUILDERS["pre_norm"](replace(SPEC, layers=layers, opset=14)))
        begin = time.process_time()
        canonicalize(model)
        seconds.append(time.process_time() - begin)
    assert seconds[1] < 12 * seconds[0]


def test_an_opset_that_cannot_be_converted_is_refused() -> None:
    text = '<ir_version: 7, opset_import: ["": 11]> g (float[4] x) => (float[4] y) { y = Unheard(x) }'
    with pytest.raises(SourceError, match="opset 11 cannot be converted to 17"):
        canonicalize(load(onnx.parser.parse_model(text)))


def test_nameless_nodes_are_called_after_their_outputs(build: Build) -> None:
    model = load(build("(float[4] x) => (float[4] y) { a = Relu(x)  y = Abs(a) }"))
    canonicalize(model)
    assert [node.name for node in model.graph] == ["a", "y"]


MALFORMED = {
    "cycle": "(float[4] x) => (float[4] y) { a = Add(x, b)  b = Abs(a)  y = Abs(b) }",
    "rank": "(float[4,4] x) => (float[4,4] y) <float[4,4] w> { v = Transpose<perm = [0, 3]>(w)  y = MatMul(x, v) }",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_graph_is_refused(name: str, build: Build) -> None:
    with pytest.raises(SourceError) as caught:
        canonicalize(load(build(MALFORMED[name])))
    assert "\n" not in str(caught.value)
